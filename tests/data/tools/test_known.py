"""What a dataset does not say, its copies do not say either: rewards, success, ends for good."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data.synthetic import ENVIRONMENT, FPS, TASKS, make_episode, make_spec

from manyparts.core.serialisation import to_jsonable
from manyparts.data.dataset import DatasetWriter, EpisodeDataset
from manyparts.data.formats.lerobot.layout import Known
from manyparts.data.sampling.replay import Replay
from manyparts.data.tools.check import repair
from manyparts.data.tools.convert import convert
from manyparts.data.tools.export import export
from manyparts.studies.engine.execution import carry_out
from manyparts.studies.engine.stages import Cut, product

KNOWN = {
    "everything": Known(terminates=True, knows_success=True, knows_reward=True),
    "no rewards": Known(terminates=True, knows_success=True, knows_reward=False),
    "no success": Known(terminates=True, knows_success=False, knows_reward=True),
    "nothing": Known(terminates=False, knows_success=False, knows_reward=False),
}


def through(format: str) -> Callable[[Path, Path], Path]:
    """There and back."""

    def copy(source: Path, folder: Path) -> Path:
        there = folder / ("there.hdf5" if format == "robomimic" else "there")
        convert(source, there, format=format)  # pyright: ignore
        convert(there, folder / "back")
        return folder / "back"

    return copy


def repaired(source: Path, folder: Path) -> Path:
    repair(source, folder / "copy")
    return folder / "copy"


def cut(source: Path, folder: Path) -> Path:
    stage = Cut(str(source), EpisodeDataset.open(source).fingerprint, (0, 2))
    carry_out(stage, folder)
    return product(stage, folder)


@pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN)
@pytest.mark.parametrize(
    "copy",
    [repaired, cut, *map(through, ("lerobot", "minari", "robomimic"))],
    ids=["check --fix", "cut", "lerobot", "minari", "robomimic"],
)
def test_copies_know_what_their_source_knows(
    copy: Callable[[Path, Path], Path], known: Known, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    with DatasetWriter(
        source, make_spec(), fps=FPS, tasks=TASKS, environment=ENVIRONMENT, **known
    ) as writer:
        for seed in range(3):
            terminated = known["terminates"] and seed == 2
            writer.add(replace(make_episode(seed, 4), terminated=terminated))
    (tmp_path / "copies").mkdir()
    copied = EpisodeDataset.open(copy(source, tmp_path / "copies"))
    assert copied.known == known
    if known["knows_reward"]:
        assert np.array_equal(copied.episode(0).reward, make_episode(0, 4).reward)
    if known["terminates"]:
        assert copied.terminated is not None and copied.terminated[-1]


@pytest.mark.parametrize("knows", [True, False])
def test_an_exported_replay_knows_what_its_environment_knew(knows: bool, tmp_path: Path) -> None:
    about = {"tasks": [to_jsonable(TASKS[0])], "knows_success": knows}
    replay = Replay(tmp_path / "replay", make_spec(), max_frames=100, about=about)
    replay.add(make_episode(0, 4))
    export(tmp_path / "replay", tmp_path / "data")
    assert EpisodeDataset.open(tmp_path / "data").knows_success == knows
