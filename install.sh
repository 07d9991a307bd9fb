#!/usr/bin/env bash
# Make or update .venv with everything that training, tracking, scoring and the tests need. No root; seconds when
# nothing has changed. PYTHON=python3.12 ./install.sh chooses an interpreter.
set -euo pipefail
cd "$(dirname "$0")"

python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    echo "error: $python is missing or older than 3.10; set PYTHON to a newer interpreter" >&2
    exit 1
fi

stamp=.venv/.installed
wanted=$("$python" --version; cat setup.py constraints.txt install.sh)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    exit 0
fi

echo "Installing into .venv: PyTorch and its CUDA libraries are several GB, the first time takes some minutes ..."
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install --quiet --upgrade 'pip>=25.3'
# visdom and thop are old source packages; visdom's build needs pkg_resources, which setuptools 81 dropped.
build=$(mktemp)
trap 'rm -f "$build"' EXIT
echo 'setuptools<81' > "$build"
# Python's build tools warn at length about editable installs, which is what a working copy wants.
PYTHONWARNINGS=ignore .venv/bin/python -m pip install --quiet --build-constraint "$build" --constraint constraints.txt --editable '.[all]'
printf '%s' "$wanted" > "$stamp"
echo "Installed."
