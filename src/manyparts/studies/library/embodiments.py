"""One agent for an arm and a first-person navigator, against a specialist of each with the same
total training."""

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
    """A body and its tasks. episodes: a task, evaluated. max_steps: of an evaluated episode; None:
    the horizon."""

    data: Collect
    episodes: int
    max_steps: int | None = None


def specialist(domain: str) -> str:
    """The name of the method that learns one domain alone."""
    return f"specialist, {domain}"


def domains(preset: str) -> Mapping[str, Domain]:
    """The two domains of a preset."""
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
    """A specialist of each domain with the preset's steps; one agent with the steps, and so the
    windows of each domain, of both together; and one with as many steps as one specialist."""
    precision = (
        "bf16" if preset == "laptop" else "fp32"
    )  # two thirds of the time, on CPUs that know it
    first, second = (
        one_process(train_preset(f"dualmind/{phase}-{preset}"), seed=seed, precision=precision)
        for phase in ("phase1", "phase2")
    )

    def two_phases(data: Collect | Mixed, times: int) -> Train:
        before, after = (replace(config, steps=times * config.steps) for config in (first, second))
        return Train(after, data, start_from=Train(before, data))

    known = domains(preset)
    both = Mixed(tuple(domain.data for domain in known.values()))
    return {
        BOTH: two_phases(both, len(known)),
        **{specialist(name): two_phases(domain.data, 1) for name, domain in known.items()},
        HALF: two_phases(both, 1),
    }


def measurements(preset: str, seeds: int) -> list[Measurement]:
    """Every agent in its own domain, the joint ones in both; seed by seed."""
    return [
        Measurement(
            method,
            name,
            seed,
            (Evaluate(run, domain.data.tasks, domain.episodes, max_steps=domain.max_steps),),
        )
        for seed in range(seeds)
        for method, run in methods(preset, seed).items()
        for name, domain in domains(preset).items()
        if method in (BOTH, HALF, specialist(name))
    ]


STUDY = Study(
    name="embodiments",
    description=(
        "Is one agent for an arm and a navigator as good as a specialist of each? debug: the point mass in the arm's "
        "place, for tests. laptop: six Meta-World tasks and one room of miniworld."
    ),
    presets=("debug", "laptop"),
    reference=BOTH,
    measurements=measurements,
    groups={"Agents": (BOTH, specialist(MANIPULATION), specialist(NAVIGATION), HALF)},
    notes=(
        "The joint agent takes as many optimiser steps as both specialists together, with as many windows of each "
        "domain as its specialist sees: half of every batch is of each. The agent with half the steps has one "
        "specialist's.",
        "It keeps within 5 points where the whole interval of its difference from the specialist lies above -0.05.",
        "The domains differ in everything: action (four numbers, one of four choices), cameras, state. What is shared "
        "is the image encoder of the first camera, the encoder of states, the prompt's encoder and the decoder.",
    ),
)
