"""Pretraining objectives on a user's own dataset: what is kept apart, and the whole of it from one
command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.synthetic import TASKS, make_episode, make_spec, write

from manyparts import cli
from manyparts.core.errors import UserError
from manyparts.data.tools.convert import convert
from manyparts.evaluation.probes import action_errors
from manyparts.methods.inverse_dynamics import finetune_states
from manyparts.studies.engine.stages import Cut, Train, read_description, write_description
from manyparts.studies.library.offline import stages_of, trials
from manyparts.studies.library.representations import METHODS
from manyparts.training.train import train


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another's format: 7 episodes of one task, 9 of the other."""
    folder = tmp_path_factory.mktemp("data")
    episodes = [make_episode(seed, 8, task=int(seed >= 7)) for seed in range(16)]
    convert(write(folder / "own", episodes).path, folder / "set.hdf5", format="robomimic")
    return folder / "set.hdf5"


def test_scored_episodes_are_held_out(data: Path, tmp_path: Path) -> None:
    chosen = trials(str(data), TASKS[1].instruction, demonstrations=(1, 4), seeds=2, size="debug")
    for trial in chosen:
        tuned, kept = trial.score.run.data, trial.score.data
        assert isinstance(tuned, Cut) and len(tuned.episodes) == trial.demonstrations
        assert (
            not set(kept.episodes) & set(tuned.episodes)
            and min(kept.episodes) >= 7
            and len(kept.episodes) == 5
        )
        if trial.score.run.start_from:
            assert trial.score.run.start_from.data.episodes == tuple(range(7))
    kept = {trial.seed: trial.score.data.key for trial in chosen}
    assert (
        all(trial.score.data.key == kept[trial.seed] for trial in chosen)
        and len(set(kept.values())) == 2
    )
    stages = stages_of(chosen)
    assert (
        sum(
            isinstance(stage, Train) and stage.config.phase == "pretrain-cloning"
            for stage in stages
        )
        == 2
    )
    for stage in stages:
        assert read_description(write_description(stage, tmp_path)).key == stage.key


@pytest.mark.slow
def test_offline_study_runs_from_one_command(data: Path, tmp_path: Path, capsys: Any) -> None:
    methods = ["inverse-dynamics", "states", "random"]
    command = [
        "study",
        "representations-debug",
        "--data",
        str(data),
        "--holdout-task",
        TASKS[0].instruction,
    ]
    command += [
        "--objectives",
        *methods,
        "--seeds",
        "1",
        "--finetune-sizes",
        "2",
        "--output",
        str(tmp_path / "out"),
    ]
    assert cli.main(command) == 0
    rows = json.loads((tmp_path / "out" / "offline.json").read_text())
    assert {row["method"] for row in rows} == set(methods)
    assert all(
        0 <= row["low"] <= row["error"] <= row["high"] and row["episodes"] == 5 for row in rows
    )
    assert next(row for row in rows if row["method"] == "states")["probe"] > 0.9
    assert "0 is the expert's, 1 that of the mean action" in capsys.readouterr().out
    assert cli.main([*command, "--list"]) == 0
    assert "to do" not in capsys.readouterr().out


def test_impossible_comparisons_are_named(data: Path, tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(UserError, match=r"no task 'fly' in .*; choices: "):
        trials(str(data), "fly")
    with pytest.raises(
        UserError, match="has 7 episodes, of which 5 are kept for scoring; demonstrations are"
    ):
        trials(str(data), TASKS[0].instruction, demonstrations=(3,))
    alone = write(tmp_path / "alone", [make_episode(seed, 6, task=0) for seed in range(8)]).path
    with pytest.raises(UserError, match="no other task"):
        trials(str(alone), TASKS[0].instruction)
    with pytest.raises(UserError, match="unknown objective 'bc'"):
        trials(str(data), TASKS[0].instruction, objectives=("bc",), demonstrations=(1,))
    with pytest.raises(UserError, match="objectives has states more than once"):
        trials(
            str(data),
            TASKS[0].instruction,
            objectives=("states", "random", "states"),
            demonstrations=(1,),
        )
    with pytest.raises(UserError, match="finetune_sizes has 1 more than once"):
        trials(str(data), TASKS[0].instruction, demonstrations=(1, 1))
    assert cli.main(["study", "representations", "--data", str(data)]) == 2
    assert cli.main(["study", "dualmind", "--data", str(data), "--holdout-task", "x"]) == 2
    assert "--data is a flag of the study representations" in capsys.readouterr().err


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset without cameras; one of its two dimensions of action never moves."""
    spec = make_spec(cameras=())
    episodes = [make_episode(seed, 8, spec, task=int(seed >= 7)) for seed in range(16)]
    still = np.asarray([1, 0], np.float32), np.asarray([0, 0.3], np.float32)
    episodes = [
        replace(
            each,
            action=each.action * still[0] + still[1],
            expert_action=each.expert_action * still[0] + still[1],
        )
        for each in episodes
    ]
    return write(tmp_path_factory.mktemp("blind") / "set", episodes, spec).path


@pytest.mark.slow
def test_data_without_images_uses_states(blind: Path, tmp_path: Path, capsys: Any) -> None:
    command = [
        "study",
        "representations-debug",
        "--data",
        str(blind),
        "--holdout-task",
        TASKS[0].name,
    ]
    command += ["--seeds", "1", "--finetune-sizes", "2", "--output", str(tmp_path / "out")]
    assert cli.main(command) == 0
    (row,) = json.loads((tmp_path / "out" / "offline.json").read_text())
    assert row["method"] == "states" and row["probe"] > 0.9
    assert 0 < row["error"] < 20, "a dimension that never moves has no part in it"
    assert cli.main([*command, "--objectives", "states", "cloning"]) == 2
    assert (
        "cloning is not possible" in (printed := capsys.readouterr().err)
        and "has no images; choices: states" in printed
    )


def test_constant_actions_have_no_error(tmp_path: Path) -> None:
    spec = make_spec(cameras=())
    still = [
        replace(each, expert_action=0 * each.expert_action)
        for each in (make_episode(n, 8, spec) for n in range(6))
    ]
    data = write(tmp_path / "still", still, spec).path
    run = train(finetune_states("debug"), data=data, output=tmp_path / "run")
    with pytest.raises(UserError, match=r"actions do not vary in .*still"):
        action_errors(run, data)


def test_data_without_inputs_is_refused(tmp_path: Path) -> None:
    spec = replace(make_spec(cameras=()), state_names=())
    bare = [
        replace(make_episode(seed, 6, spec), state=np.zeros((6, 0), np.float32))
        for seed in range(14)
    ]
    with pytest.raises(UserError, match="has neither images nor states"):
        trials(str(write(tmp_path / "bare", bare, spec).path), TASKS[0].name, demonstrations=(1,))


def test_data_without_states_uses_images(tmp_path: Path) -> None:
    spec = replace(make_spec(), state_names=())
    bare = [
        replace(make_episode(seed, 6), state=np.zeros((6, 0), np.float32)) for seed in range(14)
    ]
    path = write(tmp_path / "bare", bare, spec).path
    chosen = trials(str(path), TASKS[0].name, demonstrations=(1,), seeds=1, size="debug")
    assert {trial.method for trial in chosen} == {
        method for method in METHODS if method != "states"
    }
