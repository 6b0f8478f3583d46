"""The studies of dynamics models: what is compared, and the whole of them from one command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from manyparts import cli
from manyparts.planners import FollowConfig
from manyparts.studies import find_study
from manyparts.studies.engine.stages import Collect, Evaluate, Train, lineage
from manyparts.studies.engine.study import stages_of
from manyparts.studies.library.dynamics_generalist import (
    ALONE,
    PLANNING,
    POLICY,
    RANDOM,
    SCRATCH,
    SIMULATOR,
)


@pytest.mark.parametrize("preset", ["laptop", "paper"])
def test_pretraining_has_no_unseen_embodiment(preset: str) -> None:
    for measurement in find_study("dynamics-generalist").measurements(preset, 2):
        for each in measurement.evaluations:
            assert all(task.startswith("walkers/test-") for task in each.tasks)
            if isinstance(each, Evaluate):
                last, *before = lineage(each.run)
                tasks = [
                    run.data.tasks for run in (before or [last]) if isinstance(run.data, Collect)
                ]
                if measurement.method != SCRATCH:
                    assert all(task.startswith("walkers/train-") for task in tasks[-1])
                assert (last.data.tasks == each.tasks) == bool(measurement.demonstrations)


def test_planning_and_following_share_weights() -> None:
    measurements = find_study("dynamics-generalist").measurements("laptop", 1)
    runs = {
        method: [
            each.run
            for measurement in measurements
            if measurement.method == method
            for each in measurement.evaluations
        ]
        for method in (PLANNING, POLICY)
    }
    assert runs[PLANNING] == runs[POLICY]
    planners = {
        each.planner
        for measurement in measurements
        if measurement.method == POLICY
        for each in measurement.evaluations
    }
    assert planners == {FollowConfig()}
    pretrained = {
        run.key for run in stages_of(measurements) if isinstance(run, Train) and not run.start_from
    }
    scratch = {
        each.run.key
        for measurement in measurements
        if measurement.method == SCRATCH
        for each in measurement.evaluations
    }
    assert len(pretrained - scratch) == 1


@pytest.mark.slow
def test_the_generalist_runs_from_one_command(tmp_path: Path, capsys: Any) -> None:
    output = tmp_path / "out"
    assert (
        cli.main(["study", "dynamics-generalist-debug", "--seeds", "1", "--output", str(output)])
        == 0
    )
    results = json.loads((output / "results.json").read_text())
    rows = {(row["method"], row["setting"]): row for row in results["rows"]}
    zero = "unseen embodiments, zero-shot"
    assert {method for method, setting in rows if setting == zero} == {
        PLANNING,
        ALONE,
        POLICY,
        SIMULATOR,
        RANDOM,
    }
    one = {method for method, setting in rows if setting == "unseen embodiments, 1 episode"}
    assert one == {PLANNING, POLICY, SCRATCH, SIMULATOR, RANDOM}
    assert all(0 <= row["mean"] <= 1 for row in rows.values())
    assert rows[RANDOM, zero]["parameters"] == 0 < rows[PLANNING, zero]["parameters"]
    assert (
        results["provenance"]["score"] == "reward a step"
        and not results["provenance"]["mismatches"]
    )
    assert "reward a step" in (output / "report.html").read_text()
    assert "planning with a model beats following it" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["dynamics-generalist", "dynamics-specialist"])
def test_methods_meet_the_same_episodes(name: str) -> None:
    measurements = find_study(name).measurements("laptop", 3)
    seeds: dict[tuple[str, str], list[int]] = {}
    for each in measurements:
        seeds.setdefault((each.method, each.setting), []).append(each.seed)
    met = {
        (e.episodes, e.seed, e.max_steps, e.split)
        for each in measurements
        for e in each.evaluations
    }
    assert len(met) == 1
    for (method, _), trained in seeds.items():
        assert trained == ([0] if method in (SIMULATOR, RANDOM) else [0, 1, 2])


@pytest.mark.slow
def test_specialists_run_from_one_command(tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert (
        cli.main(["study", "dynamics-specialist-debug", "--seeds", "1", "--output", str(output)])
        == 0
    )
    rows = json.loads((output / "results.json").read_text())["rows"]
    assert [row["method"] for row in rows] == [
        "transformer",
        "perceptron",
        "ensemble",
        SIMULATOR,
        RANDOM,
    ]
    assert {row["setting"] for row in rows} == {"cartpole-balance"} and all(
        0 <= row["mean"] <= 1 for row in rows
    )


def test_all_models_learn_equal_episodes() -> None:
    stages = stages_of(find_study("dynamics-specialist").measurements("laptop", 3))
    assert len({stage.key for stage in stages if isinstance(stage, Collect)}) == 3
