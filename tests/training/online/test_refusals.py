"""Contradictions of a run that acts: settings without effect, rewards of other tasks, cameras."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from factories import SIZE, make_spec
from training.online.test_train_online import run_tiny
from training.online.tiny import SEEN, tiny

from manyparts.core.columns import STATE
from manyparts.core.errors import UserError
from manyparts.core.spec import Spec
from manyparts.data.sampling.replay import Replay
from manyparts.embodiment.codec import Codec
from manyparts.embodiment.embodiment import Embodiment
from manyparts.embodiment.statistics import RunningStatistics, Statistics
from manyparts.embodiment.views.source import Source
from manyparts.embodiment.views.view import View
from manyparts.envs.registry import make
from manyparts.models.checkpoint import CheckpointInfo
from manyparts.models.dynamics.configs import LatentWorldConfig, TaughtWorldConfig
from manyparts.models.dynamics.teachers import Teachers
from manyparts.rollout.collect import collect
from manyparts.training.config import CurationConfig
from manyparts.training.inputs import Sources
from manyparts.training.online.job import Job
from manyparts.training.online.scales import scales_of
from manyparts.training.online.teaching import TeacherRun, with_teachers
from manyparts.training.online.train import train_online

STATES = {**SEEN, "cameras": ["none"]}


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of another task of the same body."""
    folder = tmp_path_factory.mktemp("data") / "left"
    collect("pointmass/reach-left", episodes=2, output=folder, config=STATES, keep_failures=True)
    return folder


@pytest.fixture(scope="module")
def both(left: Path) -> Path:
    """The same dataset with two episodes of the task itself."""
    folder = left.with_name("both")
    tasks = ("pointmass/reach-left", "pointmass/reach")
    collect(tasks, episodes=2, output=folder, config=STATES, keep_failures=True)
    return folder


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("buffer_frames", 100),
        ("curation", CurationConfig(drop=0.5)),
        ("new_embodiment", True),
        ("validation_fraction", 0.5),
    ],
)
def test_settings_of_datasets_are_refused(name: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"{name} is .* for a run that acts"):
        replace(tiny(), **{name: value})


@pytest.mark.parametrize("seen", [{"cameras": ["top"]}, {"image_size": 32}])
def test_images_for_a_model_of_states_are_refused(tmp_path: Path, seen: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="a model of states sees no images"):
        train_online(
            tiny(), environment="pointmass/reach", environment_config=seen, output=tmp_path / "run"
        )
    assert not (tmp_path / "run").exists()


def test_rehearsal_needs_sources(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing --sources, datasets of other tasks: 2 windows"):
        run_tiny(tmp_path / "run", config=tiny("vid2act/rehearsed-debug"))
    assert not (tmp_path / "run").exists()


def test_rewards_of_other_tasks_are_not_learned(tmp_path: Path, left: Path) -> None:
    with pytest.raises(UserError, match="of pointmass/reach-left, and their rewards"):
        run_tiny(tmp_path / "run", config=tiny(source_windows=2), sources=left)
    with pytest.raises(UserError, match="has episodes of pointmass/reach-left, and th"):
        run_tiny(tmp_path / "run", prefill=left)
    assert not (tmp_path / "run").exists()


def test_only_episodes_of_the_task_fill_a_replay(
    tmp_path: Path, both: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dataset that is gone since is not missed."""
    config = tiny(environment_steps=60)
    run = run_tiny(tmp_path / "run", config=config, prefill=both)
    printed = capsys.readouterr().err
    assert re.search(
        r"prefilled with \d episodes of .*; left out: \d episodes of \S+-left", printed
    )
    spec = make("pointmass/reach", STATES).embodiment_spec
    replay = Replay(run / "replay", spec, max_frames=10**6)
    assert {entry.task for entry in replay.episodes} == {"pointmass/reach"}
    both.rename(both.with_name("gone"))
    longer = tiny(environment_steps=80)
    assert run_tiny(run, config=longer, prefill=both, resume=True) == run


def _teacher(
    spec: Spec, sees: Literal["state", "images"] = "images", scales: Statistics | None = None
) -> TeacherRun:
    embodiment = Embodiment(spec, {}, scales or Statistics({}), ())
    info = CheckpointInfo((embodiment,), {}, {}, {}, {})
    return TeacherRun(Path("teacher"), info, LatentWorldConfig(sees=sees), ("one",))


def test_teachers_read_cameras_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    model = TaughtWorldConfig(sees="images")

    def taught(*cameras: str) -> TaughtWorldConfig:
        teacher = _teacher(make_spec(cameras=("front", "wrist")))
        scales = Statistics({})
        return with_teachers(
            model, [teacher], make_spec(cameras=cameras), "toy/task", scales=scales
        )

    assert taught("front", "wrist").teachers[0].cameras == dict.fromkeys(
        ("front", "wrist"), (SIZE, SIZE)
    )
    assert taught("front", "wrist", "side").teachers
    assert not capsys.readouterr().err
    with pytest.raises(UserError, match=r"choose --cameras front wrist$"):
        taught("wrist", "front")
    with pytest.raises(UserError, match=r"choose --cameras front wrist side$"):
        taught("side", "front", "wrist")
    assert taught("left", "right").teachers
    assert "from the cameras front, wrist of toy, and now reads left, right of toy/task" in (
        capsys.readouterr().err
    )


def test_teachers_hold_what_never_moved_for_them() -> None:
    """As in their own training: a lid that was always shut there is no value of 200 stds here."""
    spec, rng = make_spec(cameras=()), np.random.default_rng(0)
    own, here = rng.normal(size=(2, 50, spec.state_dimension)).astype(np.float32)
    own[:, 1] = 0.05
    running = RunningStatistics(spec.state_dimension)
    running.update(own)
    taught, scales = Statistics({STATE: running.finish()}), scales_of([here])
    teacher = _teacher(spec, "state", taught)
    config = teacher.config(spec, "toy/task", scales, LatentWorldConfig(sees="state"))
    seen_as, taught_as = (Codec.of(spec, each).normaliser for each in (scales, taught))
    given = Teachers([config], actions="own")._own(0, torch.from_numpy(seen_as(here)))
    assert np.abs(taught_as.scaled(here)[:, 1]).max() > 100
    assert np.allclose(given, taught_as(here), atol=1e-4)


def test_worlds_that_saw_through_a_view_are_refused(tmp_path: Path) -> None:
    """A run that acts would show them each step and each image as it is."""
    spec = make_spec(cameras=())
    teacher = _teacher(spec, "state")
    source = Source(spec, View(every=2))
    embodiment = replace(teacher.info.embodiments[0], sources=(source,))
    teacher = replace(teacher, info=replace(teacher.info, embodiments=(embodiment,)))
    config = tiny("vid2act/debug")
    given = (config, "pointmass/reach", None, "random", Sources(()))
    with pytest.raises(UserError, match="teacher was trained through a view, and a run that acts"):
        Job.of(*given, [teacher], None)
    # One that is resumed goes on, and a view of words shows a world nothing else.
    assert Job.of(*given, [teacher], None, config).teachers == (teacher,)
    worded = replace(embodiment, sources=(Source(spec, View(instruction="go")),))
    teacher = replace(teacher, info=replace(teacher.info, embodiments=(worded,)))
    assert Job.of(*given, [teacher], None).teachers == (teacher,)
