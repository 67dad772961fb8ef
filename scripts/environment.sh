# Sourced by the other scripts, in the project's folder; pip asks whatever index it is set up for.

# environment FOLDER REQUIREMENTS...: a virtual environment in FOLDER that has what the requirements files name
environment() {
    folder=$1
    shift
    if [ ! -x "$folder/bin/python" ]; then
        python=$(command -v "${PYTHON:-python3.11}" || command -v python3) || {
            echo "needs Python 3.11 with venv (PYTHON=PATH names one)" >&2
            exit 1
        }
        "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || {
            echo "needs Python 3.11, $python is $("$python" --version) (PYTHON=PATH names another)" >&2
            exit 1
        }
        "$python" -m venv "$folder"
    fi
    for file; do
        "$folder/bin/python" -m pip install --quiet --disable-pip-version-check -r "$file"
    done
}

# cpu_torch FOLDER: a CPU build of torch, named by TORCH_WHEEL or found by pip; a plain one from PyPI is the CUDA build
cpu_torch() {
    torch=${TORCH_WHEEL:-"-r requirements/torch.txt"}
    # shellcheck disable=SC2086
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check --dry-run --no-deps --ignore-installed \
        --report - $torch | grep -q '"version": "[^"]*+cpu"' || {
        echo "pip finds no CPU build (+cpu) of torch; name a wheel with TORCH_WHEEL=PATH" >&2
        exit 1
    }
    # shellcheck disable=SC2086
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check $torch
}
