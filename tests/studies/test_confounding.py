"""A hidden context confounds cloning where actions say nothing of the frame, and inverse dynamics
never."""

from __future__ import annotations

from pathlib import Path

import pytest

from manyparts.studies.library.confounding import draw, errors


def test_latent_drift_confounds_cloning_alone() -> None:
    error = {
        method: error.mean(axis=0) for method, error in errors("drift", (8, 64), seeds=10).items()
    }
    assert error["inverse dynamics"] == pytest.approx(error["position itself"], abs=0.02)
    assert (error["cloning"] > 0.8).all() and (error["random"] > 0.8).all()
    assert error["cloning"][1] == pytest.approx(error["random"][1], abs=0.15)


def test_hidden_goals_do_not_confound_cloning() -> None:
    error = {method: values.mean() for method, values in errors("goals", (16,), seeds=10).items()}
    assert error["cloning"] < 0.05 and error["inverse dynamics"] < 0.05 and error["random"] > 0.8


@pytest.mark.slow
def test_figure_is_drawn_the_same(tmp_path: Path) -> None:
    for name in ("once", "twice"):
        draw(str(tmp_path / name))
    assert (tmp_path / "once").read_text().startswith("<?xml")
    assert (tmp_path / "once").read_bytes() == (tmp_path / "twice").read_bytes()
