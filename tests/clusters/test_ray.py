"""Clusters of Ray that do not fit this machine are refused before anything runs, in one line."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters.commands import ROOT
from clusters.ray_nodes import Ray
from rollout.collecting import TASKS

pytestmark = pytest.mark.slow
STUDY = ("study", "dualmind-debug")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ray]:
    started = Ray(tmp_path_factory.mktemp("ray"))
    yield started
    started.close()


def test_unfit_clusters_are_refused_in_one_line(cluster: Ray, tmp_path: Path) -> None:
    output = ("--output", tmp_path / "study")

    def refusal(address: str, *more: object) -> str:
        printed = cluster.command(*STUDY, "--executor", address, *(more or output), code=2)
        [line] = printed.splitlines()
        return line

    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = f"127.0.0.1:{free.getsockname()[1]}"
    assert f"nobody answers at ray://{closed} (Connection refused)" in refusal(f"ray://{closed}")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        other = f"127.0.0.1:{silent.getsockname()[1]}"
        assert f"ray://{other} is no Ray cluster that this" in refusal(f"ray://{other}")
    crowded = refusal(cluster.address, "--workers", "5", *output)
    assert f"workers is 5, and the 2 nodes of {cluster.address} have 2 cores" in crowded
    assert not (tmp_path / "study").exists()


def test_nodes_without_files_or_code_are_refused(cluster: Ray, tmp_path: Path) -> None:
    hidden, source = tmp_path / "hidden", tmp_path / "source"
    hidden.mkdir()
    shutil.copytree(ROOT / "src" / "manyparts", source / "manyparts")
    (source / "manyparts" / "core" / "spec.py").open("a").write("# another commit\n")
    mount = f'mount -t tmpfs none \'{hidden}\' && exec "$0" "$@"'
    before = ("unshare", "--mount", "sh", "-c", mount)
    if subprocess.run([*before, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this user may mount nothing, not even for a process alone")
    node = cluster.add(source=source, before=before)
    collect = ("collect", TASKS[0], "--episodes", "1", "--executor", cluster.address)
    try:
        refused = cluster.command(*collect, "--output", hidden / "data", code=2)
        assert f"does not see {hidden}" in refused and len(refused.splitlines()) == 1
        assert "choose an --output on a disk that all nodes share" in refused
        refused = cluster.command(*collect, "--output", tmp_path / "data", code=2)
        assert "has other code of manyparts" in refused and len(refused.splitlines()) == 1
        assert not list(hidden.iterdir()) and not (tmp_path / "data.partial").exists()
    finally:
        cluster.kill(node)
