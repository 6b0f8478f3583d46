"""The study of one agent for two embodiments: the same total training, and the whole of it from one
command."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from manyparts import cli
from manyparts.studies import find_study
from manyparts.studies.engine.stages import (
    Collect,
    Mixed,
    Train,
    lineage,
    needs,
    read_description,
    write_description,
)
from manyparts.studies.engine.study import stages_of
from manyparts.studies.library.embodiments import (
    BOTH,
    HALF,
    MANIPULATION,
    NAVIGATION,
    methods,
    specialist,
)


def steps(run: Train) -> int:
    return sum(each.config.steps for each in lineage(run))


@pytest.mark.parametrize("preset", ["debug", "laptop"])
def test_joint_training_equals_both_specialists(preset: str) -> None:
    runs = methods(preset, 0)
    specialists = [runs[specialist(name)] for name in (MANIPULATION, NAVIGATION)]
    assert steps(runs[BOTH]) == sum(map(steps, specialists)) == 2 * steps(runs[HALF])
    for run in lineage(runs[BOTH]):
        assert isinstance(run.data, Mixed)
        assert run.data.datasets == tuple(each.data for each in specialists)
        assert all(data in needs(run) for data in run.data.datasets)


@pytest.mark.parametrize("preset", ["debug", "laptop"])
def test_both_domains_are_collected_once(preset: str, tmp_path: Path) -> None:
    stages = stages_of(find_study("embodiments").measurements(preset, 1))
    assert sum(isinstance(stage, Collect) for stage in stages) == 2 and len(stages) == 2 + 8 + 6
    for stage in stages:
        assert read_description(write_description(stage, tmp_path)).key == stage.key


@pytest.mark.slow
@pytest.mark.skipif(find_spec("miniworld") is None, reason="miniworld is not installed")
def test_the_study_runs_from_one_command(tmp_path: Path) -> None:
    output = tmp_path / "study"
    chosen = [BOTH, specialist(NAVIGATION)]
    flags = ["--seeds", "1", "--workers", "1", "--output", str(output)]
    assert cli.main(["study", "embodiments-debug", "--only", *chosen, *flags]) == 0
    results = json.loads((output / "results.json").read_text())
    assert {(row["method"], row["setting"]) for row in results["rows"]} == {
        (BOTH, MANIPULATION),
        (BOTH, NAVIGATION),
        (specialist(NAVIGATION), NAVIGATION),
    }
    assert [(each["a"], each["b"]) for each in results["comparisons"]] == [
        (BOTH, specialist(NAVIGATION))
    ]
    assert results["provenance"]["mismatches"] == [] and (output / "report.html").exists()
