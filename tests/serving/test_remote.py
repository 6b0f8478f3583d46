"""An agent behind a socket acts as it does in this process, and strangers are mapped or refused."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation.evaluating import CONFIG, TASKS, make_run
from serving.served import CAMERA, Served, serving
from websockets.sync.server import Server, ServerConnection, serve

from manyparts.agents.remote import RemoteAgent
from manyparts.agents.server import Remote, read_contract
from manyparts.cli import evaluate as command
from manyparts.core.errors import UserError
from manyparts.core.messages import pack, unpack
from manyparts.envs.registry import make
from manyparts.evaluation.protocol import evaluate
from manyparts.evaluation.remote import evaluate_remote

SPEC = make(TASKS[0], CONFIG).embodiment_spec


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def server(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(run, tmp_path_factory.mktemp("server")) as served:
        yield served


class Stranger:
    """A server of openpi's protocol that says nothing of its robot, and counts its connections."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.connections, self.requests = answer, 0, list[dict[Any, Any]]()
        self._server: Server = serve(self._talk, "127.0.0.1", 0, compression=None)
        self.url = f"ws://127.0.0.1:{self._server.socket.getsockname()[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _talk(self, socket: ServerConnection) -> None:
        self.connections += 1
        socket.send(pack({"policy": "pi0"}, "openpi"))
        for data in socket:
            assert isinstance(data, bytes)
            self.requests.append(unpack(data))
            answer = self.answer
            socket.send(answer if isinstance(answer, str) else pack(answer, "openpi"))

    def close(self) -> None:
        self._server.shutdown()


@pytest.fixture
def contract(tmp_path: Path) -> Path:
    path = tmp_path / "contract.json"
    path.write_text(json.dumps(SPEC.action.to_dict()))
    return path


@pytest.mark.slow
def test_episodes_are_equal_here_and_behind_a_socket(
    run: Path, server: Served, tmp_path: Path
) -> None:
    here = evaluate(run, episodes=3, workers=1, output=tmp_path / "here")
    arguments = [server.url, "--episodes", "3", "--workers", "2", "--output", str(tmp_path / "far")]
    assert command.main(arguments) == 0
    texts = [(tmp_path / name / "episodes.jsonl").read_text() for name in ("here", "far")]
    assert texts[0] == texts[1] and len(texts[0].splitlines()) == 3 * len(TASKS)
    provenance = json.loads((tmp_path / "far" / "results.json").read_text())
    assert here.provenance["weights"] in json.dumps(provenance)


def test_a_stranger_is_mapped_and_connected_anew(contract: Path, tmp_path: Path) -> None:
    stranger = Stranger({"actions": np.full((3, 2), 5.0)})
    remote = Remote(stranger.url, {CAMERA: "image"}, "state", read_contract(contract))
    result = evaluate_remote(
        remote,
        TASKS[0],
        output=tmp_path / "far",
        episodes=2,
        workers=1,
        environment=CONFIG,
        max_steps=6,
    )
    assert len(result.episodes) == 2
    assert set(stranger.requests[0]) == {"image", "state", "prompt"}
    # One to ask what it is, and one for each episode; three actions an answer.
    assert len(stranger.requests) == 4 and stranger.connections >= 3
    stranger.close()


def test_a_stranger_that_is_not_mapped_is_refused() -> None:
    stranger = Stranger({"actions": np.zeros((1, 2))})
    with pytest.raises(UserError, match=r"does not say which robot it acts for; say it with"):
        RemoteAgent(Remote(stranger.url), SPEC)
    with pytest.raises(UserError, match=r"names the camera 'topp'; did you mean top"):
        RemoteAgent(Remote(stranger.url, {"topp": "image"}), SPEC)
    stranger.close()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"actions": np.zeros((1, 3))}, "expected rows of 2"),
        ({"actions": np.zeros((0, 2))}, "expected rows of 2"),
        ({"actions": np.array([[np.nan, 0.0]])}, "not finite"),
        ({"actions": "none"}, "without an array `actions`"),
        ([1], "without an array `actions`"),
        (
            {"actions": np.zeros((1, 2)), "hold": "late"},
            r"holds the robot instead of acting \(late",
        ),
        ("no such policy", "refused: no such policy"),
    ],
)
def test_answers_that_are_none_are_refused(answer: Any, says: str, contract: Path) -> None:
    stranger = Stranger(answer)
    agent = RemoteAgent(Remote(stranger.url, {CAMERA: "a"}, None, read_contract(contract)), SPEC)
    env = make(TASKS[0], CONFIG)
    env.begin(0)
    with pytest.raises(UserError, match=says):
        agent.act(None, env.observe(), "reach the target", explore=False)
    stranger.close()


@pytest.mark.parametrize(
    ("images", "state", "twice"),
    [
        ({CAMERA: "st"}, "st", "st"),
        ({CAMERA: "prompt"}, "st", "prompt"),
        ({CAMERA: "image"}, "prompt", "prompt"),
    ],
)
def test_a_key_for_two_things_is_refused(
    images: dict[str, str], state: str, twice: str, contract: Path
) -> None:
    stranger = Stranger({"actions": np.zeros((1, 2), np.float32)})
    remote = Remote(stranger.url, images, state, read_contract(contract))
    with pytest.raises(UserError, match=f"give '{twice}' to two things"):
        RemoteAgent(remote, SPEC)
    stranger.close()


@pytest.mark.parametrize("content", [b"one\ntwo", b"", "schl\u00fcssel".encode(), b"\xff\xfe"])
def test_a_file_without_a_key_is_named_and_not_shown(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(UserError, match="key holds no key; expected one line") as refused:
        RemoteAgent(Remote("ws://127.0.0.1:1", key_file=file), SPEC)
    assert "one\n" not in str(refused.value) and "two" not in str(refused.value)


def test_another_robot_is_refused(server: Served) -> None:
    other = make("pointmass/reach", CONFIG.__class__(image_size=32)).embodiment_spec
    with pytest.raises(UserError, match=r"acts for another robot: cameras"):
        RemoteAgent(Remote(server.url), other)


@pytest.mark.parametrize(
    ("url", "says"),
    [("ws://127.0.0.1:9", "nobody serves at"), ("http://127.0.0.1:9", "is no address of a server")],
)
def test_nobody_there_is_one_line(url: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        RemoteAgent(Remote(url), SPEC)


@pytest.mark.parametrize(
    "text",
    ["no json", "[1]", "{}", '{"names": ["x"], "low": [0]}', '{"representation": 3}'],
)
def test_a_file_without_a_contract_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "contract.json").write_text(text)
    with pytest.raises(UserError, match="holds no action contract, an object with"):
        read_contract(tmp_path / "contract.json")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ([], "it needs --output"),
        (["--output", "x", "--device", "cuda"], "--device is not for it"),
        (["--output", "x", "--remote.images", "top"], "expected CAMERA=KEY"),
        (["--output", "x", "--prompts", "demonstration"], "not sent to a server"),
    ],
)
def test_flags_of_loaded_agents_are_refused(flags: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        command.main(["ws://127.0.0.1:9", *flags])


def test_flags_of_servers_are_refused_for_folders(run: Path) -> None:
    with pytest.raises(UserError, match=r"flags --remote\.\* are for ws://HOST:PORT"):
        command.main([str(run), "--remote.state", "state"])
