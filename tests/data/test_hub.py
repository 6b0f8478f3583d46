"""Datasets of the Hugging Face Hub: fetched by the Hub's own client from a server on this machine
that speaks its protocol, kept in its cache, and a clear word where there is no network."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from data.synthetic import make_episode, write

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CLOSED = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> EpisodeDataset:
    return write(
        tmp_path_factory.mktemp("hub") / "set", [make_episode(seed, 6) for seed in range(3)]
    )


@pytest.fixture(scope="module")
def server(source: EpisodeDataset) -> Iterator[ThreadingHTTPServer]:
    """Has "someone/pushes", with one commit, tagged v1.0; the dataset is there twice, once in a
    folder."""
    files = {
        file.relative_to(source.path).as_posix(): file
        for file in source.path.rglob("*")
        if file.is_file()
    }
    files |= {f"inside/{name}": file for name, file in files.items()}

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer()

        def do_HEAD(self) -> None:
            self.answer()

        def answer(self) -> None:
            parts = self.path.partition("?")[0].strip("/").split("/")
            if parts[:2] == ["api", "datasets"]:
                self.answer_about(
                    "/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main", parts[4:5]
                )
            else:  # datasets/someone/pushes/resolve/COMMIT/name
                content = files["/".join(parts[5:])].read_bytes()
                self.send(200, content, ETag=f'"{hashlib.sha1(content).hexdigest()}"')

        def answer_about(self, name: str, revision: str, what: list[str]) -> None:
            if name != "someone/pushes":
                return self.send(404, b"{}", **{"X-Error-Code": "RepoNotFound"})
            if revision not in ("main", "v1.0", COMMIT):
                return self.send(404, b"{}", **{"X-Error-Code": "RevisionNotFound"})
            if what == ["tree"]:
                listed: Any = [
                    {"type": "file", "path": each, "size": 1, "oid": "0" * 40} for each in files
                ]
            else:
                listed = {
                    "id": name,
                    "sha": COMMIT,
                    "siblings": [{"rfilename": each} for each in files],
                }
            self.send(200, json.dumps(listed).encode(), **{"Content-Type": "application/json"})

        def send(self, code: int, content: bytes, **headers: str) -> None:
            self.send_response(code)
            for key, value in {
                "X-Repo-Commit": COMMIT,
                "Content-Length": str(len(content)),
                **headers,
            }.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield serving
        serving.shutdown()


class Info:
    """Commands such as `manyparts data info LOCATION --json` in a process of their own, since the
    client reads its settings once."""

    def __init__(self, endpoint: str, cache: Path) -> None:
        self._environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache)}

    def __call__(self, location: str) -> subprocess.CompletedProcess[str]:
        return self.run("data", "info", location, "--json")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "manyparts", *words]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True)


@pytest.fixture
def info(server: ThreadingHTTPServer, tmp_path: Path) -> Info:
    return Info(f"http://127.0.0.1:{server.server_port}", tmp_path)


@pytest.mark.parametrize(
    "location",
    [
        "hf://someone/pushes",
        pytest.param("hf://datasets/someone/pushes@v1.0", marks=pytest.mark.slow),
        pytest.param(f"hf://someone/pushes@{COMMIT}/inside", marks=pytest.mark.slow),
    ],
)
def test_hub_dataset_is_opened(
    location: str, info: Info, source: EpisodeDataset, tmp_path: Path
) -> None:
    done = info(location)
    assert done.returncode == 0, done.stderr
    opened = json.loads(done.stdout)
    assert opened["frames"] == source.num_frames and opened["fingerprint"] == source.fingerprint
    closed = Info(CLOSED, tmp_path)(location)  # what was fetched is there without a network
    assert closed.returncode == 0 and json.loads(closed.stdout) == opened, closed.stderr
    dataset = EpisodeDataset.open(opened["path"])
    assert (dataset.episode(1).images["front"] == source.episode(1).images["front"]).all()


def test_a_closed_network_is_named(tmp_path: Path) -> None:
    done = Info(CLOSED, tmp_path)("hf://a/b")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert "hf://a/b cannot be fetched and is not in the Hub's cache" in done.stderr
    assert "Without a network, give the folder" in done.stderr


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("hf://someone/else", "has no dataset 'someone/else'; if it is private"),
        ("hf://someone/pushes@v9", "has no revision 'v9'"),
        ("hf://someone/pushes/nowhere", "has no 'nowhere'"),
    ],
)
def test_missing_hub_dataset_is_named(location: str, expected: str, info: Info) -> None:
    done = info(location)
    assert done.returncode == 2 and expected in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("hf://someone", "names no dataset"),
        ("hf://someone/pushes/../../etc", "names no dataset"),
        ("someone/pushes", "type hf://someone/pushes"),
    ],
)
def test_what_is_no_name_is_refused(location: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        EpisodeDataset.open(location)


def test_dataset_of_the_hub_is_edited_as_a_copy(
    info: Info, source: EpisodeDataset, tmp_path: Path
) -> None:
    """The Hub's cache has links to files that must not change."""
    words = ["data", "delete", "hf://someone/pushes", "--episodes", "0"]
    done = info.run(*words, "--output", str(tmp_path / "copy"))
    assert done.returncode == 0, done.stderr
    assert not any(file.is_symlink() for file in (tmp_path / "copy").rglob("*"))
    copied = EpisodeDataset.open(tmp_path / "copy")
    assert [copied.seed(index) for index in range(len(copied))] == [1, 2]
    refused = info.run(*words, "--in-place")
    assert refused.returncode == 2 and "which is not changed" in refused.stderr, refused.stderr
