#!/usr/bin/env bash
# Install MLflow and trackio into an environment of their own: trackio needs an older Pillow. The slow
# tests replay a run there, which needs no torch.
# usage: scripts/peers/install_trackers.sh [PYTHON]
set -eu
cd "$(dirname "$0")/../.."

stamp=".peers-trackers/ready-1"
[ -f "$stamp" ] && exit 0
echo "installing mlflow and trackio into .peers-trackers (0.9 GB)" >&2
rm -rf .peers-trackers
"${1:-python3}" -m venv .peers-trackers
.peers-trackers/bin/python -m pip install -q mlflow==3.17.2 trackio==0.43.0 tyro==1.0.17 rich==15.0.0
touch "$stamp"
