"""The study `embodiments`: one agent for an arm and a navigator, or a specialist of each?

All have the same training in total.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from manyparts.envs.base import EnvConfig
from manyparts.methods import preset as train_preset
from manyparts.studies.engine.stages import Collect, Evaluate, Mixed, Train, one_process
from manyparts.studies.engine.study import Measurement, Study

BOTH, HALF = "one agent for both", "one agent for both, half the steps"
MANIPULATION, NAVIGATION = "manipulation", "navigation"


@dataclass(frozen=True)
class Domain:
    """An embodiment and its tasks."""

    data: Collect
    """Its training data, which names the tasks."""
    episodes: int
    """Evaluated episodes per task."""
    max_steps: int | None = None
    """Steps of an evaluated episode; None for the environment's own."""


def specialist(domain: str) -> str:
    """Return the name of the method that learns one domain alone."""
    return f"specialist, {domain}"


def domains(preset: str) -> Mapping[str, Domain]:
    """Return the two domains of a preset."""
    if preset == "debug":
        small = EnvConfig(image_size=16)
        arm = Collect(("pointmass/reach-red", "pointmass/reach-blue"), 3, environment=small)
        room = Collect(("navigation/one-room",), 3, environment=small)
        return {MANIPULATION: Domain(arm, 2, 12), NAVIGATION: Domain(room, 2, 12)}
    tasks = (
        "reach",
        "button-press-topdown",
        "drawer-close",
        "drawer-open",
        "window-open",
        "door-open",
    )
    arm = Collect(tuple(f"metaworld/{task}" for task in tasks), 50)
    room = Collect(("navigation/one-room",), 200)
    return {MANIPULATION: Domain(arm, 20, 300), NAVIGATION: Domain(room, 100)}


def methods(preset: str, seed: int) -> Mapping[str, Train]:
    """Return the run of each method.

    A specialist of each domain has the preset's steps. One agent has the steps of both together,
    and so as many windows of each domain. Another has the steps of one specialist.

    Args:
        preset: "debug" or "laptop".
        seed: The training seed.
    """
    # bfloat16 takes two thirds of the time, on CPUs that have it.
    precision = "bf16" if preset == "laptop" else "fp32"
    first, second = (
        one_process(train_preset(f"dualmind/{phase}-{preset}"), seed=seed, precision=precision)
        for phase in ("phase1", "phase2")
    )

    def two_phases(data: Collect | Mixed, times: int) -> Train:
        before, after = (replace(config, steps=times * config.steps) for config in (first, second))
        return Train(after, data, start_from=Train(before, data))

    domain_by_name = domains(preset)
    both = Mixed(tuple(domain.data for domain in domain_by_name.values()))
    specialists = {
        specialist(name): two_phases(domain.data, 1) for name, domain in domain_by_name.items()
    }
    return {
        BOTH: two_phases(both, len(domain_by_name)),
        **specialists,
        HALF: two_phases(both, 1),
    }


def measurements(preset: str, seeds: int) -> list[Measurement]:
    """Measure every agent in its own domain, the joint ones in both; seed by seed.

    Args:
        preset: "debug" or "laptop".
        seeds: How many seeds of each agent.
    """
    measured: list[Measurement] = []
    for seed in range(seeds):
        for method, run in methods(preset, seed).items():
            for name, domain in domains(preset).items():
                if method in (BOTH, HALF, specialist(name)):
                    tasks, episodes = domain.data.tasks, domain.episodes
                    evaluation = Evaluate(run, tasks, episodes, max_steps=domain.max_steps)
                    measured.append(Measurement(method, name, seed, (evaluation,)))
    return measured


STUDY = Study(
    name="embodiments",
    description=(
        "Is one agent for an arm and a navigator as good as a specialist of each? debug: the point "
        "mass instead of the arm, for tests. laptop: six Meta-World tasks and one room of "
        "miniworld."
    ),
    presets=("debug", "laptop"),
    reference=BOTH,
    measurements=measurements,
    groups={"Agents": (BOTH, specialist(MANIPULATION), specialist(NAVIGATION), HALF)},
    notes=(
        "The joint agent takes as many optimiser steps as both specialists together, with as many "
        "windows of each domain as its specialist: half of every batch is of each. The agent with "
        "half the steps has as many as one specialist.",
        "It keeps within 5 points where the whole interval of its difference from the specialist "
        "lies above -0.05.",
        "The domains differ in everything: action (four numbers, one of four choices), cameras, "
        "state. The image encoder of the first camera, the encoder of states, the prompt's encoder "
        "and the decoder are shared.",
    ),
)
