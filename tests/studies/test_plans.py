"""Plans of studies: each says what its study does, and none uses a seed that was used before."""

from __future__ import annotations

import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from manyparts import cli
from manyparts.core.errors import UserError
from manyparts.studies import find_study
from manyparts.studies.engine.stages import Collect, Evaluate, Run, lineage
from manyparts.studies.engine.study import stages_of
from manyparts.studies.library import dualmind, dynamics_generalist
from manyparts.studies.library import dualmind_second_phase as second_phase
from manyparts.studies.library import planning_walkers as walkers

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts" / "plans"
NAMES = (
    "dualmind-second-phase",
    "planning-walkers",
    "vid2act",
    "planning-from-pixels",
    "new-embodiment",
)


@pytest.fixture(scope="module")
def scripts() -> Iterator[Mapping[str, ModuleType]]:
    """The modules of scripts/plans."""
    sys.path.insert(0, str(SCRIPTS))
    try:
        import heads
        import power
        import primary
        import used_seeds

        yield {"heads": heads, "power": power, "primary": primary, "used": used_seeds}
    finally:
        sys.path.remove(str(SCRIPTS))


@pytest.mark.parametrize("name", NAMES)
def test_plan_says_what_its_study_does(name: str, scripts: Mapping[str, ModuleType]) -> None:
    plans = scripts["heads"].heads()
    assert plans.keys() == set(NAMES)
    assert plans[name] == scripts["heads"].head_of_study(name)


@pytest.mark.parametrize("name", NAMES)
def test_plan_uses_nothing_used_before(name: str, scripts: Mapping[str, ModuleType]) -> None:
    head, record = scripts["heads"].heads()[name], scripts["used"].recorded()
    assert scripts["used"].problems(head, record) == []
    assert record["plans"][name] == {"seeds": head["seeds"], "walkers": head["walkers"]}


def test_used_seeds_hold_all_archives(scripts: Mapping[str, ModuleType]) -> None:
    record = scripts["used"].recorded()
    assert record["archives"] == scripts["used"].of_archives()
    generalist = record["archives"]["dynamics-generalist-laptop.tar.xz"]
    assert generalist["training"] == [0, 1, 2, 3, 4]
    assert {"test-planar-0014", "test-planar-0015", "test-planar-0022"} <= set(
        generalist["walkers"]
    )
    goals = record["archives"]["dualmind-laptop.tar.xz"]["evaluation"]
    assert goals["metaworld/reach"] == [0]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"training": [31_101, 3]}, "training seed 3 was used"),
        ({"data": [1001]}, "data seed 1001 was used: representations-laptop"),
        ({"evaluation": [0]}, "evaluation seed 0 was used"),
        ({"evaluation": [31_200]}, "evaluation seed 31200 was used: the plan planning-walkers"),
    ],
)
def test_used_seeds_are_refused(
    changes: Mapping[str, list[int]], word: str, scripts: Mapping[str, ModuleType]
) -> None:
    used = scripts["used"]
    head = scripts["heads"].heads()["dualmind-second-phase"]
    changed: dict[str, Any] = head | {"seeds": head["seeds"] | changes}
    (problem,) = used.problems(changed, used.recorded())
    assert problem.startswith(word)


@pytest.mark.parametrize("walker", ["test-planar-0014", "test-planar-0003", "test-planar-0023"])
def test_used_walkers_are_refused(walker: str, scripts: Mapping[str, ModuleType]) -> None:
    used = scripts["used"]
    head = scripts["heads"].heads()["dualmind-second-phase"] | {"walkers": [walker]}
    assert len(used.problems(head, used.recorded())) == 1


def test_seeds_in_texts_are_found(scripts: Mapping[str, ModuleType]) -> None:
    page = "--seed 77, seeds 5 to 7 and 1_000; `seed=12` env.begin(31); for seed in range(3)"
    seeds, named = scripts["used"].of_text([page, "walkers/test-planar-0014 earns 0.7"])
    assert seeds == {77, 5, 6, 7, 1000, 12, 31, 0, 1, 2}
    assert named == {"test-planar-0014"}
    assert scripts["used"].numbers_of(scripts["used"].ranges_of(seeds)) == seeds


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_primary_comparison_comes_from_one_command(
    name: str,
    scripts: Mapping[str, ModuleType],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    claim = find_study(name).claims[0]
    only = ["--only", claim.better, claim.worse]
    arguments = ["study", f"{name}-debug", "--seeds", "2", *only, "--output", str(tmp_path)]
    assert cli.main(arguments) == 0
    assert claim.words in capsys.readouterr().out
    scripts["primary"].main([name, str(tmp_path), "debug"])
    page = capsys.readouterr().out
    assert "core hours spent" in page and "minus" in page and "not tested" not in page


def archived_folders(name: str) -> set[str]:
    """The names of the stages of an archive."""
    with tarfile.open(ROOT / "docs" / "evidence" / f"{name}-laptop.tar.xz") as archive:
        return {Path(member).name for member in archive.getnames()}


def test_second_phase_has_the_archived_recipes() -> None:
    scale = second_phase.scale_of("laptop")
    runs, archived = second_phase.methods(scale, 0), dualmind.methods("laptop", 0)
    names = {second_phase.DUAL: second_phase.ARCHIVED, second_phase.PREFIX_ALL: dualmind.PREFIX}
    folders = archived_folders("dualmind")
    for method in (*second_phase.PRIMARY, *second_phase.SECONDARY):
        before = archived.get(names.get(method, method))
        back = second_phase._with_data_of(runs[method], 0)
        if method == second_phase.PREFIX:  # with the trained parts of variant 1, so a new one
            assert before is not None and back.key != before.key
            assert back.config.train_only == archived[second_phase.ARCHIVED].config.train_only
        else:
            assert before is not None and back.key == before.key
            assert f"train-{back.config.phase}-seed0-{back.key}" in folders


def test_second_phase_trains_on_fresh_data() -> None:
    scale = second_phase.scale_of("laptop")
    for run in second_phase.methods(scale, scale.seeds[0]).values():
        for stage in lineage(run):
            assert isinstance(stage.data, Collect)
            assert stage.data.seed == scale.data_seed and stage.config.seed == scale.seeds[0]


def test_primary_methods_are_measured_first(scripts: Mapping[str, ModuleType]) -> None:
    heads = scripts["heads"]
    for name, setting in heads.PRIMARY_SETTING.items():
        study = find_study(name)
        measured = study.measurements("laptop", study.seeds)
        claims = study.claims[: heads.PRIMARY_CLAIMS.get(name, 1)]
        primary = {method for claim in claims for method in (claim.better, claim.worse)}
        first = [each for each in measured if each.setting == setting and each.method in primary]
        others = [each for each in measured if each.method not in primary]
        assert not others or measured.index(first[-1]) < measured.index(others[0])
        assert len(first) == len(primary) * study.seeds


@pytest.mark.parametrize("name", NAMES)
def test_more_seeds_than_planned_are_refused(name: str) -> None:
    study = find_study(name)
    with pytest.raises(UserError, match="the plan of this study has"):
        study.measurements("laptop", study.seeds + 1)


@pytest.mark.parametrize("name", NAMES)
def test_debug_size_spares_the_planned_seeds(name: str, scripts: Mapping[str, ModuleType]) -> None:
    head, study = scripts["heads"].heads()[name], find_study(name)
    planned = {seed for seeds in head["seeds"].values() for seed in seeds}
    for stage in stages_of(study.measurements("debug", study.seeds)):
        seed = stage.config.seed if isinstance(stage, Run) else getattr(stage, "seed", None)
        assert seed not in planned


def test_generalists_have_the_archived_recipe() -> None:
    archived = dynamics_generalist.measurements("laptop", 1)[0].evaluations[0]
    assert isinstance(archived, Evaluate) and isinstance(archived.run.data, Collect)
    scale = walkers.scale_of("laptop")
    assert archived.tasks == scale.before
    run = walkers.trained("laptop", scale.seeds[0])
    assert isinstance(run.data, Collect)
    assert run.data.tasks == archived.run.data.tasks
    assert run.data.seed == scale.data_seed and run.config.seed == scale.seeds[0]
    for measurement in walkers.measurements("laptop", 1):
        for stage in measurement.evaluations:
            assert stage.max_steps == archived.max_steps
            if isinstance(stage, Evaluate) and measurement.method == walkers.PLANNING:
                assert stage.planner == archived.planner and not stage.until_success


def test_unseen_walkers_have_next_indices() -> None:
    scale = walkers.scale_of("laptop")
    both = walkers.level_walkers("test", legs=2, first=0, count=23)
    assert both == (*scale.before, *scale.unseen)
    nearer, farther = walkers.halves("laptop")
    assert {*nearer, *farther} == set(scale.unseen) and len(nearer) == len(farther) == 10
    drawn = [walkers.draw_morphology(task.partition("/")[2]) for task in scale.three_legs]
    assert all(len(each.legs) == 3 and each.stance == "level" for each in drawn)


def test_a_trained_walker_has_no_distance() -> None:
    trained = walkers.training_walkers("laptop")
    assert walkers.distances(trained[:2], trained) == dict.fromkeys(trained[:2], 0.0)
    unseen = walkers.scale_of("laptop").unseen
    assert min(walkers.distances(unseen, trained).values()) > 0.1


def test_primary_tasks_come_from_archive(scripts: Mapping[str, ModuleType], tmp_path: Path) -> None:
    power = scripts["power"]
    tasks, scores = power.successes(power.unpacked("dualmind", tmp_path))
    scale = second_phase.scale_of("laptop")
    assert tuple(power.decided_tasks(tasks, scores)) == scale.decided
    assert {*scale.decided, *scale.rest} == set(tasks)


def test_crossed_interval_covers_the_truth(
    scripts: Mapping[str, ModuleType],
) -> None:
    generator, covered = np.random.default_rng(0), 0
    for _ in range(2000):
        of_walkers = 0.09 * generator.normal(size=(20, 1))
        of_seeds = 0.04 * generator.normal(size=(1, 5))
        rest = 0.12 * generator.normal(size=(20, 5))
        interval = scripts["primary"].crossed(0.05 + of_walkers + of_seeds + rest)
        covered += interval.low <= 0.05 <= interval.high
    assert 0.94 <= covered / 2000 <= 0.995
