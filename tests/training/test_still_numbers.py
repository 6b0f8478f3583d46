"""A run begun on data in which a gripper never moved continues with data in which it does, by every
method."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from training.runs import rows

from manyparts.core.errors import DatasetWarning
from manyparts.evaluation.prediction.open_loop import open_loop
from manyparts.methods import preset
from manyparts.models.checkpoint import load_info, resolve
from manyparts.training.train import train

TUNED = {
    "dualmind/phase1-debug": "dualmind/phase2-debug",
    "dynamics/mlp-debug": "dynamics/mlp-debug",
    "dynamics/sequential-debug": "dynamics/sequential-debug",
    "inverse_dynamics/finetune-states-debug": "inverse_dynamics/finetune-states-debug",
}


def record(folder: Path, gripper: float) -> Path:
    """Two numbers that move, and a gripper that closes to `gripper`; as .npz."""
    folder.mkdir(parents=True)
    for number in range(4):
        rng = np.random.default_rng(number)
        closed = np.where(np.arange(20) > 9, gripper, 0.0)
        numbers = np.column_stack([rng.uniform(-1, 1, (20, 2)), closed])
        image = rng.integers(0, 255, (20, 16, 16, 3), dtype=np.uint8)
        np.savez(
            folder / f"{number}.npz",
            action=numbers,
            state=numbers,
            top=image,
            instruction="close it",
        )
    return folder


@pytest.mark.parametrize("name", TUNED)
def test_numbers_that_begin_to_move_rescale(tmp_path, name):
    still, moving = record(tmp_path / "still", 0.0), record(tmp_path / "moving", 800.0)
    with pytest.warns(
        DatasetWarning,
        match="action action_2 is 0 in all of this data: the agent will always do that",
    ):
        before = train(
            replace(preset(name), steps=1), data=still, output=tmp_path / "before", device="cpu"
        )
    with pytest.warns(
        DatasetWarning, match=r"is 0 to 800 here, but was always 0 in the data of .*before"
    ) as warned:
        config = replace(preset(TUNED[name]), steps=2, log_every_steps=1)
        run = train(config, data=moving, output=tmp_path / "run", start_from=before, device="cpu")
    assert {str(each.message).split(" is ")[0] for each in warned} == {
        "state state_2",
        "action action_2",
    }
    assert max(row["loss"] for row in rows(run)) < 50
    (embodiment,) = load_info(resolve(run)).embodiments
    assert (embodiment.spec.action.low[2], embodiment.spec.action.high[2]) == (0.0, 800.0)
    assert embodiment.statistics["observation.state"].std[2] > 100


def test_errors_of_held_numbers_are_true(tmp_path):
    still, moving = record(tmp_path / "still", 0.0), record(tmp_path / "moving", 1.0)
    for folder in (still, moving):  # the same actions, so that they are within the run's bounds
        for file in folder.iterdir():
            arrays = dict(np.load(file))
            np.savez(file, **arrays | {"action": arrays["action"][:, :2]})
    run = train(
        replace(preset("dynamics/mlp-debug"), steps=1),
        data=still,
        output=tmp_path / "run",
        device="cpu",
    )
    with pytest.warns(
        DatasetWarning, match="state state_2 moves here, but was always 0 in the data of .*run"
    ):
        (forecast,) = open_loop([run], moving, horizons=(5,), windows=8)
    assert forecast.horizons[0].dimensions["state_2"] > 1e3


@pytest.mark.parametrize(
    ("reach", "words"), [(0.9, "its scale is taken from this data"), (0.25, "is clipped")]
)
def test_actions_beyond_measured_bounds_give_warnings(tmp_path, reach, words):
    """Data beyond the bounds that the run's data set: the agent could not do what it is shown."""
    before, data = record(tmp_path / "narrow", 0.2), record(tmp_path / "wide", reach)
    run = train(
        replace(preset("dualmind/phase1-debug"), steps=1),
        data=before,
        output=tmp_path / "run",
        device="cpu",
    )
    with pytest.warns(DatasetWarning, match=rf"action action_2 is 0 to {reach:g} here.*{words}"):
        tuned = train(
            replace(preset("dualmind/phase2-debug"), steps=1),
            data=data,
            output=tmp_path / "t",
            start_from=run,
        )
    (embodiment,) = load_info(resolve(tuned)).embodiments
    assert embodiment.spec.action.high[2] == pytest.approx(max(reach, 0.2) if reach > 0.5 else 0.2)
