"""Results: summaries, the file, and comparisons that refuse what cannot be compared."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manyparts.cli.evaluate import print_result
from manyparts.core.errors import UserError
from manyparts.evaluation.record import EpisodeRecord
from manyparts.evaluation.results import Result, compare
from manyparts.evaluation.statistics import mean_success, stratified_bootstrap, wilson
from manyparts.report.sections import success_table

TASKS = ("pointmass/reach", "pointmass/corner")


def make_result(
    rate: float, *, seed: int = 0, tasks: tuple[str, ...] = TASKS, **provenance: Any
) -> Result:
    rng = np.random.default_rng(seed)
    episodes = []
    for task in tasks:
        for index in range(30):
            solved = bool(rng.random() < rate)
            kept = bool(solved and rng.random() < 0.5)
            outcome = (solved, kept, float(rng.normal()), 50 + index)
            episodes.append(EpisodeRecord(task, index, 100 + index, "go", *outcome))
    settings = {
        "tasks": list(tasks),
        "split": "evaluation",
        "seeds": {"evaluation": 0, "training": seed},
    }
    return Result(
        tuple(episodes), settings | {"simulators": {"pointmass": {"numpy": "2.3"}}} | provenance
    )


def test_summaries_follow_from_the_episodes() -> None:
    result = make_result(0.7)
    solved = [
        np.array([e.success_any for e in result.episodes if e.task == task]) for task in TASKS
    ]
    returns = [np.array([e.return_ for e in result.episodes if e.task == task]) for task in TASKS]
    assert result.per_task[TASKS[1]]["success_any"] == wilson(int(solved[1].sum()), 30)
    assert result.aggregate["success_any"] == mean_success(solved)
    assert result.aggregate["return"] == stratified_bootstrap(returns)
    assert result.aggregate["success_last"].mean < result.aggregate["success_any"].mean
    assert result.aggregate["length"].mean == pytest.approx(64.5)


def with_metric(result: Result, task: str) -> Result:
    """The result with a measure of the suite's own in the episodes of one task: 1 of what is
    solved, 0 of the rest."""
    episodes = [
        replace(
            episode, metrics={"spl": float(episode.success_any)} if episode.task == task else {}
        )
        for episode in result.episodes
    ]
    return replace(result, episodes=tuple(episodes))


def test_measure_of_a_suite_is_averaged(tmp_path: Path) -> None:
    result = with_metric(make_result(0.7), TASKS[0])
    assert result.metrics == ("spl",)
    assert "spl" not in result.per_task[TASKS[1]]
    estimate = result.per_task[TASKS[0]]["spl"]
    assert (
        estimate.mean
        == result.per_task[TASKS[0]]["success_any"].mean
        == result.aggregate["spl"].mean
    )
    assert estimate.low < estimate.mean < estimate.high
    result.save(tmp_path)
    assert Result.load(tmp_path) == result
    assert (
        json.loads((tmp_path / "results.json").read_text())["aggregate"]["spl"]["mean"]
        == estimate.mean
    )


def test_measure_of_a_suite_is_compared() -> None:
    a, b = (with_metric(make_result(rate, seed=1), TASKS[0]) for rate in (0.9, 0.3))
    comparison = compare(a, b, measure="spl")
    assert comparison.difference.mean > 0 and list(comparison.per_task) == [TASKS[0]]
    with pytest.raises(UserError, match="choices: success_any, success_last, return, length, spl"):
        compare(a, b, measure="sqrt")


def test_results_without_own_measures_are_read(tmp_path: Path) -> None:
    make_result(0.5).save(tmp_path)
    values = json.loads((tmp_path / "results.json").read_text())
    for episode in values["episodes"]:
        del episode["metrics"]
    (tmp_path / "results.json").write_text(json.dumps(values))
    assert Result.load(tmp_path) == make_result(0.5)


def test_table_has_column_for_own_measure(capsys: pytest.CaptureFixture[str]) -> None:
    result = with_metric(make_result(0.7), TASKS[0])
    print_result(result)
    head, *rows = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    mean = f"{result.aggregate['spl'].mean:.2f} ["
    assert head.split().index("spl") > head.split().index("end")
    assert [mean in row.partition(TASKS[0])[2] for row in rows if TASKS[0] in row] == [True]
    page = success_table(result)
    assert ">spl</th>" in page and mean.replace(" [", ' <span class="interval">[') in page


@pytest.mark.parametrize("below", ["", "evaluation", "evaluation/results.json"])
def test_result_is_loaded_from_any_folder(tmp_path: Path, below: str) -> None:
    result = make_result(0.5)
    (tmp_path / "evaluation").mkdir()
    result.save(tmp_path / "evaluation")
    assert Result.load(tmp_path / below) == result


def test_file_has_the_documented_keys(tmp_path: Path) -> None:
    make_result(0.5).save(tmp_path)
    values = json.loads((tmp_path / "results.json").read_text())
    assert values.keys() == {"aggregate", "per_task", "episodes", "provenance"}
    for summary in (values["aggregate"], *(values["per_task"][task] for task in TASKS)):
        assert summary.keys() - {"tasks"} == {
            "success_any",
            "success_last",
            "return",
            "length",
            "episodes",
        }
        assert summary["success_any"].keys() == {"mean", "low", "high"}
        assert (
            summary["success_any"]["low"]
            < summary["success_any"]["mean"]
            < summary["success_any"]["high"]
        )
    assert values["aggregate"]["episodes"] == len(values["episodes"]) == 60
    episode = {
        "task",
        "index",
        "seed",
        "prompt",
        "success_any",
        "success_last",
        "return",
        "length",
        "metrics",
    }
    assert values["episodes"][0].keys() == episode


def test_missing_or_other_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no results\.json; evaluate it first: manyparts evaluate"):
        Result.load(tmp_path)
    (tmp_path / "results.json").write_text("[1]")
    with pytest.raises(UserError, match=r"results\.json is not the result of an evaluation"):
        Result.load(tmp_path)


def test_comparison_says_which_is_better() -> None:
    a, b = make_result(0.9, seed=1), make_result(0.4, seed=2)
    comparison = compare(a, b)
    assert comparison.difference.mean == pytest.approx(comparison.a.mean - comparison.b.mean)
    assert 0 < comparison.difference.low < comparison.difference.mean < comparison.difference.high
    assert comparison.difference.probability > 0.999
    assert comparison.per_task.keys() == set(TASKS)
    reverse = compare(b, a)
    assert reverse.difference.mean == pytest.approx(-comparison.difference.mean)
    assert reverse.difference.probability < 0.001
    assert compare(a, b, measure="return").difference.low < 0


def test_provenance_that_may_differ() -> None:
    a = make_result(0.9, seed=1, commit="1", config_hash="x", dataset_fingerprint="y", weights="z")
    b = make_result(0.9, seed=2, commit="2", config_hash="u", dataset_fingerprint="v", weights="w")
    assert compare(a, b).mismatches == ()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"split": "train"}, "split: evaluation, train"),
        ({"seeds": {"evaluation": 1}}, "seeds.evaluation: 0, 1"),
        ({"simulators": {"pointmass": {"numpy": "2.4"}}}, "simulators.pointmass.numpy: 2.3, 2.4"),
        ({"versions": {"torch": "3"}}, "versions.torch: None, 3"),
        ({"environment": {"goal": "hidden"}}, "environment.goal: None, hidden"),
    ],
)
def test_conditions_that_differ_are_named(changed: dict[str, Any], named: str) -> None:
    a, b = make_result(0.9, seed=1), make_result(0.4, seed=2, **changed)
    with pytest.raises(UserError) as refused:
        compare(a, b)
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)
    allowed = compare(a, b, allow_mismatch=True)
    assert allowed.mismatches == (named,)
    assert allowed.difference.mean > 0


def test_earlier_results_held_no_actions() -> None:
    earlier = make_result(0.9, environment={"max_steps": None})
    now = make_result(0.9, environment={"max_steps": None, "action_repeat": 1})
    held = make_result(0.9, environment={"max_steps": None, "action_repeat": 2})
    assert compare(earlier, now).mismatches == ()
    with pytest.raises(UserError, match=r"environment\.action_repeat: 1, 2"):
        compare(earlier, held)


def test_references_ignore_what_is_observed() -> None:
    seen = {"image_size": 16, "state": "shared", "max_steps": 200}
    agent = make_result(0.5, environment=seen, checkpoint="run")
    other = make_result(
        0.5, environment=seen | {"image_size": 64, "state": "proprioception"}, checkpoint="other"
    )
    expert = replace(other, provenance={**other.provenance, "agent": "expert"})
    assert compare(agent, expert).mismatches == () == compare(expert, agent).mismatches
    with pytest.raises(UserError, match=r"environment\.image_size: 16, 64; environment\.state"):
        compare(agent, other)
    short = replace(expert, provenance={**expert.provenance, "environment": {"max_steps": 100}})
    with pytest.raises(UserError, match=r"environment\.max_steps: 200, 100"):
        compare(agent, short)


def test_mismatched_tasks_compare_common_ones() -> None:
    a, b = make_result(0.9, tasks=TASKS), make_result(0.9, tasks=TASKS[1:])
    with pytest.raises(UserError, match="tasks: "):
        compare(a, b)
    assert compare(a, b, allow_mismatch=True).per_task.keys() == {TASKS[1]}
    with pytest.raises(UserError, match="no task in common"):
        compare(make_result(0.9, tasks=TASKS[:1]), b, allow_mismatch=True)


def test_unknown_measure_is_refused() -> None:
    with pytest.raises(
        UserError,
        match=r"unknown measure 'joy'; choices: success_any, success_last, return, length",
    ):
        compare(make_result(0.5), make_result(0.5), measure="joy")


def test_record_is_read_back() -> None:
    record = make_result(0.5).episodes[3]
    assert EpisodeRecord.from_dict(json.loads(json.dumps(record.to_dict()))) == record
    assert EpisodeRecord.from_dict(replace(record, prompt=None).to_dict()).prompt is None
