"""What users import: every public name is there, says what it is, and costs nothing before it is
used."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import manyparts

NAMES = {
    "CemConfig",
    "MppiConfig",
    "ActionContract",
    "Batch",
    "DatasetWriter",
    "Demonstration",
    "EnvConfig",
    "Environment",
    "Episode",
    "FreeCamera",
    "GymTask",
    "EpisodeDataset",
    "Interval",
    "Loss",
    "Noise",
    "Observation",
    "Prompt",
    "Result",
    "Spec",
    "RandomShootingConfig",
    "TaskEntry",
    "UserError",
    "View",
    "Comparison",
    "EpisodeResult",
    "Forecast",
    "LearnedAgent",
    "Step",
    "append",
    "collect",
    "compare",
    "declare",
    "difference_over_seeds",
    "evaluate",
    "evaluate_reference",
    "gym_suite",
    "load",
    "make",
    "mean_over_seeds",
    "open_loop",
    "preset",
    "preset_names",
    "register_suite",
    "rollout",
    "train",
    "train_online",
    "wilson",
    "write_report",
}


def test_public_names_are_these() -> None:
    assert set(manyparts.__all__) == NAMES
    assert set(dir(manyparts)) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_public_name_has_a_docstring(name: str) -> None:
    value = getattr(manyparts, name)
    if name == "LearnedAgent":  # a union, which Python gives no docstring of its own
        return
    assert callable(value)
    assert value.__doc__ and not value.__doc__.startswith(f"{name}("), "dataclass's own signature"


def test_unknown_public_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'rolout'"):
        importlib.import_module("manyparts").rolout  # noqa: B018


@pytest.mark.parametrize("before", ["", "import manyparts.rollout.collect; "])
def test_rollout_can_be_called(before: str) -> None:
    """`manyparts.rollout` is a package, too, whichever of the two is imported first."""
    code = f"{before}from manyparts import rollout; rollout()"
    script = [sys.executable, "-c", code]
    result = subprocess.run(script, capture_output=True, text=True, check=False)
    assert "rollout() missing 2 required positional arguments" in result.stderr
