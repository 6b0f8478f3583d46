"""Other projects' clients talk to our server; scripts/peers/install_clients.sh installs them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from evaluation.evaluating import make_run
from serving.served import CAMERA, Client, Served, request, serving

PROGRAMS = Path(__file__).parent / "peers"
CLIENTS = Path(__file__).parents[2] / ".peers-clients"


def run_program(client: str, name: str, *arguments: object) -> str:
    python = CLIENTS / client / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{client} is not there; scripts/peers/install_clients.sh installs it")
    command = [str(python), str(PROGRAMS / name), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(PROGRAMS)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert not done.returncode, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    run = make_run(tmp_path_factory.mktemp("run"))
    with serving(run, tmp_path_factory.mktemp("server")) as served:
        yield served


@pytest.mark.slow
def test_openpi_client_gets_chunks_and_single_actions(server: Served) -> None:
    arguments = ("127.0.0.1", server.port, CAMERA)
    got = json.loads(run_program("openpi", "openpi_program.py", *arguments))
    client = Client(server.url)
    wanted = [client.infer(request(number))["actions"] for number in range(3)]
    np.testing.assert_allclose(got["actions"], wanted, atol=1e-6)
    np.testing.assert_allclose(got["single"], np.concatenate(wanted[:2]), atol=1e-6)
    assert got["refused"].splitlines()[0] == "Error in inference server:"
    assert f"no image observation/{CAMERA}" in got["refused"]
    assert {"cameras", "state", "action", "chunk"} <= set(got["metadata"])


@pytest.mark.slow
def test_vla_eval_runs_its_episodes(server: Served, tmp_path: Path) -> None:
    arguments = (f"{server.url}/vla-eval", tmp_path, CAMERA)
    run_program("vla-eval", "vla_eval_program.py", *arguments)
    outcomes = json.loads((tmp_path / "outcomes.json").read_text())
    assert outcomes == {"success": [True] * 4, "failed": [None] * 4}


@pytest.mark.slow
def test_vla_eval_sends_a_key_in_its_address(tmp_path: Path) -> None:
    key, run = "of-letters:/@x", make_run(tmp_path / "run")
    (tmp_path / "key").write_text(key)
    with serving(run, tmp_path, "--key-file", str(tmp_path / "key")) as served:
        url = f"ws://any:{quote(key, safe='')}@127.0.0.1:{served.port}/vla-eval"
        run_program("vla-eval", "vla_eval_program.py", url, tmp_path, CAMERA)
        outcomes = json.loads((tmp_path / "outcomes.json").read_text())
        assert outcomes == {"success": [True] * 4, "failed": [None] * 4}
