"""Teachers, students and rivals from images, of one body and of several, from end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training.online.tiny import record, rows, seeing, small, tiny

from manyparts.agents.loading import load, load_system
from manyparts.agents.noted import Reader, noted, shapes_of
from manyparts.core.errors import UserError
from manyparts.data.sampling.replay import Replay
from manyparts.embodiment.codec import Codec
from manyparts.envs.registry import make
from manyparts.evaluation.results import Result
from manyparts.models.dynamics.teachers import SURPRISE, TAUGHT
from manyparts.planners import RandomShootingConfig
from manyparts.training.online.train import train_online
from manyparts.training.train import train

pytestmark = pytest.mark.slow

SEEN = {"image_size": 16, "max_steps": 20, "state": "full"}


def require_recorded_features(run: Path, folder: Path, embodiment: int, episodes: int) -> None:
    """What a replay holds of each step must be what the run's teachers make of it."""
    system, info = load_system(run)
    learned = info.embodiments[embodiment]
    codec = Codec.of(learned.spec, learned.statistics)
    shapes = shapes_of(system.model)
    replay = Replay(folder, codec.spec, max_frames=10**6, recorded=shapes)
    assert len(replay.episodes) >= episodes
    for entry, episode in replay.read():
        notes = noted(episode, system.model, Reader(system.model, codec, torch.device("cpu")))
        for name in (TAUGHT, SURPRISE):
            recorded = replay.columns(entry.number, [name])[name]
            # Half precision holds about three digits.
            assert np.allclose(recorded, notes[name], atol=4e-3, rtol=2e-3), (name, entry)
        assert notes[TAUGHT].std(axis=0).max() > 0.01, "teachers see no difference between steps"


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("sources")
    tasks = ("reach-left", "reach-right")
    return [record(f"pointmass/{task}", folder / task, **SEEN) for task in tasks]


@pytest.fixture(scope="module")
def teachers(sources: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = small("vid2act/teachers-debug", sees="images")
    return train(
        config, data=sources, output=tmp_path_factory.mktemp("runs") / "teachers", device="cpu"
    )


@pytest.fixture(scope="module")
def world(sources: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = small("vid2act/world-debug", sees="images")
    return train(
        config, data=sources, output=tmp_path_factory.mktemp("runs") / "world", device="cpu"
    )


def learn(output: Path, config: Any, task: str = "pointmass/reach", **changes: Any) -> Path:
    return train_online(config, environment=task, output=output, device="cpu", **changes)


def test_a_student_learns_from_images(tmp_path: Path, sources: list[Path], teachers: Path) -> None:
    config = seeing(tiny("vid2act/debug"))
    run = learn(tmp_path / "run", config, sources=sources, teachers=teachers)
    last = rows(run)[-1]
    assert last["world/image"] > 0 and "world/state" not in last
    assert all(np.isfinite(value) for value in last.values())
    require_recorded_features(run, run / "replay", 0, 5)
    for number in range(2):
        require_recorded_features(run, run / "sources" / str(number), 0, 3)
    agent = load(run)
    env = make("pointmass/reach", agent.environment)
    assert env.embodiment_spec.cameras == {"top": (16, 16)}
    action, _ = agent.act(None, env.reset(seed=0)[0], None, explore=False)
    assert action.shape == (2,)


@pytest.mark.slow
def test_images_are_rehearsed_from_a_world(
    tmp_path: Path, sources: list[Path], world: Path
) -> None:
    config = seeing(tiny("vid2act/rehearsed-debug"))
    run = learn(tmp_path / "run", config, sources=sources, start_from=world)
    began = learn(tmp_path / "scratch", config, sources=sources)
    assert rows(run)[0]["loss/world"] < rows(began)[0]["loss/world"]


def test_a_frozen_encoder_stays_as_it_was(tmp_path: Path, world: Path) -> None:
    config = seeing(tiny("vid2act/frozen-debug"))
    run = learn(tmp_path / "run", config, start_from=world)
    before, after = (load_system(each)[0].model for each in (world, run))
    changed = {
        name: not torch.equal(tensor, before.state_dict()[name])
        for name, tensor in after.state_dict().items()
    }
    frozen = [name for name in changed if name.startswith("encoders.")]
    assert frozen and not any(changed[name] for name in frozen)
    assert all(changed[name] for name in changed if name not in frozen)
    with pytest.raises(UserError, match=r"freezes parameters that nothing has trained .*--from"):
        learn(tmp_path / "other", config)
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_a_student_starts_from_a_world(
    tmp_path: Path, sources: list[Path], teachers: Path, world: Path
) -> None:
    """Finetuning and distillation together. What is seen is as the teachers saw it."""
    config = seeing(tiny("vid2act/distilled-debug"))
    run = learn(tmp_path / "run", config, teachers=teachers, start_from=world)
    before, began = load_system(world)[0].model, rows(run)[0]["loss/world"]
    assert before.config.width == load_system(run)[0].model.config.width
    scratch = learn(tmp_path / "scratch", config, teachers=teachers)
    assert began < rows(scratch)[0]["loss/world"]


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        ("state", "images", "sees images, and its student only state; set --model.sees images"),
        ("images", "state", "sees state, and its student only images; set --model.sees state"),
    ],
)
def test_teachers_see_what_students_do(
    tmp_path: Path, sources: list[Path], teachers: Path, student: str, teacher: str, message: str
) -> None:
    if teacher == "state":
        config = small("vid2act/teachers-debug", steps=1)
        teachers = train(config, data=sources, output=tmp_path / "teachers", device="cpu")
    seen = {name: SEEN[name] for name in SEEN if student == "images" or name != "image_size"}
    with pytest.raises(UserError, match=message):
        learn(
            tmp_path / "run",
            seeing(tiny("vid2act/distilled-debug"), student),
            teachers=teachers,
            environment_config=seen,
        )
    assert not (tmp_path / "run").exists()


def test_teachers_of_images_hold_as_long(tmp_path: Path, teachers: Path) -> None:
    config = seeing(tiny("vid2act/distilled-debug", action_repeat=2))
    with pytest.raises(
        UserError, match=r"teachers/.* holds each action for 1 step, this run for 2"
    ):
        learn(tmp_path / "run", config, teachers=teachers)
    assert not (tmp_path / "run").exists()


def test_other_images_are_refused(tmp_path: Path, sources: list[Path], teachers: Path) -> None:
    config = seeing(tiny("vid2act/debug"))
    seen = {**SEEN, "image_size": 24}
    with pytest.raises(UserError, match=r"shows images of 24x24, the teacher .* sees 16x16"):
        learn(tmp_path / "run", config, sources=sources, teachers=teachers, environment_config=seen)
    config = seeing(tiny("vid2act/rehearsed-debug"))
    with pytest.raises(UserError, match=r"a source shows pointmass otherwise .*--image-size"):
        learn(tmp_path / "run", config, sources=sources, environment_config=seen)
    assert not (tmp_path / "run").exists()


BODIES = {"hopper": "dmc/hopper-stand", "walker": "dmc/walker-walk"}
OF_BODIES = {"image_size": 16, "max_steps": 12}


@pytest.fixture(scope="module")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Random episodes of a hopper with 4 actions, and of a walker with 6."""
    pytest.importorskip("dm_control")
    folder = tmp_path_factory.mktemp("bodies")
    return [record(task, folder / name, **OF_BODIES) for name, task in BODIES.items()]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["shared", "separate"])
def test_a_quadruped_learns_from_other_bodies(
    tmp_path: Path, bodies: list[Path], kind: str
) -> None:
    config = small("vid2act/teachers-debug", sees="images")
    data = [bodies] if kind == "shared" else [[each] for each in bodies]
    teachers = [
        train(config, data=each, output=tmp_path / f"teachers-{number}", device="cpu")
        for number, each in enumerate(data)
    ]
    config = seeing(tiny("vid2act/debug", final_episodes=1))
    run = learn(tmp_path / "run", config, "dmc/quadruped-walk", sources=bodies, teachers=teachers)
    assert len(Result.load(run).episodes) == 1
    last = rows(run)[-1]
    assert last["distillation/weight/hopper"] + last["distillation/weight/walker"] == (
        pytest.approx(1, abs=1e-3)
    )
    assert all(np.isfinite(value) for value in last.values())
    _, info = load_system(run)
    assert [each.spec.action.dimension for each in info.embodiments] == [12, 4, 6]
    require_recorded_features(run, run / "replay", 0, 5)
    for number in range(2):
        require_recorded_features(run, run / "sources" / str(number), number + 1, 3)
    for planner in (None, RandomShootingConfig(candidates=4, horizon=2)):
        agent = load(run, planner=planner)
        env = make("dmc/quadruped-walk", agent.environment)
        observation, _ = env.reset(seed=0)
        action, carry = agent.act(None, observation, None, explore=False)
        assert action.shape == (12,)
        assert agent.act(carry, observation, None, explore=False)[0].shape == (12,)


@pytest.mark.slow
def test_a_hopper_learns_from_larger_bodies(tmp_path: Path, bodies: list[Path]) -> None:
    """Rehearsed with a walker: the hopper's own actions are four of the model's six."""
    config = seeing(tiny("vid2act/rehearsed-debug"))
    run = learn(tmp_path / "run", config, "dmc/hopper-stand", sources=bodies[1:])
    model = load_system(run)[0].model
    assert model.action_dimension == 6 and np.isfinite(rows(run)[-1]["loss/world"])
    spec = make("dmc/hopper-stand", OF_BODIES).embodiment_spec
    replay = Replay(run / "replay", spec, max_frames=10**6)
    assert all(episode.action.shape[1] == 4 for _, episode in replay.read())
    config = tiny("vid2act/rehearsed-debug")
    with pytest.raises(UserError, match=r"states of several embodiments .* mean different things"):
        learn(tmp_path / "states", config, "dmc/hopper-stand", sources=bodies[1:])
    assert not (tmp_path / "states").exists()


@pytest.mark.slow
def test_states_of_other_robots_do_not_teach(tmp_path: Path, bodies: list[Path]) -> None:
    config = small("vid2act/teachers-debug", steps=1)
    teacher = train(config, data=bodies[0], output=tmp_path / "teacher", device="cpu")
    with pytest.raises(UserError, match="states of another embodiment than the teacher"):
        learn(
            tmp_path / "run",
            tiny("vid2act/distilled-debug"),
            "dmc/walker-walk",
            teachers=teacher,
        )
    with pytest.raises(UserError, match=r"hopper, .*walker.* mean different things"):
        train(config, data=bodies, output=tmp_path / "both", device="cpu")
