#!/usr/bin/env bash
# Install Ray into .peers-ray, an environment that also sees the packages of .venv: the slow tests
# start two nodes on this machine. Ray is large, and nothing else here needs it.
# usage: scripts/peers/install_ray.sh [PYTHON]
set -eu
cd "$(dirname "$0")/../.."

requirement=$(grep '^ray==' constraints.txt)
stamp=".peers-ray/ready-$requirement"
[ -f "$stamp" ] && exit 0
echo "installing Ray into .peers-ray (0.3 GB)" >&2
rm -rf .peers-ray
"${1:-python3}" -m venv .peers-ray
.peers-ray/bin/python -m pip install -q -c constraints.txt "$requirement"
packages='import sysconfig; print(sysconfig.get_paths()["purelib"])'
echo "import site; site.addsitedir('$(.venv/bin/python -c "$packages")')" \
    >"$(.peers-ray/bin/python -c "$packages")/venv.pth"
touch "$stamp"
