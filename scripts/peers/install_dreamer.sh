#!/usr/bin/env bash
# Install sheeprl, a public PyTorch Dreamer, into .venv-dreamer: `manyparts bench dreamer-update`
# and `manyparts bench replay` measure against it.
# usage: scripts/peers/install_dreamer.sh [PYTHON]
set -eu
cd "$(dirname "$0")/../.."

stamp=".venv-dreamer/ready-$(cksum <scripts/peers/dreamer.txt | cut -d' ' -f1)"
[ -f "$stamp" ] && exit 0
echo "installing sheeprl into .venv-dreamer (1.5 GB)" >&2
rm -rf .venv-dreamer
"${1:-python3}" -m venv .venv-dreamer
.venv-dreamer/bin/python -m pip install -q -c scripts/peers/dreamer.txt torch==2.13.0
.venv-dreamer/bin/python -m pip install -q --no-deps -r scripts/peers/dreamer.txt
touch "$stamp"
