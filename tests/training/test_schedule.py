"""The learning rate rises in a line, falls half a cosine, and ends where the config says."""

from __future__ import annotations

import math

import pytest

from manyparts.training.config import OptimizerConfig
from manyparts.training.schedule import learning_rate

CONFIG = OptimizerConfig(learning_rate=2.0, warmup_steps=4, final_fraction=0.25)


def test_warm_up_is_a_line():
    assert [learning_rate(CONFIG, step, 100) for step in range(4)] == [0.5, 1.0, 1.5, 2.0]


def test_cosine_ends_at_the_final_fraction():
    assert learning_rate(CONFIG, 4, 101) == 2.0
    assert learning_rate(CONFIG, 52, 101) == pytest.approx(2.0 * (0.25 + 0.75 / 2))
    assert learning_rate(CONFIG, 28, 101) == pytest.approx(
        2.0 * (0.25 + 0.75 * (1 + math.cos(math.pi / 4)) / 2)
    )
    assert learning_rate(CONFIG, 100, 101) == pytest.approx(0.5)


def test_rates_fall_after_the_warm_up():
    rates = [learning_rate(CONFIG, step, 50) for step in range(4, 50)]
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("steps", [1, 2, 4, 5])
def test_short_runs_have_a_learning_rate(steps):
    assert all(0 < learning_rate(CONFIG, step, steps) <= 2.0 for step in range(steps))


def test_first_rate_without_warm_up():
    assert learning_rate(OptimizerConfig(learning_rate=2.0, warmup_steps=0), 0, 10) == 2.0
