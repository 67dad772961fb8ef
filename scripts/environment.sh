# Sourced by the other scripts, in the project's folder; pip asks whatever index it is set up for.

refuse() {
    echo "$*" >&2
    exit 1
}

# environment FOLDER REQUIREMENTS...: a virtual environment in FOLDER that has what the requirements files name
environment() {
    folder=$1
    shift
    if [ ! -x "$folder/bin/python" ]; then
        if [ -n "${PYTHON:-}" ]; then
            python=$(command -v "$PYTHON") || refuse "PYTHON=$PYTHON: no such program"
        else
            python=$(command -v python3.11 || command -v python3) ||
                refuse "needs Python 3.11 with venv (PYTHON=PATH names one)"
        fi
        [ -f "$python" ] && [ -x "$python" ] || refuse "PYTHON=$python: no such program"
        "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' </dev/null >/dev/null 2>&1 ||
            refuse "needs Python 3.11, $python is $("$python" --version 2>&1 </dev/null | head -n 1) (PYTHON=PATH names another)"
        "$python" -m venv "$folder"
    fi
    for file; do
        "$folder/bin/python" -m pip install --quiet --disable-pip-version-check -r "$file"
    done
}

# cpu_torch FOLDER: a CPU build of torch, named by TORCH_WHEEL or found by pip; a plain one from PyPI is the CUDA build
cpu_torch() {
    folder=$1
    if [ -n "${TORCH_WHEEL:-}" ]; then
        [ -f "$TORCH_WHEEL" ] || refuse "TORCH_WHEEL=$TORCH_WHEEL: no such file"
        set -- "$TORCH_WHEEL"
    else
        set -- -r requirements/torch.txt
    fi
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --dry-run --no-deps --ignore-installed \
        --report - "$@" | grep -q '"version": "[^"]*+cpu"' ||
        refuse "pip finds no CPU build (+cpu) of torch; name a wheel with TORCH_WHEEL=PATH"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
}
