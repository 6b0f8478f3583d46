"""Checks of the doctor that break: which of them the main job needs."""

from __future__ import annotations

import subprocess
from importlib.metadata import PackageNotFoundError

import pytest

from manyparts.cli.doctor import _CHECKS, _OPTIONAL, _PACE, _guarded


@pytest.mark.parametrize("error", [PackageNotFoundError("mlflow"), OSError("no disk")])
def test_a_check_that_raises_names_what_is_needed(error: Exception) -> None:
    def broken() -> None:
        raise error

    assert not _guarded("mlflow", broken).required and _guarded("torch", broken).required  # type: ignore[arg-type]


def test_slow_machines_run_the_main_job() -> None:
    def slow() -> None:
        raise subprocess.TimeoutExpired("simulate", 120)

    check = _guarded("acting in dmc/walker-walk", slow)  # type: ignore[arg-type]
    assert not check.required and check.detail == "it took more than 120 s"


def test_every_optional_check_is_one() -> None:
    assert {*_CHECKS, *_PACE} >= _OPTIONAL
