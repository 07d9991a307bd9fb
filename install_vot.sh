#!/usr/bin/env bash
# Make or update .venv-vot, the environment of the VOT toolkit (docs/vot.md). No torch in it: half a minute and 600 MB.
# PYTHON=python3.11 ./install_vot.sh chooses an interpreter.
set -euo pipefail
cd "$(dirname "$0")"

python=${PYTHON:-python3}
stamp=.venv-vot/.installed
wanted=$("$python" --version; cat requirements-vot.txt)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    exit 0
fi

echo "Installing the VOT toolkit into .venv-vot ..."
[ -x .venv-vot/bin/python ] || "$python" -m venv .venv-vot
.venv-vot/bin/python -m pip install --quiet --requirement requirements-vot.txt
printf '%s' "$wanted" > "$stamp"
echo "Installed."
