# Sourced by the other scripts: a virtual environment in .venv that has what a requirements file names.
# usage: environment REQUIREMENTS...     (paths from the project's folder; pip asks whatever index it is set up for)

environment() {
    if [ ! -x .venv/bin/python ]; then
        python=$(command -v "${PYTHON:-python3.11}" || command -v python3) || {
            echo "needs Python 3.11 with venv (PYTHON=PATH names one)" >&2
            exit 1
        }
        "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || {
            echo "needs Python 3.11, $python is $("$python" --version) (PYTHON=PATH names another)" >&2
            exit 1
        }
        "$python" -m venv .venv
    fi
    for file; do
        .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$file"
    done
}
