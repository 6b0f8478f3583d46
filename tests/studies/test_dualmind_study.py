"""DualMind's study: what is shared is declared once, every method has the same steps, and a debug
study runs."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from methods.test_dualmind import sawyer
from studies.engine.declared import start
from studies.engine.test_runner import wait_until

from manyparts import cli
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.objectives.system import System
from manyparts.studies import STUDIES, find_study
from manyparts.studies.engine.stages import (
    Collect,
    Train,
    lineage,
    read_description,
    write_description,
)
from manyparts.studies.engine.study import methods_of, stages_of
from manyparts.studies.library.dualmind import (
    BOTH,
    DUAL,
    GATO,
    IMITATION,
    PREFIX,
    RECIPES,
    methods,
    same_seconds,
)

TIMES = ("train_seconds", "hours", "core_hours")
DEBUG = ["study", "dualmind-debug", "--seeds", "1", "--only", IMITATION]


@pytest.mark.parametrize("preset", ["debug", "laptop", "paper"])
def test_methods_have_equal_data_and_steps(preset: str) -> None:
    runs = methods(preset, 0)
    timed = {name for name in runs if name.endswith("same seconds")}
    assert timed == (
        {same_seconds(name) for name in (IMITATION, BOTH, GATO)} if preset == "laptop" else set()
    )
    counted = [run for name, run in runs.items() if name not in timed]
    assert len({sum(run.config.steps for run in lineage(method)) for method in counted}) == 1
    assert len({stage.data.key for method in runs.values() for stage in lineage(method)}) == 1
    assert all(stage.config.processes == 1 for method in runs.values() for stage in lineage(method))


@pytest.mark.parametrize("preset", ["debug", "laptop"])
def test_shared_stages_are_one(preset: str) -> None:
    runs = methods(preset, 0)
    assert runs[DUAL].key == runs["phase II variant 3"].key
    assert runs[DUAL].start_from and runs[PREFIX].start_from
    assert runs[DUAL].start_from.key == runs[PREFIX].start_from.key
    stages = stages_of(find_study("dualmind").measurements(preset, 2))
    assert len({stage.key for stage in stages}) == len(stages)
    assert sum(isinstance(stage, Collect) and len(stage.tasks) > 1 for stage in stages) == 1
    positions = {stage.key: index for index, stage in enumerate(stages)}
    assert all(
        positions[run.data.key] < positions[run.key] for run in stages if isinstance(run, Train)
    )


@pytest.mark.parametrize("name", STUDIES)
def test_studies_hold_together(name: str) -> None:
    study = find_study(name)
    for preset in study.presets:
        methods = methods_of(study.measurements(preset, 1))
        assert study.reference in methods
        assert {method for group in study.groups.values() for method in group} <= set(methods)
        assert {method for claim in study.claims for method in (claim.better, claim.worse)} <= set(
            methods
        )
        assert all(len(group) <= 6 for group in study.groups.values())


@pytest.mark.parametrize("preset", ["debug", "laptop", "paper"])
def test_descriptions_are_read_as_written(preset: str, tmp_path: Path) -> None:
    for stage in stages_of(find_study("dualmind").measurements(preset, 1)):
        assert read_description(write_description(stage, tmp_path)).key == stage.key


def test_prompt_variants_have_equal_parameters() -> None:
    counts = {}
    for name, run in methods("laptop", 0).items():
        for stage in lineage(run):
            config, embodiments = stage.config, EmbodimentSet((sawyer(64),))
            system = System.build(config.model, config.objectives, embodiments, config.window)
            counts.setdefault(name, sum(value.numel() for value in system.parameters()))
    assert counts[DUAL] == counts[PREFIX] == counts[GATO] == counts[IMITATION]
    assert counts["visual tokens 1"] < counts["visual tokens 16"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The debug study of two methods, from one command."""
    output = tmp_path_factory.mktemp("study")
    assert cli.main([*DEBUG, DUAL, "--workers", "2", "--output", str(output)]) == 0
    return output


def results(output: Path) -> dict[str, Any]:
    return json.loads((output / "results.json").read_text())


def rows_of(output: Path, method: str) -> list[dict[str, Any]]:
    """The rows of a method but for its times, which no two runs share."""
    rows = [row for row in results(output)["rows"] if row["method"] == method]
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


@pytest.mark.slow
def test_a_study_runs_from_one_command(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured = results(finished)
    settings = ["unseen goals", "held-out tasks, zero-shot", "held-out tasks, 1 demonstration"]
    assert [row["setting"] for row in rows_of(finished, DUAL)] == settings
    assert [row["episodes"] for row in rows_of(finished, DUAL)] == [4, 2, 2]
    assert all(
        row["low"] <= row["mean"] <= row["high"] and row["seeds"] == [0] for row in measured["rows"]
    )
    assert {row["training_steps"] for row in measured["rows"]} == {40, 44}
    compared = {(each["a"], each["b"], each["setting"]) for each in measured["comparisons"]}
    assert compared >= {(DUAL, IMITATION, setting) for setting in settings}
    assert {each["verdict"] for each in measured["verdicts"] if each["worse"] == IMITATION} == {
        "one seed cannot tell"
    }
    assert {each["verdict"] for each in measured["verdicts"] if each["worse"] == GATO} == {
        "not tested"
    }
    assert measured["provenance"]["mismatches"] == []
    page = (finished / "report.html").read_text()
    assert (
        all(setting in page for setting in settings) and "Not finished" in page and "<svg" in page
    )
    decided = {each["words"] for each in measured["verdicts"] if each["verdict"] != "not tested"}
    assert page.count('<tr class="group">') == len(decided) and "Not tested: " in page
    assert all(each["words"] in page for each in measured["verdicts"])
    assert 'src="http' not in page and '<link rel="stylesheet' not in page


@pytest.mark.slow
def test_a_second_call_does_nothing(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (finished / "results.json").read_bytes()
    assert cli.main([*DEBUG, DUAL, "--output", str(finished), "--list"]) == 0
    assert "13 stages, 13 done" in capsys.readouterr().out
    assert cli.main([*DEBUG, DUAL, "--output", str(finished)]) == 0
    assert "unseen goals" in capsys.readouterr().out
    assert (finished / "results.json").read_bytes() == before


@pytest.mark.slow
def test_a_killed_study_gives_equal_results(finished: Path, tmp_path: Path) -> None:
    output = tmp_path / "killed"
    arguments = [*DEBUG, "--workers", "1", "--output", str(output)]
    for stage in ("train-imitation", "train-few-shot"):
        runner = start(*arguments)
        wait_until(lambda stage=stage: any((output / "stages").glob(f"{stage}-*")))
        runner.send_signal(signal.SIGKILL)
        runner.communicate(timeout=60)
    assert not (output / "results.json").exists()
    assert cli.main(arguments) == 0
    assert rows_of(output, IMITATION) == rows_of(finished, IMITATION)
    episodes = sorted((output / "stages").glob("*/evaluation/episodes.jsonl"))
    assert len(episodes) == 3
    for path in episodes:  # to the bit: every return is that of a study that was never killed
        assert path.read_bytes() == (finished / path.relative_to(output)).read_bytes()


def test_list_runs_no_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["study", "dualmind", "--list", "--output", str(tmp_path / "none")]) == 0
    page = capsys.readouterr().out
    assert "0 done" in page and f"for {DUAL}" in page
    assert not (tmp_path / "none").exists()
    assert all(method in page for method in RECIPES)
