"""Windows of a replay that the learning system itself fills."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from manyparts.agents.base import Agent
from manyparts.agents.latent import LatentAgent
from manyparts.core.printing import counted
from manyparts.core.randomness import mix
from manyparts.core.records import Batch
from manyparts.data.sampling.base import part_of_rank
from manyparts.data.sampling.batches import join_batches
from manyparts.data.sampling.mixture import in_set
from manyparts.data.sampling.replayed import ReplayWindows
from manyparts.embodiment.codec import Codec
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.configs import sees_images
from manyparts.rollout.collector import Collector
from manyparts.training.config import OnlineConfig, TrainConfig
from manyparts.training.online.pace import Pace, Rates, duration
from manyparts.training.update import Learner

_RECENT = 20  # episodes over which returns are averaged in the metrics


class OnlineWindows(ReplayWindows):
    """Before each step the system acts until the replay has what the step is owed.

    Args:
        collector: Acts, and fills the replay.
        config: The run's.
        online: Its schedule, which says how much is collected before each step.
        codec: Normalises states and actions.
        embodiments: Those of the agent's model, its own first.
        sources: Windows of the sources, which may be of other embodiments.
    """

    def __init__(
        self,
        collector: Collector,
        config: TrainConfig,
        online: OnlineConfig,
        codec: Codec,
        embodiments: EmbodimentSet,
        sources: Sequence[ReplayWindows] = (),
    ) -> None:
        super().__init__(
            collector.replay,
            config.window,
            codec,
            seed=config.seed,
            images=sees_images(config.model),
        )
        self.collector, self.online = collector, online
        self.embodiments, self.sources = embodiments, tuple(sources)
        self._replayed = config.batch_size * config.window.steps
        self._updates = 0
        env = collector.environments[0]
        self._pace = Pace(
            online,
            updates=config.steps,
            evaluate_every=config.validate_every_steps,
            episode_steps=env.horizon,
            environment_steps=collector.environment_steps,
        )

    def prepare(self, step: int, learner: Learner) -> None:
        """See `WindowSource.prepare`."""
        self._updates = step

        def agent_of(seed: int) -> Agent:
            return LatentAgent(learner.system, self.codec, seed=seed)

        before = time.monotonic()
        self.collector.until(self.online.owed(step, self._replayed), agent_of)
        self._pace.acted(time.monotonic() - before)
        self._pace.announce(step, self.collector.environment_steps, learner.device.type)

    def is_ready(self, step: int) -> bool:
        """See `WindowSource.is_ready`."""
        return self.collector.environment_steps >= self.online.owed(step, self._replayed)

    def batch(self, step: int, batch_size: int, *, rank: int = 0, world_size: int = 1) -> Batch:
        """See `WindowSource.batch`. Windows of the sources follow, each source's in turn."""
        own = super().batch(step, batch_size, rank=rank, world_size=world_size)
        parts = [in_set(own, self.embodiments, 0)]
        if self.sources and self.online.source_windows:
            of_rank = part_of_rank(self.online.source_windows, rank, world_size)
            positions = step * self.online.source_windows + of_rank
            turns = positions % len(self.sources)
            for number in np.unique(turns).tolist():
                parts.append(self._of_source(number, positions[turns == number]))
        return join_batches(parts, torch.arange(sum(map(len, parts))))

    def _of_source(self, number: int, positions: np.ndarray) -> Batch:
        """Windows of a source, as all windows of the batch are."""
        windows = self.sources[number]
        chosen = mix(positions, windows.seed) % np.uint64(windows.num_windows)
        spec = windows.replay.spec
        index = self.embodiments.index(spec, "a source is of an unknown embodiment")
        return in_set(windows.at(chosen.astype(np.int64)), self.embodiments, index)

    def state(self) -> dict[str, Any]:
        """See `WindowSource.state`."""
        return self.collector.state()

    def after_save(self) -> None:
        """Delete episodes that no resumed run draws from."""
        self.replay.delete_unused()

    def progress(self) -> dict[str, float]:
        """Environment steps, rates, the train ratio as it came out, and the last episodes'
        outcomes."""
        learned = self.collector.environment_steps - self.online.prefill_steps
        recent = self.replay.episodes[-_RECENT:]
        rates = self._rates()
        outcomes = {"collected/return": float(np.mean([each.return_ for each in recent]))}
        if self.collector.environments[0].knows_success:
            outcomes["collected/success"] = float(np.mean([each.success for each in recent]))
        return {
            "environment_steps": float(self.collector.environment_steps),
            "environment_steps_per_second": rates.environment_steps,
            "updates_per_second": rates.updates,
            "replay_ratio": (self._updates + 1) * self._replayed / max(learned, 1),
            **outcomes,
        }

    def notes(self) -> list[str]:
        """Environment steps, their pace and that of updates, the time left, the train ratio as it
        came out, and the last episodes' outcomes."""
        now, rates, success = self.progress(), self._rates(), ""
        if "collected/success" in now:
            success = f" and success {now['collected/success']:.2f}"
        return [
            f"{self.collector.environment_steps} of {self.online.environment_steps} environment "
            f"steps, {rates.environment_steps:.3g}/s",
            f"{rates.updates:.3g} updates/s",
            f"{duration(rates.seconds_left)} left",
            f"train ratio {now['replay_ratio']:.4g}",
            f"return {now['collected/return']:.4g}{success} of the last "
            f"{counted(len(self.replay.episodes[-_RECENT:]), 'episode')}",
        ]

    def _rates(self) -> Rates:
        """Rates after the step that was prepared last."""
        return self._pace.rates(self._updates + 1, self.collector.environment_steps)
