"""The studies of runs that act: what their methods differ in, and the whole from one command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from manyparts import cli
from manyparts.objectives.configs import ActionReplayConfig, DistillationConfig
from manyparts.studies import find_study
from manyparts.studies.engine.stages import (
    Collect,
    Evaluate,
    Export,
    Mixed,
    TrainOnline,
    read_description,
    write_description,
)
from manyparts.studies.engine.study import stages_of
from manyparts.studies.library import planning_from_pixels as pixels
from manyparts.studies.library import vid2act
from manyparts.studies.library.vid2act_methods import (
    DISTILLED,
    FINETUNED,
    NO_DISTILLATION,
    NO_REPLAY,
    ONE,
    PRIMARY,
    REHEARSED,
    SCRATCH,
    SECONDARY,
    UNIFORM,
    UNTRAINED,
    VID2ACT,
    WEIGHTS,
    runs,
    weighted,
)

NAMES = ("vid2act", "planning-from-pixels")


def distillation(run: TrainOnline) -> DistillationConfig:
    config = run.config.objectives["distillation"]
    assert isinstance(config, DistillationConfig)
    return config


def replays_actions(run: TrainOnline) -> bool:
    return any(isinstance(each, ActionReplayConfig) for each in run.config.objectives.values())


@pytest.mark.parametrize("preset", ["debug", "laptop"])
def test_methods_differ_in_one_part(preset: str) -> None:
    scale = vid2act.scale_of(preset)
    target = scale.targets[0]
    made = runs(scale, target, scale.seeds[0])
    paper, scratch = made[VID2ACT], made[SCRATCH]
    assert made[FINETUNED] == replace(scratch, start_from=made[FINETUNED].start_from)
    assert not (scratch.sources or scratch.teachers or scratch.start_from)
    for method, changes in {
        NO_DISTILLATION: {"teaches": False},
        **{weighted(weight): {"weight": weight} for weight in WEIGHTS},
        ONE: {"floor": 0.0},
    }.items():
        config, base = made[method].config, paper.config
        assert distillation(made[method]) == replace(distillation(paper), **changes)
        objectives = {**config.objectives, "distillation": distillation(paper)}
        changed = replace(config, objectives=objectives)
        assert changed == (base if method != ONE else replace(base, model=config.model))
    assert made[UNIFORM].config.model == replace(paper.config.model, relevance="uniform")
    assert made[ONE].config.model == replace(
        paper.config.model, relevance=f"fixed:{target.related}"
    )
    assert distillation(made[DISTILLED]).floor == 0.0
    assert made[NO_REPLAY].config == replace(
        made[DISTILLED].config,
        objectives={
            **made[DISTILLED].config.objectives,
            "distillation": replace(distillation(made[DISTILLED]), floor=0.1),
        },
    )
    assert not replays_actions(made[NO_REPLAY]) and replays_actions(paper)
    random = replace(paper.config.model, random_teachers=True)
    assert made[UNTRAINED] == replace(paper, config=replace(paper.config, model=random))
    assert made[REHEARSED].start_from == made[FINETUNED].start_from


@pytest.mark.parametrize("preset", ["debug", "laptop"])
def test_methods_act_equally_long(preset: str) -> None:
    scale = vid2act.scale_of(preset)
    for kind in ("states", "images", "replays"):
        made = runs(scale, scale.targets[0], scale.seeds[0], kind)
        schedules = {replace(run.config.online, source_windows=0) for run in made.values()}
        assert len(schedules) == 1 and schedules.pop().final_episodes == 0
        assert len({(run.task, run.environment, run.config.seed) for run in made.values()}) == 1
        assert all(run.config.model.sees == _seen(kind) for run in made.values())


def _seen(kind: str) -> str:
    return "images" if kind == "images" else "state"


def test_no_target_is_a_source() -> None:
    scale = vid2act.scale_of("laptop")
    assert not {target.task for target in scale.targets} & set(scale.sources)
    for stage in stages_of(vid2act.measurements("laptop", 1)):
        data = stage.data if isinstance(getattr(stage, "data", None), Mixed) else None
        for source in () if data is None else data.datasets:
            tasks = source.tasks if isinstance(source, Collect) else (source.run.task,)
            assert set(tasks) <= set(scale.sources)
            if isinstance(source, Export):
                assert source.run.keep_replay and source.run.config.seed == scale.source_seed


def test_seeds_are_cut_and_not_methods() -> None:
    measured = vid2act.measurements("laptop", 5)
    seeds = {
        method: [m.seed for m in measured if m.method == method and m.setting == vid2act.BOTH]
        for method in (*PRIMARY, *SECONDARY)
    }
    assert {tuple(of_method) for of_method in seeds.values()} == {tuple(range(31_301, 31_306))}
    first = [m.method for m in measured if m.setting == vid2act.BOTH][: 5 * len(PRIMARY)]
    assert set(first) == set(PRIMARY)
    few = {(m.method, m.seed) for m in measured if m.setting.endswith("images")}
    assert few == {
        (method, seed) for method in vid2act.FROM_IMAGES for seed in (31_301, 31_302, 31_303)
    }


def test_one_model_both_plans_and_acts() -> None:
    scale = pixels.scale_of("laptop")
    chosen: dict[str, list[Evaluate]] = {}
    for each in pixels.measurements("laptop", 3):
        if each.setting == pixels.BOTH:
            learned = [stage for stage in each.evaluations if isinstance(stage, Evaluate)]
            chosen.setdefault(each.method, []).extend(learned)
    for plans, acts in (
        (pixels.IMAGES_PLAN, pixels.IMAGES_ACTOR),
        (pixels.STATES_PLAN, pixels.STATES_ACTOR),
    ):
        assert [replace(each, planner=None) for each in chosen[plans]] == chosen[acts]
        assert {each.planner for each in chosen[plans]} == {scale.planner}
    assert not chosen[pixels.RANDOM]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("preset", ["debug", "laptop"])
def test_descriptions_are_read_as_written(name: str, preset: str, tmp_path: Path) -> None:
    for stage in stages_of(find_study(name).measurements(preset, 1)):
        assert read_description(write_description(stage, tmp_path)).key == stage.key


@pytest.mark.slow
def test_vid2act_runs_from_one_command(tmp_path: Path) -> None:
    methods = [SCRATCH, DISTILLED, FINETUNED, REHEARSED, UNTRAINED]
    arguments = ["study", "vid2act-debug", "--seeds", "1", "--output", str(tmp_path)]
    assert cli.main([*arguments, "--only", *methods, vid2act.EXPERT]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    rows = {(row["method"], row["setting"]): row for row in results["rows"]}
    assert {method for method, setting in rows if setting == vid2act.BOTH} == {
        *methods,
        vid2act.EXPERT,
    }
    assert results["provenance"]["mismatches"] == []
    curves = json.loads((tmp_path / "curves.json").read_text())
    assert {row["setting"] for row in curves} == {setting for _, setting in rows}
    assert all(row["steps"] == [70, 110] for row in curves)
    assert "While learning" in (tmp_path / "report.html").read_text()
    assert not list(tmp_path.glob("stages/*/run/sources"))


@pytest.mark.slow
def test_pixels_are_planned_from_one_command(tmp_path: Path) -> None:
    arguments = ["study", "planning-from-pixels-debug", "--seeds", "1", "--output", str(tmp_path)]
    assert cli.main(arguments) == 0
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert {row["setting"] for row in rows} == {pixels.BOTH, "reach", "reach-red"}
    assert len(rows) == 18 and all(0 <= row["mean"] <= 1 for row in rows)
