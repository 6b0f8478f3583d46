"""The weights of the best validation are kept, and are found again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training.online.tiny import SEEN, rows, tiny

from manyparts.agents.latent import LatentAgent
from manyparts.agents.loading import load
from manyparts.models.checkpoint import load_info
from manyparts.models.run_files import WEIGHTS, resolve, results_folder
from manyparts.training.online.train import train_online
from manyparts.training.online.validation import BestCheckpoint, best_outcome


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_online(
        tiny(environment_steps=170, evaluate_every_steps=30),
        environment="pointmass/reach",
        environment_config=SEEN,
        output=tmp_path_factory.mktemp("best") / "run",
        device="cpu",
    )


def checks(run: Path) -> list[dict[str, float]]:
    return [row for row in rows(run) if "validation/return" in row]


@pytest.mark.slow
def test_best_validation_is_kept(run: Path) -> None:
    best = max(checks(run), key=lambda row: (row["validation/success"], row["validation/return"]))
    assert best is not checks(run)[-1], "a check before the last is to be the best one"
    assert best_outcome(run) == {
        "environment_steps": best["environment_steps"],
        "success": best["validation/success"],
        "return": best["validation/return"],
    }
    kept, last = (load_file(each / WEIGHTS) for each in (run / "checkpoints/best", resolve(run)))
    assert any(not torch.equal(kept[name], last[name]) for name in kept)


def test_averaged_weights_are_measured_and_kept(tmp_path: Path) -> None:
    """The only validation is after the last step: its checkpoint holds the averages, too."""
    run = train_online(
        replace(tiny(evaluate_every_steps=10**6), ema_decay=0.9),
        environment="pointmass/reach",
        environment_config=SEEN,
        output=tmp_path / "run",
        device="cpu",
    )
    assert len(checks(run)) == 1
    kept, last = (load_file(each / WEIGHTS) for each in (run / "checkpoints/best", resolve(run)))
    assert all(torch.equal(kept[name], last[name]) for name in last)


def test_best_weights_are_evaluated_apart(run: Path) -> None:
    best = run / "checkpoints" / "best"
    assert isinstance(load(best), LatentAgent)
    assert results_folder(best, "evaluation") == run / "evaluation-best"


def test_a_killed_run_forgets_later_bests(run: Path) -> None:
    folder = run / "checkpoints" / "best"
    info = load_info(folder)
    same = BestCheckpoint(run, info, lambda: 170)
    assert same.outcome == best_outcome(run)

    other = torch.nn.Linear(1, 1)
    same.offer(other, success=0.0, return_=-1e9)
    assert same.outcome == info.provenance["validation"]
    earlier = BestCheckpoint(run, info, lambda: 50)
    assert not earlier.outcome and not folder.exists()
    earlier.offer(other, success=0.0, return_=-1e9)
    assert best_outcome(run)["environment_steps"] == 50
