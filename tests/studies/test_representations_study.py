"""The study of pretraining objectives: what is compared, what is shared, and the whole of it from
one command."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from studies.engine.constructed import conclude

from manyparts import cli
from manyparts.core.errors import UserError
from manyparts.studies import find_study
from manyparts.studies.engine.report import write_report
from manyparts.studies.engine.results import gather
from manyparts.studies.engine.stages import (
    Collect,
    Evaluate,
    Train,
    lineage,
    read_description,
    write_description,
)
from manyparts.studies.engine.study import methods_of, stages_of
from manyparts.studies.library.representation_contexts import (
    BASELINES,
    INVERSE,
    METHODS,
    STATES,
    contexts,
)
from manyparts.studies.library.representations import Choice, study


@pytest.mark.parametrize("preset", ["debug", "laptop", "paper"])
def test_methods_tune_on_the_same_demonstrations(
    preset: str,
) -> None:
    measurements = find_study("representations").measurements(preset, 1)
    assert set(methods_of(measurements)) == set(METHODS)
    few: dict[tuple[str, str], set[str]] = {}
    for each in measurements:
        for evaluation in each.evaluations:
            run = evaluation.run
            few.setdefault(
                (each.setting.partition(", pretrained")[0], evaluation.tasks[0]), set()
            ).add(run.data.key)
            for before in list(lineage(run))[1:]:
                assert before.data.environment.context is None
                environments = before.data.environment, run.data.environment
                assert environments[0].goal == "hidden" or not set(before.data.tasks) & set(
                    run.data.tasks
                ), each
                assert environments[0].goal == "visible" or environments[1].context == each.seed
    assert all(len(keys) == 1 for keys in few.values())


def test_demonstration_counts_share_one_pretraining(tmp_path: Path) -> None:
    stages = stages_of(find_study("representations").measurements("laptop", 1))
    pretrained = {run.start_from.key for run in stages if isinstance(run, Train) and run.start_from}
    environments, untaught = 3, 2  # random and ImageNet's
    smaller = 2  # of two objectives, in the point mass
    assert len(pretrained) == environments * (len(METHODS) - len(BASELINES) + untaught) + smaller
    for stage in stages:
        assert read_description(write_description(stage, tmp_path)).key == stage.key


def test_laptops_vary_sizes_where_cheapest() -> None:
    usual = find_study("representations").measurements("laptop", 1)
    assert {each.setting for each in usual} == {
        "pointmass, 2 demonstrations",
        "pointmass, 10 demonstrations",
        "pointmass, 2 demonstrations, pretrained on 30",
        "pointmass, 10 demonstrations, pretrained on 30",
        "pick-place, 5 demonstrations",
        "doors, 10 demonstrations",
    }
    chosen = study(Choice(("doors",), pretrain_sizes=(300, 30), finetune_sizes=(2,))).measurements(
        "laptop", 1
    )
    assert {each.setting for each in chosen} == {
        "doors, 2 demonstrations",
        "doors, 2 demonstrations, pretrained on 30",
    }


def test_flags_choose_a_part() -> None:
    chosen = study(Choice(("doors",), (INVERSE, STATES), (60,), (1, 4))).measurements("laptop", 2)
    assert methods_of(chosen) == [INVERSE, STATES] and len(chosen) == 2 * 2 * 2
    assert {each.setting for each in chosen} == {
        "doors, 1 demonstration",
        "doors, 4 demonstrations",
    }
    static = study(Choice(("doors",), ("static-contrastive",), (60, 6), (1,))).measurements(
        "laptop", 1
    )
    assert [each.setting for each in static] == [
        "doors, 1 demonstration",
        "doors, 1 demonstration, pretrained on 6",
    ]
    collected = [
        stage for stage in stages_of(chosen) if isinstance(stage, Collect) and stage.seed in (0, 1)
    ]
    assert {stage.episodes for stage in collected} == {20}
    evaluated = {stage.seed for stage in stages_of(chosen) if isinstance(stage, Evaluate)}
    assert evaluated == {0, 1}


def test_uneven_sizes_are_rounded_down() -> None:
    chosen = study(
        Choice(("pointmass", "doors"), (INVERSE,), (100, 31, 30, 2, 1), (2,))
    ).measurements("laptop", 1)
    totals = {"pointmass": [100, 31, 30, 2, 1], "doors": [99, 30, 3]}
    for environment, expected in totals.items():
        measured = [each for each in chosen if each.environment == environment]
        assert [each.pretraining for each in measured] == expected
        rest = ["", *(f", pretrained on {total}" for total in expected[1:])]
        assert [each.setting for each in measured] == [
            f"{environment}, 2 demonstrations{after}" for after in rest
        ]
        for each in measured:
            many = list(lineage(each.evaluations[0].run))[-1].data
            assert many.episodes * len(many.tasks) == each.pretraining


def test_unknown_parts_are_named(capsys: Any) -> None:
    with pytest.raises(UserError, match=r"unknown environment 'door'; did you mean doors"):
        Choice(environments=("door",))
    with pytest.raises(UserError, match=r"unknown objective 'bc'; the nearest of 12 choices"):
        Choice(objectives=("bc",))
    assert cli.main(["study", "dualmind", "--finetune-sizes", "1"]) == 2
    assert "--finetune-sizes is a flag of the study representations" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags",
    [
        {"environments": ("doors", "pointmass", "doors")},
        {"objectives": ("cloning", "cloning")},
        {"pretrain_sizes": (30, 30)},
        {"finetune_sizes": (2, 5, 2)},
    ],
)
def test_repeated_names_are_refused(flags: dict[str, tuple[Any, ...]], capsys: Any) -> None:
    (name, values), *_ = flags.items()
    with pytest.raises(UserError, match=f"{name} has {values[0]} more than once"):
        Choice(**flags)
    command = [
        "study",
        "representations",
        "--list",
        f"--{name.replace('_', '-')}",
        *map(str, values),
    ]
    assert (
        cli.main(command) == 2
        and f"{name} has {values[0]} more than once" in capsys.readouterr().err
    )


def test_pretraining_steps_can_be_chosen(capsys: Any) -> None:
    usual, chosen = (
        study(Choice(("pointmass",), (INVERSE, STATES), (30,), (2,), steps)).measurements(
            "paper", 1
        )
        for steps in (None, 1000)
    )
    for measured, steps in ((usual, 100_000), (chosen, 1000)):
        inverse, states = (list(lineage(each.evaluations[0].run)) for each in measured)
        assert (
            inverse[-1].config.steps == steps
            and inverse[0].config.steps == states[0].config.steps == 10_000
        )
    with pytest.raises(UserError, match="pretrain_steps is 0; expected at least 1"):
        Choice(pretrain_steps=0)
    assert cli.main(["study", "representations", "--list", "--pretrain-steps", "0"]) == 2
    assert "pretrain_steps is 0" in capsys.readouterr().err


def test_contexts_have_the_papers_sizes() -> None:
    context = contexts()
    assert context["pointmass"].finetuning == (1, 2, 5, 10) and context["ml45"].pretraining == (
        100,
        1000,
        10_000,
    )
    assert len(context["ml45"].before) == 45 and len(context["r3m"].before) == 45
    assert not set(context["r3m"].before) & set(context["r3m"].after)


def test_paper_preset_has_its_schedules() -> None:
    """Appendix: 100k steps, 200k for the kitchen and the sets of 45 tasks; 100 episodes, 50 in the
    kitchen."""
    schedules = {}
    for each in find_study("representations").measurements("paper", 1):
        evaluation = each.evaluations[0]
        if each.method == INVERSE:
            schedules[each.environment] = (
                evaluation.run.start_from.config.steps,
                evaluation.episodes,
                evaluation.run.config.steps,
            )
    short, long = (100_000, 100, 10_000), (200_000, 100, 10_000)
    assert schedules == {
        "pointmass": short,
        "pick-place": short,
        "doors": short,
        "ml45": long,
        "kitchen": (200_000, 50, 10_000),
        "r3m": long,
    }


@pytest.mark.slow
def test_representations_run_from_one_command(tmp_path: Path, capsys: Any) -> None:
    output = tmp_path / "out"
    flags = [
        "--objectives",
        INVERSE,
        STATES,
        "random",
        "--seeds",
        "1",
        "--workers",
        "2",
        "--output",
        str(output),
    ]
    assert cli.main(["study", "representations-debug", *flags]) == 0
    rows = json.loads((output / "results.json").read_text())["rows"]
    assert [row["method"] for row in rows] == [INVERSE, STATES, "random"]
    assert all(row["episodes"] == 2 for row in rows) and (output / "report.html").exists()
    assert "pointmass, 2 demonstrations" in capsys.readouterr().out
    assert all(
        set(row["probes"]) == {"linear state", "mlp state", "linear goal", "mlp goal"}
        for row in rows
    )
    assert rows[1]["probes"]["linear state"] > 0.99, "the state predicts itself"
    page = (output / "report.html").read_text()
    assert (
        "What the representation holds" in page
        and "Compared with the paper" in page
        and "0.72" in page
    )


def test_published_figures_have_a_setting() -> None:
    settings = {each.setting for each in find_study("representations").measurements("paper", 1)}
    laptop = {each.setting for each in find_study("representations").measurements("laptop", 1)}
    published = {setting for _, setting in find_study("representations").published}
    assert published <= settings and len(published & laptop) == 3
    assert find_study("representations").published_pretraining.keys() == published


def test_published_table_shows_pretraining_sizes(tmp_path: Path) -> None:
    chosen = study(Choice(("pointmass",), (INVERSE, STATES), (30,), (2,)))
    measurements = chosen.measurements("laptop", 2)
    conclude(measurements, tmp_path, lambda each: 1)
    page = write_report(
        chosen, measurements, gather(chosen, "laptop", measurements, tmp_path), tmp_path
    ).read_text()
    table = page.partition("<h2>Compared with the paper</h2>")[2].partition("</table>")[0]
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in table.split("<tr")]
    assert ["method", "here", "in the paper", "pretraining trajectories here", "in the paper"] in [
        [unescape(cell) for cell in row] for row in rows
    ]
    published = {row[0]: row[2:] for row in rows if len(row) == 5}
    assert published[INVERSE] == ["0.72", "30", "1000"] and published[STATES] == ["0.62", "", ""]
