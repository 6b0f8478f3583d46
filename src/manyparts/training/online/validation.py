"""Episodes on validation starts, by which an online run is watched."""

from __future__ import annotations

import numpy as np

from manyparts.agents.latent import LatentAgent
from manyparts.core.errors import UserError
from manyparts.core.randomness import derive_seed
from manyparts.embodiment.codec import Codec
from manyparts.envs.base import Environment
from manyparts.rollout.loop import EpisodeResult, Step, rollout
from manyparts.training.update import Learner


class ValidationEpisodes:
    """Episodes of an environment of its own, on the same starts each time.

    Args:
        env: The environment, with the validation split's goals.
        codec: Normalises states and actions.
        episodes: How many.
        seed: That the episodes' seeds are derived from.
    """

    def __init__(self, env: Environment, codec: Codec, *, episodes: int, seed: int) -> None:
        self.env, self.codec = env, codec
        self.seeds = [
            derive_seed("validation episodes", seed, number) for number in range(episodes)
        ]

    def measure(self, learner: Learner) -> dict[str, float]:
        """Outcomes of the agent at its best, and what it expected of them.

        A critic's value at the first step that is far above the discounted return that came shows
        an agent that exploits its model.
        """
        agent = LatentAgent(learner.system, self.codec)
        played = [self._play(agent, seed) for seed in self.seeds]
        results = [result for result, _, _ in played]
        return {
            "validation/success": float(np.mean([each.success_any for each in results])),
            "validation/return": float(np.mean([each.return_ for each in results])),
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
