#!/usr/bin/env bash
# Make or update .venv with everything that training, tracking, scoring and the tests need. No root; seconds when
# nothing has changed. PYTHON=python3.12 ./install.sh chooses an interpreter.
#
#   ./install.sh              PyTorch as PyPI has it (on Linux: for the newest CUDA)
#   ./install.sh --cpu        PyTorch without CUDA, much smaller
#   ./install.sh --cuda 11.8  PyTorch for that CUDA: 11.8 runs on drivers from 450.80 on
#
# The last two ask download.pytorch.org. Later calls without option keep the choice.
set -euo pipefail
cd "$(dirname "$0")"

chosen=.venv/.torch_build
build=$(cat "$chosen" 2>/dev/null || true)
case "${1-}" in
    '') ;;
    --cpu) build=cpu ;;
    --cuda)
        [[ ${2-} =~ ^[0-9]+\.[0-9]$ ]] || { echo "error: --cuda wants a version, like --cuda 11.8" >&2; exit 2; }
        build=cu${2/./}
        ;;
    *) echo "error: unknown option $1; there are --cpu and --cuda VERSION" >&2; exit 2 ;;
esac

python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    echo "error: $python is missing or older than 3.10; set PYTHON to a newer interpreter" >&2
    exit 1
fi

stamp=.venv/.installed
wanted=$("$python" --version; cat setup.py constraints.txt install.sh; ls tracking/*.py; echo "$build")
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    exit 0
fi

echo "Installing into .venv: PyTorch and its CUDA libraries are several GB, the first time takes some minutes ..."
[ -x .venv/bin/python ] || "$python" -m venv .venv
pip() { .venv/bin/python -m pip install --quiet "$@"; }
pip --upgrade 'pip>=25.3'
versions=$(mktemp)
tools=$(mktemp)
trap 'rm -f "$versions" "$tools"' EXIT
cp constraints.txt "$versions"
if [ -n "$build" ]; then
    pip torch torchvision --index-url "https://download.pytorch.org/whl/$build"
    grep -v '^torch' constraints.txt > "$versions"
    echo "$build" > "$chosen"
fi
# visdom and thop are old source packages; visdom's build needs pkg_resources, which setuptools 81 dropped.
echo 'setuptools<81' > "$tools"
# Python's build tools warn at length about editable installs, which is what a working copy wants.
PYTHONWARNINGS=ignore pip --build-constraint "$tools" --constraint "$versions" --editable '.[all]'
printf '%s' "$wanted" > "$stamp"
echo "Installed."
