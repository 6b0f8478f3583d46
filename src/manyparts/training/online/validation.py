"""Episodes on validation starts, by which an online run is watched, and the best weights so far."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from manyparts.agents.latent import LatentAgent
from manyparts.core.errors import UserError
from manyparts.core.randomness import derive_seed
from manyparts.embodiment.codec import Codec
from manyparts.envs.base import Environment
from manyparts.models.checkpoint import (
    CheckpointInfo,
    fresh_checkpoint,
    load_info,
    write_checkpoint,
)
from manyparts.models.run_files import BEST, CHECKPOINTS, is_whole
from manyparts.objectives.system import System
from manyparts.rollout.loop import EpisodeResult, Step, rollout
from manyparts.training.update import Learner


class BestCheckpoint:
    """Keeps the weights of the best validation in checkpoints/best: the highest success, and among
    equal ones, or where success is unknown, the highest return.

    Args:
        run: The run's folder.
        info: The description that checkpoints carry.
        environment_steps: How many environment steps the run has taken. A best checkpoint of later
            steps, left by a run that was killed, is removed.

    Attributes:
        outcome: Environment steps, success and return of the best validation; empty before it.
    """

    def __init__(
        self, run: Path, info: CheckpointInfo, environment_steps: Callable[[], int]
    ) -> None:
        self._folder, self._info = run / CHECKPOINTS / BEST, info
        self._environment_steps = environment_steps
        self.outcome = best_outcome(run)
        if self.outcome.get("environment_steps", 0) > environment_steps():
            shutil.rmtree(self._folder)
            self.outcome = {}

    def offer(self, system: nn.Module, *, success: float | None, return_: float) -> None:
        """Write the weights, if they did better than all before."""
        best = self.outcome
        if best and (success or 0.0, return_) <= (best.get("success", 0.0), best["return"]):
            return
        known = {} if success is None else {"success": success}
        steps = float(self._environment_steps())
        self.outcome = {"environment_steps": steps, **known, "return": return_}
        provenance = {**self._info.provenance, "validation": self.outcome}
        with fresh_checkpoint(self._folder) as temporary:
            info = replace(self._info, provenance=provenance)
            write_checkpoint(temporary, system.state_dict(), info)


def best_outcome(run: Path) -> Mapping[str, Any]:
    """Environment steps, success and return of a run's best validation; empty without one.

    Args:
        run: The run's folder.
    """
    folder = run / CHECKPOINTS / BEST
    return load_info(folder).provenance["validation"] if is_whole(folder) else {}


class ValidationEpisodes:
    """Episodes of an environment of its own, on the same starts each time.

    Args:
        env: The environment, with the validation split's goals.
        codec: Normalises states and actions.
        episodes: How many.
        seed: That the episodes' seeds are derived from.
        best: Keeps the best weights.
    """

    def __init__(
        self,
        env: Environment,
        codec: Codec,
        *,
        episodes: int,
        seed: int,
        best: BestCheckpoint,
    ) -> None:
        self.env, self.codec, self.best = env, codec, best
        self.seeds = [
            derive_seed("validation episodes", seed, number) for number in range(episodes)
        ]

    def measure(self, learner: Learner) -> dict[str, float]:
        """Outcomes of the agent without exploration, and what it expected of them.

        The weights are those that a checkpoint holds, and so are those of the best one. A critic's
        value at the first step that is far above the discounted return that came shows an agent
        that exploits its model.
        """
        with learner.averaged():
            return self._measured(learner.system)

    def _measured(self, system: System) -> dict[str, float]:
        agent = LatentAgent(system, self.codec)
        played = [self._play(agent, seed) for seed in self.seeds]
        results = [result for result, _, _ in played]
        success = None
        if self.env.knows_success:
            success = float(np.mean([bool(each.success_any) for each in results]))
        return_ = float(np.mean([each.return_ for each in results]))
        self.best.offer(system, success=success, return_=return_)
        known = {} if success is None else {"validation/success": success}
        return {
            **known,
            "validation/return": return_,
            "validation/length": float(np.mean([each.length for each in results])),
            "validation/expected_return": float(np.mean([value for _, value, _ in played])),
            "validation/discounted_return": float(np.mean([total for _, _, total in played])),
        }

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def _play(self, agent: LatentAgent, seed: int) -> tuple[EpisodeResult, float, float]:
        """Play one episode. Returns its outcome, the value of its first state, and the discounted
        return."""
        steps: list[Step] = []
        try:
            result = rollout(
                self.env, agent, seed=seed, prompt=None, explore=False, on_step=steps.append
            )
        except UserError:
            raise
        except Exception as error:  # whatever a simulator raises
            raise UserError(
                f"{self.env.task} failed at step {len(steps)} of a validation episode: "
                f"{type(error).__name__}: {error}"
            ) from error
        rewards = np.array([step.reward for step in steps])
        total = float((agent.discount ** np.arange(len(rewards)) * rewards).sum())
        return result, agent.value(steps[0].carry), total
