"""A hidden context confounds cloning where actions say nothing of the frame, and inverse dynamics
never."""

from __future__ import annotations

from pathlib import Path

import pytest

from manyparts.studies.library.confounding import draw, errors


def test_latent_drift_confounds_cloning_alone() -> None:
    found = {
        method: error.mean(axis=0) for method, error in errors("drift", (8, 64), seeds=10).items()
    }
    assert found["inverse dynamics"] == pytest.approx(found["position itself"], abs=0.02)
    assert (found["cloning"] > 0.8).all() and (found["random"] > 0.8).all()
    assert found["cloning"][1] == pytest.approx(found["random"][1], abs=0.15)


def test_hidden_goals_alone_do_not_confound_cloning() -> None:
    found = {method: error.mean() for method, error in errors("goals", (16,), seeds=10).items()}
    assert found["cloning"] < 0.05 and found["inverse dynamics"] < 0.05 and found["random"] > 0.8


def test_the_figure_is_drawn(tmp_path: Path) -> None:
    draw(str(tmp_path / "out.svg"))
    assert (tmp_path / "out.svg").read_text().startswith("<?xml")
