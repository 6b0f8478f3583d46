"""A person in environments of any kind, without a server: what is waited for, what is saved, and
what becomes of an environment that breaks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from envs import gym_worlds
from evaluation.evaluating import make_run
from factories import ANY_PROMPT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manyparts.cli import main
from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.playing import messages, prompting
from manyparts.playing.casting import Wanted, cast_of
from manyparts.playing.commands import COMMANDS, carry_out
from manyparts.playing.session import Session


def named(kind: str) -> str:
    return f"gym:{gym_worlds.__name__}:{kind}-v0"


def session_of(kind: str, output: Path | None, name: str = "hand") -> Session:
    config = {"image_size": 16}
    cast, _ = cast_of(Wanted(name, tasks=(named(kind),), config=config, output=output))
    return Session(cast)


def ask(session: Session, kind: str, **fields: Any) -> str:
    return carry_out(session, {"type": kind, **fields})


def notes(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "meta" / "played.jsonl").open()]


def test_an_environment_by_its_id_is_recorded(tmp_path: Path) -> None:
    output = tmp_path / "data"
    session = session_of("Dot", output)
    goal_is_right = session.env.observe()["state"][-1] > session.env.observe()["state"][0]
    ask(session, "hand", deflection={"0": 1.0 if goal_is_right else -1.0})
    while not session.solved_at and not session.ended:
        session.step()
    assert session.solved_at == session.steps
    assert ask(session, "save", success=None).startswith(f"{session.steps} steps saved")
    dataset = EpisodeDataset.open(output)
    assert dataset[0].task.startswith(named("Dot")) and dataset[0].success[-1]
    assert notes(output)[0]["success"] is True and notes(output)[0]["reproduces"] is True


def test_unknown_success_stays_unknown(tmp_path: Path) -> None:
    output = tmp_path / "data"
    session = session_of("Silent", output)
    session.step()
    ask(session, "save", success=None)
    assert not EpisodeDataset.open(output).knows_success
    assert notes(output)[0]["success"] is None and notes(output)[0]["success_said_by"] is None
    ask(session, "next")
    session.step()
    with pytest.raises(UserError, match="does not say which episodes succeeded"):
        ask(session, "save", success=True)
    assert len(EpisodeDataset.open(output)) == 1
    assert ask(session, "save", success=None).endswith("episode 1")


def test_choices_wait_and_an_end_for_good_is_recorded(tmp_path: Path) -> None:
    output = tmp_path / "data"
    session = session_of("Choices", output)
    assert not session.step() and session.waiting and session.steps == 0
    state = session.env.observe()["state"]
    for _ in range(20):
        ask(session, "hand", choice=2 if state[-1] > state[0] else 0)
        assert session.step() and not session.waiting
        assert not session.step() and (session.waiting or session.ended)
        if session.ended:
            break
    assert session.terminated and session.ended == "it ended for good"
    ask(session, "save", success=None if session.env.knows_success else True)
    assert EpisodeDataset.open(output)[0].terminated


def test_a_simulator_that_breaks_ends_its_episode_alone() -> None:
    session = session_of("Raising", None)
    for seed in range(20):  # only some of its episodes break
        session.begin(seed)
        if session.env.observe()["state"][-1] > 0:
            break
    with pytest.raises(UserError, match="solver") as error:
        for _ in range(12):
            session.step()
    assert "\n" not in str(error.value)
    assert session.ended == "the simulator failed"
    count = session.steps
    assert not session.step() and session.steps == count
    session.begin(0)
    assert session.step() and not session.ended


def test_what_a_task_lacks_is_refused_in_a_line() -> None:
    session = session_of("Dot", None)
    for kind, fields, says in (
        ("expert", {"on": True}, "has no expert to put beside it"),
        ("push", {"x": 0.5, "y": 0.5, "right": 1, "up": 0}, "nothing can be pushed"),
        ("save", {"success": None}, "nowhere to save to: begin with --output"),
        ("task", {"task": "pointmass/reach"}, "unknown task 'pointmass/reach'"),
    ):
        with pytest.raises(UserError, match=says):
            ask(session, kind, **fields)
    assert session.step()


def test_random_actions_are_counted_and_a_changed_prompt_is_not() -> None:
    session = session_of("Dot", None, "random")
    for _ in range(2):
        while not session.ended:
            session.step()
        ask(session, "next")
    counts = session.cast.counts
    assert [row["episodes"] for row in counts.rows()] == [2] and counts.left_out == 0
    session.step()
    ask(session, "reset", seed=None)  # broken off
    session.step()
    ask(session, "instruction", text="go home")
    while not session.ended:
        session.step()
    assert counts.rows()[0]["episodes"] == 2 and counts.left_out == 2


def test_an_episode_that_has_ended_stays_what_was_asked_for(tmp_path: Path) -> None:
    cast, _ = cast_of(Wanted("hand", tasks=("pointmass/reach",), output=tmp_path / "data"))
    session = Session(cast)
    asked = session.said
    while not session.ended:
        session.step()
    assert ask(session, "instruction", text="dance a waltz") == ""
    ask(session, "save", success=None)
    (episode,) = EpisodeDataset.open(tmp_path / "data")
    assert (episode.task, episode.instruction) == ("pointmass/reach", asked)
    assert notes(tmp_path / "data")[0]["said"] == asked
    ask(session, "next")
    assert session.followed == "dance a waltz"


def test_what_another_prompt_leaves_out_is_said(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", window=ANY_PROMPT)
    cast, _ = cast_of(Wanted(str(run), output=tmp_path / "data"))
    session = Session(cast)
    ask(session, "control", who="hand")
    for kind, fields in (
        ("goal", {"of": "scene"}),
        ("instruction", {"text": "dance a waltz"}),
        ("demonstration", {"of": "expert"}),
    ):
        for _ in range(3):
            session.step()
        said = ask(session, kind, **fields)
        assert said == "3 steps under the prompt before will not be saved", kind


def test_a_split_of_evaluation_is_not_what_is_recorded(tmp_path: Path) -> None:
    wanted = Wanted("hand", tasks=("pointmass/reach",), output=tmp_path / "data")
    assert cast_of(wanted)[0].split == "train"
    assert cast_of(Wanted("hand", tasks=("pointmass/reach",)))[0].split == "evaluation"


def test_recording_goes_on_with_new_seeds(tmp_path: Path) -> None:
    wanted = Wanted("hand", tasks=("pointmass/reach",), output=tmp_path / "data")
    for expected in (0, 1):
        cast, _ = cast_of(wanted)
        session = Session(cast)
        assert session.seed == expected
        session.step()
        ask(session, "save", success=None)
        assert cast.recorder is not None
        cast.recorder.close()
    assert [note["seed"] for note in notes(tmp_path / "data")] == [0, 1]


def test_an_edited_dataset_is_not_added_to(tmp_path: Path) -> None:
    output = tmp_path / "data"
    session = session_of("Dot", output)
    for _ in range(2):
        session.step()
        ask(session, "save", success=None)
        ask(session, "next")
    assert main(["data", "delete", str(output), "--episodes", "0", "--output", f"{output}2"]) == 0
    with pytest.raises(UserError, match="has 2 lines for 1 episode: the dataset was edited"):
        session_of("Dot", tmp_path / "data2")


def test_another_robot_is_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    wanted = Wanted("hand", tasks=("pointmass/reach",), output=tmp_path / "data")
    cast, _ = cast_of(wanted)
    session = Session(cast)
    session.step()
    ask(session, "save", success=None)
    assert cast.recorder is not None
    cast.recorder.close()
    before = {path: path.read_bytes() for path in (tmp_path / "data").rglob("*.*")}
    for changes in ({"state": "full"}, {"goal": "hidden"}):
        other = Wanted("hand", wanted.tasks, changes, output=wanted.output)
        with pytest.raises(UserError, match="holds episodes of another robot or of other settings"):
            cast_of(other)
    assert {path: path.read_bytes() for path in (tmp_path / "data").rglob("*.*")} == before


def test_an_episode_of_a_dataset_is_shown_to_an_agent(tmp_path: Path) -> None:
    run, data = make_run(tmp_path / "run", window=ANY_PROMPT), tmp_path / "data"
    tasks = ("pointmass/reach",)
    session = Session(cast_of(Wanted("hand", tasks, {"image_size": 16}, output=data))[0])
    for _ in range(5):
        session.step()
    ask(session, "save", success=None)
    cast, _ = cast_of(Wanted(str(run), tasks, data=data))
    session = Session(cast)
    session.step()
    ask(session, "demonstration", of="data", episode=0)
    shown = session.asked.demonstration
    assert session.prompt_words == "move to the target + episode 0" and shown is not None
    recorded = EpisodeDataset.open(data)[0].images["top"]
    assert np.array_equal(shown.images["top"], recorded[[0, 2, 4]])
    assert session.step() and session.actor == "agent"
    with pytest.raises(UserError, match="no episode 1"):
        ask(session, "demonstration", of="data", episode=1)
    large = Wanted(str(run), tasks, {"image_size": 32}, data=data)
    with pytest.raises(UserError):  # the agent sees 16 pixels
        cast_of(large)


FIELDS = (*("task", "seed", "text", "of", "images", "episode", "who", "deflection", "pointed"),)
FIELDS += ("choice", "style", "on", "x", "y", "right", "up", "success")
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
WORDS = st.sampled_from(["scene", "none", "data", "push", "hand", "pointmass/reach", "0", "1"])
JSON = st.recursive(
    PLAIN | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def point_mass() -> Session:
    return Session(cast_of(Wanted("random", tasks=("pointmass/reach",)))[0])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(sorted(COMMANDS)),
    fields=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4),
)
def test_whatever_a_message_holds_is_done_or_refused_in_a_line(
    point_mass: Session, kind: str, fields: dict[str, Any]
) -> None:
    message = messages.read(json.dumps({"type": kind, **fields}))
    try:
        carry_out(point_mass, message)
    except UserError as error:
        assert "\n" not in str(error)
    point_mass.step()
    assert np.isfinite(point_mass.env.observe()["state"]).all()


def test_nothing_of_an_episode_is_left_for_the_next() -> None:
    """A key that was pressed after its end."""
    session = session_of("Choices", None)
    session.wish = replace(session.wish, choice=2)
    session.begin(1)
    assert session.wish.choice is None


def test_who_only_waits_has_not_helped() -> None:
    session = session_of("Choices", None, "random")
    ask(session, "control", who="hand")
    assert not session.step() and session.waiting and not session.helped
    ask(session, "control", who="agent")
    assert session.step() and not session.helped


def test_each_episode_has_its_own_goal(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", window=ANY_PROMPT)
    cast, _ = cast_of(Wanted(str(run), tasks=("pointmass/reach-red",)))
    session = Session(cast)
    ask(session, "goal", of="expert")
    first = session.asked.goal
    session.begin(session.seed + 1)
    own = prompting.goal_of(cast.made(session.env.task, whole=True), session.seed)
    assert session.prompt is not None and session.prompt.goal is session.asked.goal
    for camera, image in own.items():
        assert np.array_equal(session.asked.goal[camera], image)
        assert not np.array_equal(first[camera], image)
    ask(session, "goal", of="scene")
    kept = session.asked.goal
    session.begin(session.seed + 1)
    assert session.asked.goal is kept, "what a person showed stays"
