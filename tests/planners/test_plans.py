"""What planners share: candidates, noise, returns, seeds and settings."""

from __future__ import annotations

import pytest
import torch
from factories import generator
from planners.worlds import seen

from manyparts.core.errors import UserError
from manyparts.planners import CemConfig, MppiConfig, RandomShootingConfig
from manyparts.planners.plans import SearchConfig, candidates, imagination_seed, noise, returns


def zeros(horizon: int) -> torch.Tensor:
    return torch.zeros(horizon, 1)


def test_candidates_have_configured_distribution() -> None:
    config = SearchConfig(
        candidates=20_000, horizon=3, std=0.2, proposal_fraction=0.25, proposal_std=0.1
    )
    start, centre, proposals = zeros(3) + 0.3, zeros(3) - 0.1, torch.full((2, 3, 1), 0.5)
    plans = candidates(start, centre, config, generator(), proposals)
    assert torch.equal(plans[-1], start) and torch.equal(plans[:2], proposals)
    near, free = plans[2:5000], plans[5000:-1]
    torch.testing.assert_close(near.mean(dim=0), proposals[0], atol=0.01, rtol=0)
    torch.testing.assert_close(near.std(dim=0), zeros(3) + 0.1, atol=0.01, rtol=0)
    torch.testing.assert_close(free.mean(dim=0), centre, atol=0.01, rtol=0)
    torch.testing.assert_close(free.std(dim=0), zeros(3) + 0.2, atol=0.01, rtol=0)


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_noise_has_configured_correlation(correlation: float) -> None:
    config = SearchConfig(candidates=50_000, horizon=5, correlation=correlation)
    drawn = noise(config, zeros(5), generator())[..., 0]
    lags = (torch.arange(5)[:, None] - torch.arange(5)).abs()
    torch.testing.assert_close(drawn.T.cov(), correlation ** lags.float(), atol=0.03, rtol=0)


def test_discount_reduces_later_rewards() -> None:
    plans = torch.ones(1, 3, 1)
    config = SearchConfig(horizon=3, discount=0.5)
    assert returns(seen(0.0, 0.0), plans, config, lambda o, a, r: torch.ones_like(r)).item() == 1.75


@pytest.mark.parametrize(
    ("kind", "changes", "says"),
    [
        (RandomShootingConfig, {"candidates": 1}, "planner.candidates is 1; expected at least 2"),
        (RandomShootingConfig, {"horizon": 0}, "planner.horizon is 0"),
        (RandomShootingConfig, {"batch": 0}, "planner.batch is 0"),
        (RandomShootingConfig, {"std": 0.0}, "planner.std is 0.0"),
        (RandomShootingConfig, {"correlation": 1.0}, "planner.correlation is 1.0"),
        (RandomShootingConfig, {"discount": 1.1}, "planner.discount is 1.1"),
        (RandomShootingConfig, {"proposal_fraction": 1.0}, "planner.proposal_fraction is 1.0"),
        (RandomShootingConfig, {"proposal_std": -1.0}, "planner.proposal_std is -1.0"),
        (
            CemConfig,
            {"elites": 200},
            "planner.elites is 200; expected 2 to planner.candidates, 128",
        ),
        (CemConfig, {"iterations": 0}, "planner.iterations is 0"),
        (CemConfig, {"elites": 1}, "planner.elites is 1; expected 2"),
        (MppiConfig, {"temperature": 0.0}, "planner.temperature is 0.0"),
        (
            MppiConfig,
            {"temperature": float("nan")},
            "planner.temperature is nan; expected a finite number above 0",
        ),
        (MppiConfig, {"std": float("inf")}, "planner.std is inf"),
        (MppiConfig, {"proposal_std": float("nan")}, "planner.proposal_std is nan"),
    ],
)
def test_bad_planner_settings_are_named(kind: type, changes: dict[str, float], says: str) -> None:
    with pytest.raises(UserError, match=says):
        kind(**changes)


def test_imagination_seed_leaves_generator_unchanged() -> None:
    drawn, before = generator(5), generator(5)
    assert imagination_seed(drawn) == imagination_seed(drawn) != imagination_seed(generator(6))
    assert torch.equal(drawn.get_state(), before.get_state())
    torch.randn(1, generator=drawn)
    assert imagination_seed(drawn) != imagination_seed(before)
