"""The replay of a run that acts: appending, drawing and resuming, against sheeprl's buffer."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.dreamer_update import PYTHON, SCRIPT
from benchmarks.harness import Row, in_turns, processor_rate
from benchmarks.peers import Peer
from benchmarks.untrained import Untrained, untrained
from manyparts.core.records import Episode
from manyparts.data.sampling.replay import Replay
from manyparts.envs.registry import instructions

_TASK, _STEPS, _EPISODES = "metaworld/door-open", 250, 100
_ROUNDS = 7


def measure() -> Iterator[Row]:
    """Measure 25,000 decisions of states, then of 32 px. Needs sheeprl, see `dreamer-update`."""
    if not PYTHON.exists():
        print(
            f"replay: {PYTHON} is missing; scripts/peers/install_dreamer.sh makes it",
            file=sys.stderr,
        )
        return
    for name, size in (("states", 0), ("32px", 32)):
        with untrained("dreamer/laptop", _TASK, image_size=size) as made:
            yield from _measured(made, name, size)


def _measured(made: Untrained, name: str, size: int) -> Iterator[Row]:
    spec, window = made.env.embodiment_spec, made.config.window
    episode = _episode(made)
    for _ in range(_EPISODES):
        made.replay.add(episode)
    windows, numbers = made.windows(), itertools.count()
    settings = {
        "threads": 1,
        "image_size": size,
        "state": spec.state_dimension,
        "action": spec.action.dimension,
        "windows": made.config.batch_size,
        "length": window.steps,
        "frames": _STEPS * _EPISODES,
        "episode": _STEPS,
    }

    def draw() -> object:
        return windows.batch(next(numbers), made.config.batch_size)

    def asked(peer: Peer, action: str, count: int, units: int) -> Callable[[], float]:
        return lambda: count * units / peer.ask(f"{action} {count}")

    with Peer(PYTHON, SCRIPT, "replay", json.dumps(settings)) as peer:
        drawn, their_draw = in_turns(
            lambda: processor_rate(draw, calls=50), asked(peer, "draw", 50, 1), rounds=_ROUNDS
        )
        added, their_add = in_turns(
            lambda: processor_rate(lambda: made.replay.add(episode), calls=4, units=_STEPS),
            asked(peer, "append", 4, _STEPS),
            rounds=_ROUNDS,
        )
    seen = "images of 32 px" if size else "states"
    what = f"processor second, {_STEPS * _EPISODES} decisions with {seen}"
    note = f"batches of {made.config.batch_size} windows of {window.steps} per {what}"
    yield Row(f"replay-draw-{name}", drawn, their_draw, "batches/s", note)
    note = f"decisions written per {what}; sheeprl maps its file into memory, ours is closed"
    yield Row(f"replay-append-{name}", added, their_add, "decisions/s", note, min_ratio=5.0)

    def resume() -> None:
        replay = Replay(made.replay.folder, spec, max_frames=made.replay.max_frames)
        assert replay.num_frames >= _STEPS * _EPISODES

    opened, one = in_turns(
        lambda: processor_rate(resume, calls=3), lambda: processor_rate(draw, calls=50), rounds=3
    )
    note = "openings of that replay per processor second, against drawing a batch from it"
    yield Row(f"replay-resume-{name}", opened, one, "openings/s", note)


def _episode(made: Untrained) -> Episode:
    """Return an episode of random numbers."""
    spec, random = made.env.embodiment_spec, np.random.default_rng(0)
    action = random.uniform(-1, 1, (_STEPS, spec.action.dimension)).astype(np.float32)
    return Episode(
        task=_TASK,
        instruction=instructions(_TASK).instruction,
        seed=0,
        images={
            name: random.integers(0, 255, (_STEPS, *size, 3)).astype(np.uint8)
            for name, size in spec.cameras.items()
        },
        state=random.standard_normal((_STEPS, spec.state_dimension)).astype(np.float32),
        action=action,
        expert_action=action,
        reward=np.zeros(_STEPS, np.float32),
        success=np.zeros(_STEPS, bool),
        terminated=False,
    )
