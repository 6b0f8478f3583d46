#!/usr/bin/env bash
# Install the other projects' own loaders (LeRobot's, robomimic's, Minari's) into .peers: the slow
# tests hold our files against them, and so does `manyparts bench windows-peers`. LeRobot's
# own evaluation runs our policies there.
# usage: scripts/peers/install.sh [PYTHON]
#
# Together these packages ask for more than their loaders need, and for versions that exclude each
# other's; so all that is needed is pinned in packages.txt, and nothing else comes. LeRobot 0.3.3
# wrote v2.1.
set -eu
cd "$(dirname "$0")/../.."

stamp=".peers/ready-$(cksum <scripts/peers/packages.txt | cut -d' ' -f1)"
[ -f "$stamp" ] && exit 0
echo "installing LeRobot's, robomimic's and Minari's loaders into .peers (1.7 GB)" >&2
rm -rf .peers
"${1:-python3}" -m venv .peers
.peers/bin/python -m pip install -q -c scripts/peers/packages.txt torch==2.13.0
.peers/bin/python -m pip install -q --no-deps -r scripts/peers/packages.txt
.peers/bin/python -m pip install -q --no-deps --target .peers/lerobot-0.3.3 lerobot==0.3.3
touch "$stamp"
