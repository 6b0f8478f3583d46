"""How long an online run takes: rates and the time left, on a clock of the test's own."""

from __future__ import annotations

import pytest

from manyparts.training.config import OnlineConfig
from manyparts.training.online.pace import Pace, duration

# An update and its 4 environment steps take a second, of which acting takes 0.4. A check of 5
# episodes of 20 steps so takes 10 s, and the last evaluation of 10 episodes 20 s.
ONLINE = OnlineConfig(
    environment_steps=500,
    prefill_steps=100,
    train_ratio=2.0,
    evaluation_episodes=5,
    final_episodes=10,
)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def worked(clock: Clock, *, until: int, start: int = 0) -> Pace:
    """The pace after updates `start` to `until` of 100, with a check after every 20th."""
    pace = Pace(
        ONLINE,
        updates=100,
        evaluate_every=20,
        episode_steps=20,
        environment_steps=100 + 4 * start,
        clock=clock,
    )
    for update in range(start, until):
        pace.rates(update, 100 + 4 * update)
        pace.acted(0.4)
        clock.now += 1 + 10 * ((update + 1) % 20 == 0)
    return pace


@pytest.mark.parametrize("start", [0, 8])
@pytest.mark.parametrize("until", [10, 30, 50])
def test_time_left_counts_coming_checks(start: int, until: int) -> None:
    clock = Clock()
    pace = worked(clock, until=until, start=start)
    rates = pace.rates(until, 100 + 4 * until)
    checks_left = 5 - until // 20
    assert rates.seconds_left == pytest.approx((100 - until) + 10 * checks_left + 20, rel=1e-6)
    assert rates.updates == pytest.approx((until - start) / clock.now)
    assert rates.environment_steps == pytest.approx(4 * rates.updates)


def test_nothing_is_promised_before_updates() -> None:
    pace = worked(Clock(), until=0)
    assert duration(pace.rates(0, 100).seconds_left) == "an unknown time"


def test_the_estimate_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    pace = worked(clock, until=9)
    pace.announce(9, 136, "cpu")
    assert not capsys.readouterr().err
    pace = worked(clock, until=12)
    for _ in range(2):
        pace.announce(12, 148, "cpu")
    # 88 updates of a second, 5 checks of 10 s and the last evaluation of 20 s.
    assert capsys.readouterr().err == (
        "about 3 min on cpu, judged by the first 12 updates: 4 environment steps/s, 1 updates/s\n"
    )


def test_durations_have_units_people_use() -> None:
    assert [duration(each) for each in (0.4, 89, 90, 5399, 5400, 36000)] == [
        "0 s",
        "89 s",
        "2 min",
        "90 min",
        "1.5 h",
        "10.0 h",
    ]
