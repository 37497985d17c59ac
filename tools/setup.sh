#!/bin/sh
# Prepare .venv from a lock file: tools/setup.sh requirements.lock
# Needs Python >= 3.11 and a package index; installs nothing outside this folder, except Debian's python3-venv where
# venv cannot work without it and we may install it.
set -eu
lock=$1
python=${PYTHON:-python3}
stamp=.venv/.installed-$(basename "$lock" .lock)

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "Leadglass needs Python 3.11 or newer; '$python' is $("$python" --version 2>&1). Set PYTHON=/path/to/python3.11" >&2
    exit 3
}
if [ -f "$stamp" ] && [ "$stamp" -nt "$lock" ] && [ "$stamp" -nt pyproject.toml ]; then
    exit 0
fi
if [ ! -x .venv/bin/python ]; then
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            echo "Installing python3-venv, which Debian keeps apart from Python ..." >&2
            apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null
        else
            echo "This Python cannot make virtual environments; install them first: apt-get install python3-venv" >&2
            exit 3
        fi
    fi
    echo "Making .venv with $("$python" --version) ..."
    "$python" -m venv .venv
fi
echo "Installing pinned and hashed packages from $lock ..."
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input --require-hashes -r requirements-build.lock
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input --require-hashes -r "$lock"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps --no-build-isolation --editable .
touch "$stamp"
