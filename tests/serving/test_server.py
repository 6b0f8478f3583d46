"""A real server and real clients: who gets in, what they get, and what is left when it ends."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from evaluation.evaluating import make_run
from serving.served import CAMERA, Client, Served, request, serving
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from manyparts.core.messages import pack, unpack
from manyparts.data.dataset import EpisodeDataset

KEY = "a-key-of-ours"
DEFECT = """
import sys
from manyparts.cli import main
from manyparts.serving import server

async def broken(link):
    raise IndexError("not in the list")

server.PATHS["/vla-eval"] = broken
sys.argv = sys.argv[3:]  # without the program and its flag
sys.exit(main())
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def open_server(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(run, tmp_path_factory.mktemp("open"), "--max-megabytes", "1") as served:
        yield served


@pytest.fixture(scope="module")
def locked_server(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("locked")
    (folder / "key").write_text(f"{KEY}\n")
    with serving(run, folder, "--key-file", str(folder / "key"), "--sessions", "1") as served:
        yield served


def fetched(served: Served, path: str, **headers: str) -> tuple[int, bytes]:
    asked = urllib.request.Request(f"http://127.0.0.1:{served.port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_it_describes_itself_and_answers(open_server: Served) -> None:
    client = Client(open_server.url)
    assert client.metadata["cameras"] == {CAMERA: [16, 16]}
    assert client.metadata["action"]["names"] == ["x", "y"]
    assert client.metadata["prompts"] == ["instruction"]
    first, second = client.infer(request(0)), client.infer(request(1))
    assert first["actions"].shape == (2, 2) and first["actions"].dtype == np.float32
    assert first["server_timing"]["infer_ms"] > 0
    assert second["server_timing"]["prev_total_ms"] > 0
    client.close()


def test_two_clients_do_not_mix(open_server: Served) -> None:
    alone = Client(open_server.url)
    wanted = [alone.infer(request(number))["actions"] for number in range(4)]
    one, other = Client(open_server.url), Client(open_server.url)
    for number in range(4):
        actions = one.infer(request(number))["actions"]
        other.infer(request(100 + number, prompt="push"))
        assert np.array_equal(actions, wanted[number])
    for client in (alone, one, other):
        client.close()


def test_a_reset_begins_anew(open_server: Served) -> None:
    client = Client(open_server.url)
    first = client.infer(request(0))["actions"]
    client.infer(request(1))
    assert client.infer({"endpoint": "reset"}) == "reset successful"
    assert np.array_equal(client.infer(request(0))["actions"], first)
    client.close()


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (
            {f"observation/{CAMERA}": "no image"},
            f"observation/{CAMERA} is a str; expected an array",
        ),
        ({f"observation/{CAMERA}": np.zeros((4, 4, 3), np.uint8)}, "trained on (16, 16, 3)"),
        ({"observation/state": np.full(2, np.nan)}, "expected finite numbers"),
        ({"observation/state": [[1], [1, 2]]}, "numpy cannot read"),
        ({"seed": 2**63}, "expected 0 to 2**63 - 1"),
        ({"prompt": 3}, "prompt is a int; expected text"),
        ({"prompt": "a" * 3000}, "at most 2000"),
        ({"executed": "two"}, "executed is a str"),
        ({f"goal/{CAMERA}": [1, 2]}, f"goal/{CAMERA} is a list; expected an array"),
        ({"prompt": " "}, "needs a prompt"),
        ({"endpoint": "kill"}, "choices: infer, reset"),
        ({"endpoint": np.array([1, 2])}, "endpoint is a ndarray; choices: infer, reset"),
    ],
)
def test_a_broken_request_is_held_in_one_line(
    open_server: Served, broken: dict[str, Any], says: str
) -> None:
    client = Client(open_server.url)
    client.infer(request(0))
    reply = client.infer(request(1, **broken))
    assert isinstance(reply, str) and reply.startswith("hold: ") and says in reply
    assert "\n" not in reply and "Traceback" not in reply
    with pytest.raises(ConnectionClosed) as closed:
        client.received()
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1011


@pytest.mark.parametrize("message", [b"\xc1", b"", "text", msgpack.packb([1, 2])])
def test_what_is_no_message_is_refused(open_server: Served, message: bytes | str) -> None:
    client = Client(open_server.url)
    client.socket.send(message)
    assert client.received().startswith("hold: the message is")


def test_a_message_that_is_too_long_is_cut_off(open_server: Served) -> None:
    client = Client(open_server.url)
    with pytest.raises(ConnectionClosed) as closed:
        client.infer({"a": b"0" * 2**21})
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009
    assert fetched(open_server, "/healthz") == (200, b"OK\n")


def test_vla_eval_is_spoken_on_its_path(open_server: Served) -> None:
    proxy: Any = {"proxy": None}
    with connect(f"{open_server.url}/vla-eval", compression=None, **proxy) as socket:
        _talk_as_vla_eval(open_server, socket)


def _talk_as_vla_eval(open_server: Served, socket: Any) -> None:
    def asked(kind: str, payload: dict[str, Any], sequence: int, *, answers: bool = True) -> Any:
        message = {"type": kind, "payload": payload, "seq": sequence, "timestamp": 0.0}
        socket.send(pack(message, "vla-eval"))
        return unpack(socket.recv(timeout=30)) if answers else None

    hello = asked("hello", {"harness_version": "0.8.0"}, 1)
    assert hello["payload"]["protocol_version"] == 1 and hello["seq"] == 1
    asked("episode_start", {"recording": {"db_path": "/nowhere/x.db"}}, 2, answers=False)
    seen = request(0)
    observation = {
        "images": {CAMERA: seen[f"observation/{CAMERA}"]},
        "states": seen["observation/state"],
        "task_description": seen["prompt"],
    }
    action = asked("observation", observation, 3)
    assert action["type"] == "action" and action["seq"] == 3
    client = Client(open_server.url)
    assert np.array_equal(action["payload"]["actions"], client.infer(seen)["actions"])
    error = asked("observation", {"images": {}}, 4)
    assert error["type"] == "error" and CAMERA in error["payload"]["error"]
    assert asked("observation", observation, 5)["type"] == "action"
    client.close()
    strange: Any = np.array([1, 2])
    error = asked(strange, {}, 6)
    assert error["type"] == "error" and "choices" in error["payload"]["error"]


def test_a_defect_of_ours_costs_one_client_alone(run: Path, tmp_path: Path) -> None:
    with serving(run, tmp_path, within=(sys.executable, "-c", DEFECT)) as served:
        other = Client(served.url)
        proxy: Any = {"proxy": None}
        with connect(f"{served.url}/vla-eval", compression=None, **proxy) as socket:
            assert "the server failed: IndexError" in str(socket.recv(timeout=30))
            with pytest.raises(ConnectionClosed):
                socket.recv(timeout=30)
        assert np.isfinite(other.infer(request(0))["actions"]).all()
        other.close()


def test_web_pages_are_refused(open_server: Served) -> None:
    with pytest.raises(InvalidStatus) as refused:
        Client(open_server.url, origin="http://127.0.0.1")
    assert refused.value.response.status_code == 403
    assert fetched(open_server, "/config", Origin="http://evil.example")[0] == 403


def test_plain_requests_never_reach_the_robot(open_server: Served) -> None:
    assert fetched(open_server, "/healthz") == (200, b"OK\n")
    assert json.loads(fetched(open_server, "/health")[1]) == {"status": "ok"}
    before = fetched(open_server, "/config")
    assert fetched(open_server, "/config?sessions=99") == before
    assert fetched(open_server, "/")[0] == 426
    assert fetched(open_server, "/vla-eval")[0] == 426
    assert fetched(open_server, "/../etc/passwd")[0] == 404
    assert fetched(open_server, "//[")[0] == 404
    with pytest.raises(InvalidStatus) as refused:
        Client(f"{open_server.url}/other")
    assert refused.value.response.status_code == 404


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, 401),
        (f"Api-Key {KEY}x", 401),
        ("Basic !!!", 401),
        (f"Basic {base64.b64encode(b'any:wrong').decode()}", 401),
        (f"Api-Key {KEY}", 101),
        (f"Basic {base64.b64encode(f'any:{KEY}'.encode()).decode()}", 101),
    ],
)
def test_only_who_knows_the_key_gets_in(
    locked_server: Served, header: str | None, status: int
) -> None:
    headers = {} if header is None else {"Authorization": header}
    if status == 101:
        Client(locked_server.url, additional_headers=headers).close()
        return
    with pytest.raises(InvalidStatus) as refused:
        Client(locked_server.url, additional_headers=headers)
    assert refused.value.response.status_code == status
    # What is no text is no key either.
    assert fetched(locked_server, "/", Authorization="Api-Key \xff")[0] == 401
    # vla-eval's client reads them without a key.
    assert fetched(locked_server, "/config")[0] == fetched(locked_server, "/healthz")[0] == 200


def test_one_client_too_many_is_sent_away(locked_server: Served) -> None:
    headers = {"Authorization": f"Api-Key {KEY}"}
    first = Client(locked_server.url, additional_headers=headers)
    with pytest.raises(InvalidStatus) as refused:
        Client(locked_server.url, additional_headers=headers)
    assert refused.value.response.status_code == 503
    first.close()


def test_episodes_are_recorded_until_the_end(run: Path, tmp_path: Path) -> None:
    flags = ("--record", str(tmp_path / "set"))
    with serving(run, tmp_path, *flags) as served:
        client = Client(served.url)
        first = [client.infer(request(number)) for number in range(3)]
        client.infer({"endpoint": "reset"})
        client.infer(request(7, prompt="push it"))
        assert served.stopped() == 130
        text = served.log.read_text()
    assert "4 requests" in text and "Traceback" not in text
    dataset = EpisodeDataset.open(tmp_path / "set")
    assert [len(episode) for episode in dataset] == [3, 1]
    assert [episode.instruction for episode in dataset] == [request(0)["prompt"], "push it"]
    assert not dataset.knows_success and not dataset.has_rewards
    for number, row in enumerate(dataset.episode(0).images[CAMERA]):
        assert np.array_equal(row, request(number)[f"observation/{CAMERA}"])
    # Two actions an answer: forces are averaged, as a view does that keeps every second frame.
    wanted = [answer["actions"].mean(axis=0) for answer in first]
    np.testing.assert_allclose(dataset.episode(0).action, wanted, atol=1e-6)
    assert dataset.spec.action.control_rate_hz == 10
    notes = (tmp_path / "set" / "meta" / "served.jsonl").read_text().splitlines()
    assert [json.loads(note)["requests"] for note in notes] == [3, 1]


@pytest.mark.slow
def test_what_is_under_way_is_answered_before_the_end(run: Path, tmp_path: Path) -> None:
    with serving(run, tmp_path, "--batch-wait-ms", "1000") as served:
        client = Client(served.url)
        answers: list[Any] = []
        thread = threading.Thread(target=lambda: answers.append(client.infer(request(0))))
        thread.start()
        while "connected" not in served.log.read_text():
            pass
        threading.Event().wait(0.3)
        assert served.stopped(signal.SIGTERM) == 0
        thread.join(timeout=30)
    assert answers[0]["actions"].shape == (2, 2)


def test_a_late_answer_holds_the_robot(run: Path, tmp_path: Path) -> None:
    with serving(run, tmp_path, "--batch-wait-ms", "500", "--deadline-ms", "50") as served:
        client = Client(served.url)
        answer = client.infer(request(0))
        # As many as a whole answer has: clients of openpi take them one by one.
        assert answer["actions"].tolist() == [[0.0, 0.0]] * 2
        assert answer["hold"].startswith("late")
        client.close()
        assert served.stopped() == 130
        assert "1 held" in served.log.read_text()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--host", "0.0.0.0"], "give --key-file FILE, or --without-key"),
        (["--host", "no.such.host.example", "--without-key"], "no address of this machine"),
        (["--port", "70000"], "expected 0 to 65535"),
        (["--key-file", "nowhere"], "cannot read the key file"),
        (["--certificate", "c.pem"], "belong together"),
        (["--max-change", "2"], "--max-change is 2"),
        (["--actions", "0"], "--actions is 0"),
        (["--deadline-ms", "0"], "--deadline-ms is 0"),
        (["--max-megabytes", "0"], "--max-megabytes is 0"),
        (["--record", "/dev/null"], "/dev/null"),
    ],
)
def test_flags_that_do_not_fit_are_refused(
    run: Path, flags: list[str], says: str, tmp_path: Path
) -> None:
    from manyparts.cli import serve
    from manyparts.core.errors import UserError

    with pytest.raises(UserError) as refused:
        serve.main([str(run), "--port", "0", *flags])
    assert says in str(refused.value)


def test_a_port_in_use_is_named(run: Path, open_server: Served) -> None:
    command = [sys.executable, "-m", "manyparts", "serve", str(run)]
    command += ["--port", str(open_server.port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert f"port {open_server.port} of 127.0.0.1 is in use" in done.stderr.splitlines()[-1]
