"""A real server of `manyparts play` and clients that speak as the page does: who gets in, who acts,
what is asked for, and what is saved."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation.evaluating import make_run
from factories import ANY_PROMPT
from playing.page import Page, Playing, playing
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from manyparts.cli import main
from manyparts.data.dataset import EpisodeDataset


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"), window=ANY_PROMPT)


@pytest.fixture(scope="module")
def agent(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Playing]:
    """An agent that knows two tasks."""
    folder = tmp_path_factory.mktemp("agent")
    with playing(folder, str(run), "--output", str(folder / "data")) as served:
        yield served


@pytest.fixture(scope="module")
def hand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Playing]:
    """A person alone, who records."""
    folder = tmp_path_factory.mktemp("hand")
    flags = ("--tasks", "pointmass/reach-red", "--state", "full", "--image-size", "16")
    with playing(folder, "hand", *flags, "--output", str(folder / "data")) as served:
        yield served


def dataset_of(served: Playing) -> Path:
    return served.log.with_name("data")


def test_only_the_printed_address_opens_the_page(hand: Playing) -> None:
    status, body, headers = hand.fetched("/?" + hand.query)
    assert status == 200 and b"manyparts play" in body
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
    for path in ("/", "/?token=wrong", "/socket", "/socket?token=wrong", "/?token=%ff"):
        assert hand.fetched(path)[0] == 403
    assert hand.fetched("/nothing?" + hand.query)[0] == 404
    assert hand.fetched("/page.js")[0] == 200
    assert hand.fetched("/?" + hand.query, Host="attacker.example")[0] == 403
    assert hand.fetched("/?" + hand.query, Host="[")[0] == 403
    assert hand.fetched("/?" + hand.query, Origin="http://attacker.example")[0] == 403


@pytest.mark.parametrize("origin", ["http://attacker.example", "null", None])
def test_the_socket_is_for_the_page_alone(hand: Playing, origin: Any) -> None:
    proxy: Any = {"proxy": None}
    with pytest.raises(InvalidStatus) as refused:
        connect(hand.socket_url, origin=origin, **proxy)
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ("no json", "no JSON"),
        ("[" * 5000, "no JSON"),
        ('{"type": 3}', "text `type`"),
        ('{"type": "fly"}', "unknown message 'fly'"),
        ('{"type": "reset", "seed": -1}', "seed is -1; expected a whole number, 0 to"),
        ('{"type": "reset", "seed": 1e400}', "seed is inf"),
        ('{"type": "speed", "factor": NaN}', "factor is nan"),
        ('{"type": "speed", "factor": 1' + "0" * 400 + "}", "factor is 10"),
        ('{"type": "task", "task": "pointmass/fly"}', "unknown task 'pointmass/fly'"),
        ('{"type": "instruction", "text": "a\\u0000b"}', "control characters"),
        ('{"type": "instruction", "text": "' + "a" * 301 + '"}', "expected 1 to 300"),
        ('{"type": "hand", "deflection": {"2": 1}}', "dimension '2'; expected 0 to 1"),
        ('{"type": "hand", "deflection": {"0": 2}}', "deflection[0] is 2; expected a number, -1"),
        ('{"type": "hand", "choice": 0}', "nothing to choose"),
        ('{"type": "control", "who": "agent"}', "there is no agent"),
        ('{"type": "goal", "of": "scene"}', "not trained with a goal image"),
        ('{"type": "demonstration", "of": "expert"}', "not trained with a demonstration"),
        ('{"type": "push", "x": 2, "y": 0, "right": 0, "up": 0}', "x is 2; expected a number, 0"),
        ('{"type": "save", "success": "yes"}', "success is 'yes'; expected true or false"),
        ('{"type": "save", "success": null}', "nothing to save"),
        ('{"type": "ack", "frame": 99}', "frame is 99"),
    ],
)
def test_bad_messages_are_one_line_and_change_nothing(
    hand: Playing, message: str, says: str
) -> None:
    with Page(hand) as page:
        page.until("frame")
        page.socket.send(message)
        text = page.until("refused")["text"]
        assert says in text and "\n" not in text
        page.steps(1)
        assert page.frame["action"] == [0.0, 0.0]


def test_a_message_too_large_closes_the_connection(hand: Playing) -> None:
    with Page(hand) as page:
        page.send("instruction", text="a" * 200_000)
        with pytest.raises(ConnectionClosed) as closed:
            page.until("never")
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009


def test_a_hand_records_what_it_did(hand: Playing) -> None:
    with Page(hand) as page:
        page.until("frame")
        start = page.frame["seed"]
        page.send("hand", deflection={"0": 0.5})
        page.steps(3)
        page.send("hand", deflection={})
        page.steps(2)
        page.send("hand", pointed={"1": -1})
        page.steps(1)
        assert "6 steps saved as episode 0" in page.asked("save", success=None)
        page.until("frame", seed=start + 1, step=0)
        assert "nothing to save" in page.asked("save", success=None)
    dataset = EpisodeDataset.open(dataset_of(hand))
    episode = dataset[0]
    assert dataset.environment["state"] == "full" and dataset.knows_success
    assert episode.action.tolist() == [[0.5, 0]] * 3 + [[0, 0]] * 2 + [[0, -1]]
    assert np.array_equal(episode.expert_action, episode.action)
    assert episode.task == "pointmass/reach-red" and episode.seed == start
    assert episode.images["top"].shape == (6, 16, 16, 3)
    notes = (dataset_of(hand) / "meta" / "played.jsonl").read_text().splitlines()
    note = json.loads(notes[0])
    assert note["by"] == "hand" and note["acted"] == [["hand", 6]] and note["split"] == "train"
    assert note["success"] is False and note["success_said_by"] == "environment"
    assert main(["data", "check", str(dataset_of(hand))]) == 0


def test_a_recorded_episode_is_played_again(hand: Playing) -> None:
    """Its seed and its actions lead to the same states."""
    from manyparts.envs.base import EnvConfig
    from manyparts.envs.registry import make

    with Page(hand) as page:
        page.until("frame")
        page.send("hand", deflection={"0": 1, "1": -0.3})
        page.steps(4)
        page.asked("save", success=None)
    dataset = EpisodeDataset.open(dataset_of(hand))
    episode = dataset[-1]
    env = make("pointmass/reach-red", EnvConfig.of(dataset.environment), split="train")
    env.begin(episode.seed)
    for state, action in zip(episode.state, episode.action, strict=True):
        assert np.array_equal(env.observe()["state"], state)
        env.advance(action)


def test_an_instruction_of_ones_own_is_a_task_that_a_person_judges(
    hand: Playing, tmp_path: Path
) -> None:
    with Page(hand) as page:
        page.until("frame")
        page.steps(2)
        page.send("instruction", text="circle the red target")
        page.until("frame", said="circle the red target")
        page.steps(3)
        assert page.frame["is_own"] is False
        refused = page.asked("save", success=None)
        assert "nobody does: say whether it did what was asked" in refused
        said = page.asked("save", success=True)
        assert "3 steps saved" in said and "2 steps before are left out" in said
    dataset = EpisodeDataset.open(dataset_of(hand))
    episode = dataset[-1]
    assert episode.task == "pointmass/reach-red#circle the red target"
    assert episode.success.tolist() == [False, False, True]
    notes = (dataset_of(hand) / "meta" / "played.jsonl").read_text().splitlines()
    assert json.loads(notes[-1])["success_said_by"] == "person"
    assert len(notes) == len(dataset)


def test_pushed_episodes_say_so(hand: Playing) -> None:
    with Page(hand) as page:
        page.until("frame")
        page.steps(2)
        assert page.asked("push", x=0.5, y=0.5, right=1, up=0) == "pushed the disc"
        page.steps(2)
        page.asked("save", success=None)
    notes = (dataset_of(hand) / "meta" / "played.jsonl").read_text().splitlines()
    note = json.loads(notes[-1])
    assert note["pushed_before"] == [2] and note["reproduces"] is False


def test_an_agent_acts_and_is_counted(agent: Playing) -> None:
    with Page(agent) as page:
        assert page.hello["prompts"] == ["instruction", "goal_image", "demonstration"]
        assert page.hello["split"] == "train"
        assert page.pictures == {} or page.pictures["scene"][:2] == b"\xff\xd8"
        page.send("automatic", next=False, save=False, only_hand=False)
        page.send("speed", factor=0)
        page.send("run", on=True)
        while not page.until("frame")["ended"]:
            pass
        counts = page.counts[0]
        assert counts["task"] == "pointmass/reach" and counts["episodes"] == 1
        assert counts["low"] <= counts["rate"] <= counts["high"]
        assert counts["prompt"] == page.frame["prompt"]


def test_prompts_change_at_any_step(agent: Playing) -> None:
    with Page(agent) as page:
        page.until("frame")
        page.steps(3)
        page.send("instruction", text="go home")
        page.until("frame", prompt="go home")
        page.steps(1)
        page.send("goal", of="scene")
        page.until("frame", has_goal=True)
        page.send("goal", of="expert")
        image = base64.b64encode(bytes(16 * 16 * 3)).decode()
        page.send("goal", of="images", images={"top": image})
        page.send("demonstration", of="expert")
        page.until("frame", prompt="go home + goal image + the expert in another scene")
        page.steps(1)
        assert "expected 16x16 pixels" in page.asked("goal", of="images", images={"top": "AAAA"})
        assert "for each camera: top" in page.asked("goal", of="images", images={"side": image})
        assert "begin with --data" in page.asked("demonstration", of="data", episode=0)
        page.send("goal", of="none")
        page.send("demonstration", of="none")
        page.send("instruction", text=None)
        page.until("frame", prompt="move to the target")
        assert page.frame["helped"] and "goal top" not in page.pictures


def test_the_expert_acts_beside_in_the_same_scene(agent: Playing) -> None:
    with Page(agent) as page:
        page.until("frame")
        page.send("expert", on=True)
        page.until("frame", shows_expert=True)
        assert page.pictures["expert"] == page.pictures["scene"]
        page.steps(5)
        assert page.pictures["expert"] != page.pictures["scene"]
        page.send("reset", seed=7)
        page.until("frame", seed=7, step=0)
        assert page.pictures["expert"] == page.pictures["scene"]


def test_a_hand_takes_over_and_gives_back(agent: Playing) -> None:
    with Page(agent) as page:
        page.until("frame")
        page.send("control", who="takeover")
        page.steps(3)
        assert page.frame["actor"] == "agent"
        page.send("hand", deflection={"1": -1})
        page.steps(2)
        assert page.frame["actor"] == "hand" and page.frame["action"] == [0.0, -1.0]
        page.send("hand", deflection={})
        page.steps(2)
        assert page.frame["actor"] == "agent" and page.frame["helped"]
        page.asked("save", success=None)
        assert "saved already; begin another" in page.asked("save", success=None)
    note = json.loads((dataset_of(agent) / "meta" / "played.jsonl").read_text().splitlines()[-1])
    assert note["acted"] == [["agent", 3], ["hand", 2], ["agent", 2]]
    assert note["by"] == "agent and hand" and note["success_said_by"] == "environment"


def test_only_what_a_hand_did_becomes_episodes(agent: Playing) -> None:
    with Page(agent) as page:
        page.until("frame")
        page.send("control", who="takeover")
        page.steps(2)
        assert "no step by hand" in page.asked("save", success=None, only_hand=True)
        for push in (0.5, -0.5):
            page.send("hand", deflection={"0": push})
            page.steps(3)
            page.send("hand", deflection={})
            page.steps(2)
        assert "6 steps saved as episodes" in page.asked("save", success=None, only_hand=True)
    episodes = EpisodeDataset.open(dataset_of(agent))
    assert episodes[-2].action.tolist() == [[0.5, 0]] * 3
    assert episodes[-1].action.tolist() == [[-0.5, 0]] * 3
    lines = (dataset_of(agent) / "meta" / "played.jsonl").read_text().splitlines()
    assert [json.loads(line)["left_out_before"] for line in lines[-2:]] == [2, 7]
    assert len(lines) == len(episodes)


@pytest.mark.slow
def test_ctrl_c_ends_it_and_says_what_was_saved_and_lost(tmp_path: Path) -> None:
    output = tmp_path / "data"
    flags = ("hand", "--tasks", "pointmass/reach", "--output", str(output))
    with playing(tmp_path, *flags) as served, Page(served) as page:
        page.until("frame")
        page.steps(2)
        page.asked("save", success=None)
        page.until("frame", step=0)
        page.steps(3)
        assert served.stopped() == 130
        log = served.log.read_text()
    assert "1 episode saved, 1 in all" in log and "left with 3 steps by hand" in log
    assert len(EpisodeDataset.open(output)) == 1
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "missing RUN"),
        (("hand",), "needs --tasks"),
        (("hand", "--tasks", "pointmass/fly"), "unknown task 'pointmass/fly'"),
        (("nowhere", "--tasks", "pointmass/reach"), "no run or checkpoint at nowhere"),
        (("hand", "--tasks", "pointmass/reach", "--pages", "0"), "--pages is 0"),
        (("hand", "--tasks", "pointmass/reach", "--port", "70000"), "--port is 70000"),
        (("hand", "--tasks", "pointmass/reach", "--host", "8.8.8.8"), "cannot listen on 8.8.8.8"),
        (("hand", "--tasks", "pointmass/reach", "--data", "x"), "hand takes no prompts"),
        (("random", "--tasks", "pointmass/reach", "--image-size", "3"), "image size is 3"),
    ],
)
def test_bad_flags_are_one_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    assert main(["play", *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert says in error and "\n" not in error


def test_only_datasets_of_its_own_are_added_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    collected = tmp_path / "collected"
    flags = ["--episodes", "1", "--workers", "1", "--output", str(collected)]
    assert main(["collect", "pointmass/reach", *flags]) == 0
    before = sorted(collected.rglob("*"))
    capsys.readouterr()
    assert main(["play", "hand", "--tasks", "pointmass/reach", "--output", str(collected)]) == 2
    assert "was not recorded here; choose a new folder" in capsys.readouterr().err
    assert sorted(collected.rglob("*")) == before


def test_solved_episodes_save_themselves(tmp_path: Path) -> None:
    """Those of an agent, too, unless only a person's own are asked for."""
    flags = ("--tasks", "pointmass/reach-red", "--image-size", "16")
    with (
        playing(tmp_path, "expert", *flags, "--output", str(tmp_path / "data")) as served,
        Page(served) as page,
    ):
        page.send("speed", factor=0)
        page.send("automatic", next=False, save=True, only_hand=True)
        page.send("run", on=True)
        while not page.until("frame")["ended"]:
            pass
        assert page.frame["solved_at"] is not None and not page.frame["saved"]
        page.send("automatic", next=False, save=True, only_hand=False)
        page.send("reset", seed=3)
        assert "saved as episode 0" in page.until("said", of="save")["text"]
    assert [each.seed for each in EpisodeDataset.open(tmp_path / "data")] == [3]
