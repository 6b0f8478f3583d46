"""Agents and datasets go to a Hub on this machine by the Hub's own client, and come back equal."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from data.synthetic import make_episode, write
from evaluation.evaluating import evaluate_small, make_run

from manyparts.cli import main
from manyparts.core.errors import UserError
from manyparts.sharing.push import staged

COMMIT = "0123456789abcdef0123456789abcdef01234567"  # of the first upload
TOKEN = "hf_test"


class Hub(ThreadingHTTPServer):
    """Speaks as much of the Hub's protocol as uploads and downloads of small files need."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, dict[str, bytes]] = {}  # by repository, such as models/someone/agent
        self.tags: dict[str, str] = {}  # to commits
        self.uploads = 0

    @property
    def commit(self) -> str:
        """The last commit."""
        return COMMIT[:-1] + str(6 + max(self.uploads, 1))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        path = self.path.partition("?")[0].strip("/").split("/")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer({"error": "no"}, 401)
        if path[1:3] == ["repos", "create"]:
            asked = json.loads(content)
            name = f"{asked.get('organization') or 'someone'}/{asked['name']}"
            self.server.files.setdefault(f"{asked['type']}s/{name}", {})
            return self.answer({"url": f"{self.server.url}/{name}"})
        if path[1] == "validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        kind, name, what = path[1], "/".join(path[2:4]), path[4]
        if what == "preupload":
            files = [
                {"path": item["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                for item in json.loads(content)["files"]
            ]
            return self.answer({"files": files})
        if what == "tag":
            tag, commit = json.loads(content)["tag"], "/".join(path[5:])
            if tag in self.server.tags:
                return self.answer({"error": "it is there"}, 409)
            self.server.tags[tag] = commit
            return self.answer({})
        if what == "branch":
            return self.answer({})
        stored = self.server.files[f"{kind}/{name}"]
        for line in content.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                stored[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "deletedFile":
                del stored[value["path"]]
        self.server.uploads += 1
        url = f"{self.server.url}/{name}/commit/{self.server.commit}"
        return self.answer({"commitUrl": url, "commitOid": self.server.commit, "success": True})

    def do_DELETE(self) -> None:
        tag = self.path.rpartition("/")[2]
        if self.server.tags.pop(tag, None) is None:
            return self.answer({}, 404, **{"X-Error-Code": "RevisionNotFound"})
        return self.answer({})

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].strip("/").split("/")
        if path[0] == "api":
            kind, name = path[1], "/".join(path[2:4])
            files = self.server.files.get(f"{kind}/{name}")
            if files is None:
                return self.answer({}, 404, **{"X-Error-Code": "RepoNotFound"})
            if "tree" in path:
                return self.answer(
                    [{"type": "file", "path": each, "size": 1, "oid": "0" * 40} for each in files]
                )
            siblings = [{"rfilename": each} for each in files]
            return self.answer({"id": name, "sha": COMMIT, "siblings": siblings})
        content = self.server.files["models/" + "/".join(path[:2])]["/".join(path[4:])]
        self.send(content, 200, ETag=f'"{hashlib.sha1(content).hexdigest()}"')

    do_HEAD = do_GET

    def answer(self, value: Any, code: int = 200, **headers: str) -> None:
        self.send(
            json.dumps(value).encode(), code, **{"Content-Type": "application/json"} | headers
        )

    def send(self, content: bytes, code: int, **headers: str) -> None:
        self.send_response(code)
        all_headers = {"X-Repo-Commit": COMMIT, "Content-Length": str(len(content))} | headers
        for key, value in all_headers.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield serving
        serving.shutdown()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_run(tmp_path_factory.mktemp("run"))
    evaluate_small(folder, folder / "evaluation", workers=1, episodes=2)
    (folder / "secret.txt").write_text("mine")
    return folder


def manyparts(hub: Hub, cache: Path, *words: str, token: str = TOKEN) -> Any:
    """A command in a process of its own, since the Hub's client reads its settings once."""
    settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(cache), "HF_TOKEN": token}
    command = [sys.executable, "-m", "manyparts", *words]
    environment = os.environ | settings
    return subprocess.run(command, env=environment, capture_output=True, text=True, input="")


def test_an_agent_comes_back_and_acts_equally(hub: Hub, run: Path, tmp_path: Path) -> None:
    done = manyparts(hub, tmp_path, "push", str(run), "someone/agent", "--yes")
    assert done.returncode == 0, done.stderr
    files = hub.files["models/someone/agent"]
    assert set(files) == {"README.md", "config.json", "model.safetensors"}
    arguments = ("--episodes", "2", "--seed", "3", "--workers", "1", "--output")
    far = manyparts(
        hub, tmp_path, "evaluate", "hf://someone/agent", *arguments, str(tmp_path / "e")
    )
    assert far.returncode == 0, far.stderr
    own = (run / "evaluation" / "episodes.jsonl").read_text()
    assert (tmp_path / "e" / "episodes.jsonl").read_text() == own
    assert COMMIT in (tmp_path / "e" / "results.json").read_text()


def test_the_card_says_how_well_and_how(run: Path) -> None:
    with staged(run, "someone/agent", license="mit") as (kind, folder, files):
        card = (folder / "README.md").read_text()
    assert kind == "model" and "secret.txt" not in files
    assert "license: mit" in card and "pipeline_tag: robotics" in card
    assert "success_rate" in card and "95 % interval" in card
    assert "| pointmass/reach |" in card and "manyparts evaluate hf://someone/agent" in card
    assert "other cameras, states or actions are refused" in card


def test_the_source_stays_as_it_is(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "agent"
    shutil.copytree(run / "checkpoints" / "last", folder)
    (folder / "README.md").write_text("of the export")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    # On this disk files get second names instead of copies.
    assert Path(tempfile.gettempdir()).stat().st_dev == folder.stat().st_dev
    with staged(folder, "someone/agent") as (_, shared, files):
        assert "README.md" in files and (shared / "README.md").read_text() != "of the export"
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_figures_are_of_the_weights_that_are_shared(run: Path, tmp_path: Path) -> None:
    own = tmp_path / "run"
    shutil.copytree(run, own, symlinks=True)
    results = own / "evaluation" / "results.json"
    values = json.loads(results.read_text())
    values["provenance"] |= {"prompts": "goal_image", "control_delay": 2}
    results.write_text(json.dumps(values))
    with staged(own, "someone/agent") as (_, folder, _):
        card = (folder / "README.md").read_text()
    assert "It was asked by goal_image; carried out 2 steps late." in card
    assert "success_rate" not in card
    assert "imitation-learning" in card and "reinforcement-learning" not in card
    values["provenance"]["weights"] = "those of another checkpoint"
    results.write_text(json.dumps(values))
    with staged(own, "someone/agent") as (_, folder, _):
        card = (folder / "README.md").read_text()
    assert "It was not evaluated before it was shared." in card and "simulation" not in card


@pytest.mark.parametrize(
    ("preset", "shown", "hidden"),
    [
        ("dynamics/mlp-debug", "manyparts serve hf://a/b --planner mppi", "--from hf://"),
        (
            "dualmind/phase1-debug",
            "manyparts train PRESET --from hf://a/b",
            "manyparts serve hf://",
        ),
    ],
)
def test_the_cards_commands_are_those_that_work(
    preset: str, shown: str, hidden: str, tmp_path: Path
) -> None:
    data, run = str(tmp_path / "data"), str(tmp_path / "run")
    assert main(["collect", "pointmass/reach", "--episodes", "3", "--image-size", "16",
                 "--output", data]) == 0  # fmt: skip
    assert main(["train", preset, "--data", data, "--steps", "2", "--output", run]) == 0
    with staged(run, "a/b") as (_, folder, _):
        card = (folder / "README.md").read_text()
    assert shown in card and hidden not in card
    assert "imitation-learning" not in card and "| optimiser steps | 2 |" in card


def test_a_dataset_gets_the_tag_that_lerobot_asks_for(hub: Hub, tmp_path: Path) -> None:
    dataset = write(tmp_path / "set", [make_episode(seed, 4) for seed in range(2)])
    done = manyparts(hub, tmp_path, "push", str(dataset.path), "someone/pushes", "--yes")
    assert done.returncode == 0, done.stderr
    names = set(hub.files["datasets/someone/pushes"])
    assert "meta/info.json" in names and any(name.startswith("data/") for name in names)
    assert hub.tags == {"v3.0": hub.commit}
    # Again, with a dataset of fewer files: the tag is of its commit, and the others are gone.
    hub.files["datasets/someone/pushes"]["data/chunk-009/file-000.parquet"] = b"of before"
    done = manyparts(hub, tmp_path, "push", str(dataset.path), "someone/pushes", "--yes")
    assert done.returncode == 0, done.stderr
    assert hub.uploads == 2 and hub.tags == {"v3.0": hub.commit}
    assert set(hub.files["datasets/someone/pushes"]) == names
    # A trial on a branch is not what LeRobot reads.
    before = dict(hub.tags)
    trial = ("push", str(dataset.path), "someone/pushes", "--revision", "trial", "--yes")
    done = manyparts(hub, tmp_path, *trial)
    assert done.returncode == 0, done.stderr
    assert hub.uploads == 3 and hub.tags == before != {"v3.0": hub.commit}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("someone/agent",), "nobody can be asked here; --yes"),
        (("agent", "--yes"), "names no repository; expected OWNER/NAME"),
    ],
)
def test_nothing_is_sent_unasked(
    hub: Hub, run: Path, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    done = manyparts(hub, tmp_path, "push", str(run), *words)
    assert done.returncode == 2 and says in done.stderr, done.stderr
    assert not hub.files


@pytest.mark.slow
def test_a_wrong_token_is_one_line(hub: Hub, run: Path, tmp_path: Path) -> None:
    words = ("push", str(run), "someone/agent", "--yes")
    done = manyparts(hub, tmp_path, *words, token="hf_wrong")
    assert done.returncode == 2 and "type `hf auth login`" in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_links_that_lead_out_are_refused(tmp_path: Path) -> None:
    dataset = write(tmp_path / "set", [make_episode(0, 4)])
    (tmp_path / "secret").write_text("mine")
    (dataset.path / "meta" / "more.json").symlink_to(tmp_path / "secret")
    with (
        pytest.raises(UserError, match="leads out of"),
        staged(dataset.path, "someone/pushes"),
    ):
        pass


def test_a_linked_folder_is_refused_and_not_left_out(tmp_path: Path) -> None:
    dataset = write(tmp_path / "set", [make_episode(0, 4)])
    (dataset.path / "data").rename(tmp_path / "elsewhere")
    (dataset.path / "data").symlink_to(tmp_path / "elsewhere")
    with (
        pytest.raises(UserError, match="data is a link to a folder"),
        staged(dataset.path, "someone/pushes"),
    ):
        pass


def test_what_lerobot_cannot_read_is_not_shared(tmp_path: Path) -> None:
    dataset = write(tmp_path / "set", [make_episode(0, 4)])
    with (
        pytest.raises(UserError, match="--license is for weights"),
        staged(dataset.path, "someone/pushes", license="mit"),
    ):
        pass
    with pytest.raises(UserError, match="names no repository"), staged(dataset.path, "someone/.."):
        pass
    info = dataset.path / "meta" / "info.json"
    info.write_text(info.read_text().replace('"v3.0"', '"v2.1"'))
    with (
        pytest.raises(UserError, match=r"version 'v2\.1', and v3\.0 is shared: `manyparts data"),
        staged(dataset.path, "someone/pushes"),
    ):
        pass


@pytest.mark.slow
def test_an_agent_that_is_not_there_is_named(hub: Hub, tmp_path: Path) -> None:
    done = manyparts(hub, tmp_path, "evaluate", "hf://someone/nothing")
    assert done.returncode == 2 and "has no model 'someone/nothing'" in done.stderr, done.stderr
