"""The study of a trunk under a new robot: what differs, and the whole from one command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from manyparts import cli
from manyparts.models.run_files import SHIPPED
from manyparts.studies import find_study
from manyparts.studies.engine.stages import Train, read_description, write_description
from manyparts.studies.engine.study import stages_of
from manyparts.studies.library.new_embodiment import SCRATCH, TRUNK, scale_of


@pytest.mark.parametrize("preset", ["debug", "laptop"])
def test_methods_differ_in_the_trunk_alone(preset: str) -> None:
    measured = find_study("new-embodiment").measurements(preset, 1)
    by_method = {(each.method, each.setting): each for each in measured}
    for setting in {each.setting for each in measured}:
        trunk, scratch = by_method[TRUNK, setting], by_method[SCRATCH, setting]
        one, other = (each.evaluations[0].run for each in (trunk, scratch))  # type: ignore[union-attr]
        assert isinstance(one, Train) and isinstance(other, Train)
        assert one.data == other.data and one.config.new_embodiment
        assert replace(one.config, new_embodiment=False) == other.config
        assert (one.agent or one.start_from) and not (other.agent or other.start_from)


def test_the_trunk_is_a_shipped_one() -> None:
    agent = scale_of("laptop").agent
    assert agent is not None and (SHIPPED / agent.partition("/")[2]).is_dir()


def test_stages_are_read_as_they_were_written(tmp_path: Path) -> None:
    for stage in stages_of(find_study("new-embodiment").measurements("laptop", 1)):
        assert read_description(write_description(stage, tmp_path)).key == stage.key


@pytest.mark.slow
def test_the_study_runs_from_one_command(tmp_path: Path) -> None:
    output = tmp_path / "study"
    command = ["study", "new-embodiment-debug", "--output", str(output), "--seeds", "1"]
    assert cli.main([*command, "--workers", "1"]) == 0
    results = json.loads((output / "results.json").read_text())
    assert {row["method"] for row in results["rows"]} == {TRUNK, SCRATCH}
