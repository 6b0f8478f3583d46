"""The contexts of the study `representations`: environments and sizes of Brandfonbrener et al. 2023
(arXiv 2305.16985), and the success that the paper reports."""

from __future__ import annotations

from dataclasses import dataclass

from manyparts.agents.expert import Noise
from manyparts.envs import registry
from manyparts.methods.inverse_dynamics import OBJECTIVES
from manyparts.studies.library.settings import demonstrations

INVERSE = "inverse-dynamics"
CLONING = "cloning"
STATES = "states"
SCRATCH = "scratch"
RANDOM = "random"
IMAGENET = "imagenet"
BASELINES = (STATES, SCRATCH, RANDOM, IMAGENET)
METHODS = (*OBJECTIVES, *BASELINES)


@dataclass(frozen=True)
class Context:
    """An environment in which the methods are compared."""

    before: tuple[str, ...]
    """Tasks of pretraining."""
    after: tuple[str, ...]
    """Tasks that are tuned on and evaluated."""
    latent: bool
    """Whether the goal is hidden: tuning and evaluation then have one goal that pretraining never
    had. Otherwise the goal can be seen, and the tasks of tuning are new."""
    sizes: tuple[int, int]
    """Image sizes in pixels at the laptop's and at the paper's scale."""
    pretraining: tuple[int, ...]
    """The paper's numbers of pretraining trajectories, over all tasks."""
    finetuning: tuple[int, ...]
    """The paper's numbers of demonstrations per task."""
    usual: int
    """The paper's number of demonstrations where it varies something else."""
    max_steps: int | None = None
    """Steps of an evaluated episode at the paper's scale; None for the environment's own."""
    cameras: tuple[str, ...] = ()
    """Cameras; empty for the environment's own."""
    noise: Noise = Noise()
    """The expert's noise, as much as the environment allows."""
    steps: int = 100_000
    """Optimiser steps of the paper's pretraining."""
    episodes: int = 100
    """Episodes that the paper evaluates per task."""


_R3M = ("assembly", "bin-picking", "button-press", "drawer-open", "hammer")
_SIDE = ("workspace_side",)
_METAWORLD_SIZES = (64, 120)


def contexts() -> dict[str, Context]:
    """Return the paper's environments by name."""
    return _few_tasks() | _many_tasks()


def _few_tasks() -> dict[str, Context]:
    """Environments with pretraining on at most three tasks."""
    return {
        "pointmass": Context(
            before=("pointmass/reach",),
            after=("pointmass/reach",),
            latent=True,
            sizes=(64, 84),
            pretraining=(10, 100, 1000),
            finetuning=(1, 2, 5, 10),
            usual=2,
        ),
        "pick-place": Context(
            before=("metaworld/pick-place",),
            after=("metaworld/pick-place",),
            latent=True,
            sizes=_METAWORLD_SIZES,
            pretraining=(10, 100, 1000),
            finetuning=(2, 5, 10, 20),
            usual=5,
            max_steps=300,
        ),
        "doors": Context(
            before=tuple(f"metaworld/door-{name}" for name in ("unlock", "close", "open")),
            after=("metaworld/door-lock",),
            latent=False,
            sizes=_METAWORLD_SIZES,
            pretraining=(10, 100, 1000),
            finetuning=(2, 5, 10, 20),
            usual=10,
            max_steps=300,
            cameras=_SIDE,
        ),
    }


def _many_tasks() -> dict[str, Context]:
    """Environments with pretraining on many tasks, for twice as many steps."""
    r3m_tasks = tuple(f"metaworld/{name}" for name in _R3M)
    all_tasks = registry.expand(["metaworld/mt50"])
    return {
        "ml45": Context(
            before=tuple(registry.expand(["metaworld/ml45-train"])),
            after=tuple(registry.expand(["metaworld/ml45-test"])),
            latent=False,
            sizes=_METAWORLD_SIZES,
            pretraining=(100, 1000, 10_000),
            finetuning=(2, 5, 10, 20),
            usual=10,
            max_steps=300,
            cameras=_SIDE,
            steps=200_000,
        ),
        "kitchen": Context(
            before=tuple(registry.expand(["kitchen/combinations-train"])),
            after=tuple(registry.expand(["kitchen/combinations-test"])),
            latent=False,
            sizes=_METAWORLD_SIZES,
            pretraining=(50, 150, 450),
            finetuning=(2, 5, 10, 15),
            usual=10,
            noise=Noise(std=0.05),
            steps=200_000,
            episodes=50,
        ),
        "r3m": Context(
            before=tuple(task for task in all_tasks if task not in r3m_tasks),
            after=r3m_tasks,
            latent=False,
            sizes=_METAWORLD_SIZES,
            pretraining=(100, 1000, 10_000),
            finetuning=(2, 5, 10, 20),
            usual=10,
            max_steps=300,
            cameras=_SIDE,
            steps=200_000,
        ),
    }


_PUBLISHED_IN = ("pointmass", "pick-place", "doors", "kitchen", "ml45", "r3m")
# Success with the largest pretraining and the usual number of demonstrations, read off the paper's
# plots, in the order of `_PUBLISHED_IN`.
_PUBLISHED = {
    STATES: (0.62, 0.77, 0.90, 0.17, 0.78, 0.82),
    INVERSE: (0.72, 0.83, 0.39, 0.43, 0.52, 0.61),
    SCRATCH: (0.24, 0.51, 0.38, 0.45, 0.44, 0.68),
    CLONING: (0.25, 0.75, 0.49, 0.19, 0.51, 0.58),
}


def published() -> dict[tuple[str, str], float]:
    """Return (method, setting) to the success that the paper reports."""
    settings = usual_settings()
    success_by_cell = {}
    for method, successes in _PUBLISHED.items():
        for name, success in zip(_PUBLISHED_IN, successes, strict=True):
            success_by_cell[method, settings[name]] = success
    return success_by_cell


def published_pretraining() -> dict[str, int]:
    """Return setting to the paper's largest number of pretraining trajectories there."""
    settings = usual_settings()
    return {settings[name]: max(context.pretraining) for name, context in contexts().items()}


def usual_settings() -> dict[str, str]:
    """Return a context's name to the setting with its usual number of demonstrations."""
    return {
        name: f"{name}, {demonstrations(context.usual)}" for name, context in contexts().items()
    }
