"""Stages of runs that act: teachers and sources, replays as data, an interruption, and curves."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from studies.engine.constructed import conclude
from training.online.tiny import rows, tiny

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.envs.base import NO_CAMERA, EnvConfig
from manyparts.envs.suites.pointmass import PointMass
from manyparts.methods import preset
from manyparts.studies.engine.curves import gather_curves, save_curves
from manyparts.studies.engine.execution import carry_out
from manyparts.studies.engine.report import write_report
from manyparts.studies.engine.results import gather
from manyparts.studies.engine.stages import (
    Collect,
    Evaluate,
    EvaluateReference,
    Export,
    Mixed,
    Train,
    TrainOnline,
    facts,
    left_to_do,
    needs,
    optimiser_steps,
    product,
    read_description,
    runs_before,
    with_needs,
    write_description,
)
from manyparts.studies.engine.study import Claim, Curves, Measurement, Study, stages_of

ROOT = Path(__file__).parents[3]
TASK = "pointmass/reach"
SEEN = EnvConfig(state="full", cameras=(NO_CAMERA,), max_steps=20)
EXPERTS = (Collect((TASK,), 2, environment=SEEN, steps_after_success=20),)


def script(name: str) -> ModuleType:
    """The module of a file in scripts/."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


curve_tables = script("curve_tables")


def acting(name: str = "dreamer/debug", task: str = TASK, **changes: Any) -> TrainOnline:
    """A run of 21 optimiser steps."""
    return TrainOnline(tiny(name), task, SEEN, **changes)


# Replays of agents that act elsewhere. Those of experts are sources in the debug size of vid2act.
SOURCES = tuple(
    Export(acting(task=f"pointmass/reach-{side}", keep_replay=True)) for side in ("left", "right")
)


def teachers() -> Train:
    config = preset("vid2act/teachers-debug")
    small = replace(tiny().model, sources=config.model.sources)
    window = replace(config.window, steps=4)
    config = replace(config, model=small, window=window, batch_size=4, steps=2)
    return Train(config, Mixed(SOURCES))


def finished(stage: Any, output: Path) -> Path:
    """Do a stage and all that it needs; return what it makes."""
    for each in with_needs([stage]):
        if each in left_to_do([each], output):
            write_description(each, output)
            carry_out(each, output)
    return product(stage, output)


@pytest.mark.slow
def test_a_student_learns_with_its_teachers(tmp_path: Path) -> None:
    student = acting("vid2act/debug", teachers=teachers(), sources=SOURCES)
    agents = [source.run for source in SOURCES]
    assert needs(student) == [teachers(), *SOURCES]
    assert runs_before(student) == [*agents, teachers(), student]
    run = finished(student, tmp_path)
    data = EpisodeDataset.open(product(SOURCES[0], tmp_path))
    assert data.num_episodes == 6 and data.has_rewards
    assert rows(run)[-1]["step"] == optimiser_steps(student) == 21
    # Both sources' folders have one name.
    weights = {name for name in rows(run)[-1] if name.startswith("distillation/weight/")}
    assert weights == {"distillation/weight/data", "distillation/weight/data-2"}
    known = facts(student, tmp_path)
    assert known["train_seconds"] > 0 and known["parameters"] == known["trained_parameters"] > 0
    assert not (run / "replay").exists() and not (run / "sources").exists()
    assert left_to_do([*SOURCES, teachers(), student], tmp_path) == []


def test_an_interrupted_stage_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    advance, taken = PointMass._advance, [0]

    def fail_once(env: PointMass, action: np.ndarray) -> tuple[float, bool]:
        taken[0] += env.split == "train"
        if taken[0] == 110 and env.split == "train":
            raise RuntimeError("the simulator broke")
        return advance(env, action)

    whole = finished(acting(), tmp_path / "whole")
    monkeypatch.setattr(PointMass, "_advance", fail_once)
    with pytest.raises(UserError, match="the simulator broke"):
        finished(acting(), tmp_path / "broken")
    run = product(acting(), tmp_path / "broken")
    begun = (run / "config.json").stat().st_mtime_ns
    assert len(rows(run)) > 3
    assert finished(acting(), tmp_path / "broken") == run
    assert rows(run) == rows(whole) and (run / "config.json").stat().st_mtime_ns == begun


def test_a_kill_while_prefilling_is_survived(tmp_path: Path) -> None:
    run = product(acting(), tmp_path)
    (run / "replay" / "episodes").mkdir(parents=True)
    assert rows(finished(acting(), tmp_path))[-1]["step"] == 21


@pytest.mark.parametrize(
    "stage",
    [
        acting("vid2act/debug", teachers=teachers(), sources=SOURCES),
        acting("vid2act/rehearsed-debug", start_from=replace(teachers(), data=Mixed(EXPERTS))),
    ],
)
def test_descriptions_are_read_as_written(stage: Any, tmp_path: Path) -> None:
    for each in with_needs([stage]):
        assert read_description(write_description(each, tmp_path)) == each


def measured(curves: Mapping[str, Sequence[Sequence[float]]], output: Path) -> Study:
    """A study whose runs have these returns at 100, 200 and 300 environment steps, done.

    curves: method to the returns of each seed's checks.
    """
    measurements: list[Measurement] = []
    for number, (method, seeds) in enumerate(curves.items()):
        for seed, returns in enumerate(seeds):
            config = replace(tiny(train_ratio=float(number + 1)), seed=seed)
            stage = Evaluate(TrainOnline(config, TASK, SEEN), (TASK,), 4)
            measurements.append(Measurement(method, "here", seed, (stage,)))
            _write_metrics(product(stage.run, output), returns)
    expert = EvaluateReference("expert", (TASK,), 4, environment=SEEN)
    measurements.append(Measurement("expert", "here", 0, (expert,)))
    conclude(measurements, output, lambda each: 1 if each.method == "a" else 2)
    return Study(
        "toy",
        "",
        ("debug",),
        "b",
        lambda preset, seeds: measurements,
        score="return while learning",
        curves=Curves(full={TASK: 100.0}),
        claims=(Claim("a", "b", "a is above b"),),
        groups={"All": ("a", "b")},
    )


def _write_metrics(run: Path, returns: Sequence[float]) -> None:
    run.mkdir(parents=True)
    lines: list[str] = []
    for check, value in enumerate(returns, start=1):
        row = {"step": check, "environment_steps": 100 * check, "validation/return": value}
        lines += [
            json.dumps({"step": check}),
            json.dumps(row | {"validation/success": value / 100}),
        ]
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")


def test_areas_under_curves_are_compared(tmp_path: Path) -> None:
    above = [(0, 50, 100), (0, 60, 100), (0, 40, 100)]
    study = measured({"a": above, "b": [(0, 10, 20), (0, 12, 20), (0, 8, 20)]}, tmp_path)
    measurements = study.measurements("debug", 3)
    result = gather(study, "debug", measurements, tmp_path)
    means = {row.method: row.mean for row in result.rows}
    assert means == {"a": pytest.approx(0.5), "b": pytest.approx(0.1), "expert": 0.0}
    (verdict,) = result.verdicts
    assert verdict.verdict == "shows"
    compared = result.comparison("a", "b", "here")
    assert compared is not None and compared.probability.mean == 1.0
    assert result.rows[0].training_steps == optimiser_steps(
        next(stage for stage in stages_of(measurements) if isinstance(stage, TrainOnline))
    )


def test_curves_count_steps_and_censor(tmp_path: Path) -> None:
    study = measured({"a": [(0, 50, 90), (0, 10, 60), (0, 10, 40)], "b": [(0, 1, 2)]}, tmp_path)
    measurements = study.measurements("debug", 3)
    curves = gather_curves(study, measurements, tmp_path)
    by_method = {row.method: row for row in curves}
    assert by_method.keys() == {"a", "b"}, "who learns nothing has no curve"
    row = by_method["a"]
    assert row.steps == (100, 200, 300) and row.mean[1:] == pytest.approx((70 / 300, 190 / 300))
    assert row.success == row.mean and row.low[2] < row.mean[2] < row.high[2]
    assert row.reached is not None and row.reached.steps == (200, 300, None)
    assert row.solved is not None and (row.solved.count, row.solved.median) == (1, None)
    assert row.final_success.mean == 0.25
    assert by_method["b"].low == ()
    saved = json.loads(save_curves(curves, tmp_path).read_text())
    assert saved[0]["reached"]["steps"] == [200, 300, None]
    page = write_report(
        study, measurements, gather(study, "debug", measurements, tmp_path), tmp_path
    ).read_text()
    assert "While learning" in page and "267 (2 of 3)" in page and "environment steps" in page


def test_a_page_gets_tables_and_charts(tmp_path: Path) -> None:
    study = measured({"a": [(0, 50, 90), (0, 10, 60)], "b": [(0, 1, 2), (0, 2, 2)]}, tmp_path)
    measurements = study.measurements("debug", 2)
    page = curve_tables.tables(study, measurements, "debug", tmp_path)
    assert "| a | 0.34 [" in page and "| here | a is above b | not told apart |" in page
    lines = [line for line in page.split("\n") if line.startswith("| a |")]
    assert lines[1].startswith("| a | 0.00 | 0.30 | 0.75 | 250 (2 of 2) |")
    ((file, drawn),) = curve_tables.charts(study, measurements, tmp_path)
    assert file == "toy-here-all.svg" and drawn.count("<path fill") == 4 and "300 env" in drawn
