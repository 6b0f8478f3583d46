"""An optimiser step of model, actor and critic, against sheeprl's Dreamer at equal sizes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from benchmarks.harness import CLONE, Row, in_turns, processor_rate
from benchmarks.peers import Peer
from benchmarks.untrained import Untrained, untrained
from manyparts.methods.dreamer import SIZES
from manyparts.models.dynamics.configs import CategoricalLatentConfig
from manyparts.training.distributed.ranks import Ranks
from manyparts.training.precision import reproducible
from manyparts.training.update import Learner

PYTHON, SCRIPT = CLONE / ".venv-dreamer/bin/python", CLONE / "scripts/peers/dreamer.py"
_TASK, _STATE, _ACTION = "metaworld/door-open", 39, 4
_ALL, _HORIZON = 10**6, 15  # every state of a batch is a start
_VARIABLES, _CATEGORIES = 16, 16
_BATCHES, _ROUNDS = 8, 9
_PROMISED = 2.0


def measure() -> Iterator[Row]:
    """Measure one thread and processor time. Nothing is measured if sheeprl is not installed."""
    if not PYTHON.exists():
        print(
            f"dreamer-update: {PYTHON} is missing; scripts/peers/install_dreamer.sh makes it",
            file=sys.stderr,
        )
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield from _against("dreamer_v3", "states", image_size=0, min_ratio=_PROMISED)
        yield from _against("dreamer_v3", "32px", image_size=32, min_ratio=_PROMISED)
        yield from _against("dreamer_v1", "gaussian", image_size=0, min_ratio=0.0)
    finally:
        torch.set_num_threads(threads)


def _against(version: str, name: str, *, image_size: int, min_ratio: float) -> Iterator[Row]:
    """Measure with all states of a batch as starts, and with the preset's starts and horizon."""
    model: dict[str, Any] = {}
    if version == "dreamer_v3":
        model["latent"] = CategoricalLatentConfig(_VARIABLES, _CATEGORIES)
    every = {"starts": _ALL, "horizon": _HORIZON}
    given = {"image_size": image_size, "model": model}
    sizes = SIZES["laptop"]
    peer_kind = f"sheeprl's {version}, {_HORIZON} steps from all {sizes.windows * sizes.length}"
    with (
        untrained("dreamer/laptop", _TASK, **given, behaviour=every) as equal,
        untrained("dreamer/laptop", _TASK, **given) as own,
        Peer(PYTHON, SCRIPT, "update", json.dumps(_settings(version, image_size))) as peer,
    ):
        value, preset, baseline = in_turns(
            _updates(equal), _updates(own), lambda: 1 / peer.ask("update 1"), rounds=_ROUNDS
        )
    note = f"updates per processor second, laptop sizes, one thread, against {peer_kind}"
    unit = "updates/s"
    yield Row(f"dreamer-update-{name}", value, baseline, unit, note, min_ratio=min_ratio)
    note = f"as above, with {sizes.horizon} steps from {sizes.starts} starts, as in the preset"
    yield Row(f"dreamer-update-{name}-preset", preset, baseline, unit, note, min_ratio=2.0)


def _updates(made: Untrained) -> Callable[[], float]:
    """Return a function that takes an optimiser step and returns steps per processor second."""
    made.fill(1000)
    config, windows = replace(made.config, steps=10**6), made.windows()
    learner = Learner(made.system, config, Ranks(), torch.device("cpu"))
    batches = [windows.batch(step, config.batch_size) for step in range(_BATCHES)]
    count = 0

    def step() -> None:
        nonlocal count
        learner.step(count, {0: batches[count % _BATCHES]})
        count += 1

    def side() -> float:
        with reproducible(torch.device("cpu")):
            return processor_rate(step, calls=1)

    side()
    return side


def _settings(version: str, image_size: int) -> dict[str, object]:
    """Return the sizes of the laptop preset as the peer reads them."""
    sizes = SIZES["laptop"]
    return {
        "version": version,
        "threads": 1,
        "width": sizes.width,
        "layers": 2,
        "variables": sizes.variables if version == "dreamer_v1" else _VARIABLES,
        "categories": _CATEGORIES,
        "windows": sizes.windows,
        "length": sizes.length,
        "horizon": _HORIZON,
        "image_size": image_size,
        "depth": sizes.depth,
        "state": _STATE,
        "action": _ACTION,
    }
