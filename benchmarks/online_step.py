"""An environment step of a run that acts: deciding, stepping and writing, with new weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from benchmarks.harness import Row, in_turns, processor_rate
from benchmarks.untrained import Untrained, untrained
from manyparts.envs.base import Environment
from manyparts.envs.registry import make

_TEACHERS = 6
_STEPS, _ROUNDS = 300, 9


def measure() -> Iterator[Row]:
    """Measure steps per processor second on one thread, then what teachers add."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for task, name, size, teachers, promised in (
            ("pointmass/reach", "pointmass", 0, 0, 1000.0),
            ("metaworld/door-open", "metaworld", 0, 0, 1000.0),
            ("metaworld/door-open", "metaworld-32px", 32, 0, 400.0),
            ("metaworld/door-open", "metaworld-teachers", 0, _TEACHERS, 667.0),
        ):
            yield from _steps(task, name, size, teachers, promised)
        yield from _teachers()
    finally:
        torch.set_num_threads(threads)


def _steps(task: str, name: str, size: int, teachers: int, promised: float) -> Iterator[Row]:
    """Measure with each action held for two steps, as in the preset, and for one."""
    kind = "vid2act/laptop" if teachers else "dreamer/laptop"
    for repeat in (2, 1):
        with untrained(
            kind, task, image_size=size, action_repeat=repeat, teachers=teachers
        ) as made:
            env = make(task, made.seen, split="train")
            value, simulator = in_turns(_acting(made), _stepping(env), rounds=_ROUNDS)
            env.close()
        held = "held for two steps" if repeat == 2 else "for every step"
        note = (
            f"environment steps of {kind} per processor second, actions {held}"
            f"{f', {teachers} teachers' if teachers else ''}, against the simulator alone"
        )
        yield Row(
            f"online-step-{name}" + ("" if repeat == 2 else "-repeat-1"),
            value,
            simulator,
            "steps/s",
            note,
            min_value=promised if repeat == 2 else 0.0,
        )


def _teachers() -> Iterator[Row]:
    """Measure what six teachers add to a decision and to a step of states."""
    with (
        untrained("dreamer/laptop", "metaworld/door-open", action_repeat=2) as plain,
        untrained(
            "vid2act/distilled-laptop", "metaworld/door-open", action_repeat=2, teachers=_TEACHERS
        ) as taught,
        untrained(
            "vid2act/laptop", "metaworld/door-open", action_repeat=2, teachers=_TEACHERS
        ) as guided,
    ):
        decisions = [_deciding(each) for each in (plain, taught, guided)]
        own, with_teachers, with_guide = in_turns(*decisions, rounds=_ROUNDS)
        steps = [_acting(each) for each in (plain, taught, guided)]
        step, taught_step, guided_step = in_turns(*steps, rounds=_ROUNDS)
    for name, value, guided_value, baseline, unit, most in (
        ("agent", 1 / with_teachers, 1 / with_guide, 1 / own, "s/decision", 1.8),
        ("step", 1 / taught_step, 1 / guided_step, 1 / step, "s/step", 1.3),
    ):
        note = f"processor time with {_TEACHERS} teachers and no guide, against none, from states"
        yield Row(f"online-teachers-{name}", value, baseline, unit, note, max_ratio=most)
        note = "as above, with a guide that the actor reads"
        yield Row(f"online-guide-{name}", guided_value, baseline, unit, note)


def _acting(made: Untrained) -> Callable[[], float]:
    """Return a function that acts for some steps and returns steps per processor second."""
    collector = made.collector()

    def side() -> float:
        before = collector.environment_steps
        target = before + _STEPS
        rate = processor_rate(lambda: collector.until(target, made.agent), calls=1)
        return rate * (collector.environment_steps - before)

    side()
    return side


def _stepping(env: Environment) -> Callable[[], float]:
    """Return a function that steps and observes with one action, and returns steps per processor
    second."""
    env.action_space.seed(0)
    action = env.action_space.sample()

    def step() -> None:
        env.observe()
        _, ended, cut, _ = env.advance(action)
        if ended or cut:
            env.begin(0)

    def side() -> float:
        count = _STEPS // env.action_repeat
        return processor_rate(step, calls=count, units=env.action_repeat)

    env.begin(0)
    return side


def _deciding(made: Untrained) -> Callable[[], float]:
    """Return a function that decides again and again, and returns decisions per processor
    second."""
    agent = made.agent(0)
    made.env.begin(0)
    observation = made.env.observe()
    carry = None

    def decide() -> None:
        nonlocal carry
        _, carry = agent.act(carry, observation, None, explore=True)
        agent.notes(carry)

    decide()
    return lambda: processor_rate(decide, calls=_STEPS)
