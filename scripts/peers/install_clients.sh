#!/usr/bin/env bash
# Install the clients of other projects' servers, openpi-client and vla-eval, each into an
# environment of its own: they need other versions of numpy. The slow tests talk to our server by them.
# usage: scripts/peers/install_clients.sh [PYTHON]
set -eu
cd "$(dirname "$0")/../.."

stamp=".peers-clients/ready-1"
[ -f "$stamp" ] && exit 0
echo "installing openpi-client and vla-eval into .peers-clients (0.4 GB)" >&2
rm -rf .peers-clients
for client in openpi vla-eval; do
    "${1:-python3}" -m venv ".peers-clients/$client"
done
# openpi-client leaves typing_extensions out of its own list.
.peers-clients/openpi/bin/python -m pip install -q openpi-client==0.1.2 typing_extensions==4.16.0
.peers-clients/vla-eval/bin/python -m pip install -q vla-eval==0.8.0
touch "$stamp"
