"""The context of a dynamics transformer: what it has seen so far, encoded once."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyparts.models.dynamics.imagination import EncodedSteps, TransformerImagination
from manyparts.models.dynamics.plan_graph import plan_graph
from manyparts.models.dynamics.world_model import Prediction


class TransformerContext(EncodedSteps):
    """See `Context`.

    Parallel: the cache holds the tokens of all steps before the current one. Sequential: it also
    holds the tokens of the current observation, which come before the action.
    """

    def imagine(
        self, count: int, generator: torch.Generator | None = None
    ) -> TransformerImagination:
        """See `Context.imagine`. A model that samples uses seed 0 without a generator."""
        if self.model.config.next == "expectation":
            return TransformerImagination(self, count)
        return TransformerImagination(
            self, count, generator or torch.Generator(self.observation.device).manual_seed(0)
        )

    def imagined(
        self, plans: Float[Tensor, "n t a"], generator: torch.Generator | None = None
    ) -> Prediction:
        """See `ImaginesInParallel.imagined`. A GPU replays one graph for the whole."""
        # Only for full contexts: a graph serves one length, and each recording costs seconds.
        full = self.end_step - self.first_step == self.model.steps - 1
        if plans.is_cuda and full and self.model.config.next == "expectation":
            return plan_graph(self, plans).imagined(self, plans)
        return self.imagine(len(plans), generator).imagined(plans)

    @torch.no_grad()
    def extended(
        self, action: Float[Tensor, "a"], reward: Float[Tensor, ""], observation: Float[Tensor, "s"]
    ) -> TransformerContext:
        """See `Context.extended`. Nothing that is in the cache is encoded again.

        Raises:
            UserError: A number is not finite.
        """
        self.model.require_finite(observation, action, reward)
        model, sequential = self.model, self.model.config.decoding == "sequential"
        done = model.sequence(
            self.observation[None, None], action[None, None], reward.reshape(1, 1)
        )
        # Sequential: the current observation's tokens are in the cache already, so only those of
        # the action and the reward are new. `step_indices` counts from 0, hence + end_step.
        new = slice(model.state_dimension if sequential else 0, None)
        tokens = model.embed_steps(done).flatten(1, 2)[:, new]
        longer = self.with_tokens(tokens, model.step_indices(done)[new] + self.end_step)
        context = TransformerContext(
            model, longer.cache, self.first_step, self.end_step + 1, observation
        ).bounded()
        return context.with_observation() if sequential else context

    def with_observation(self) -> TransformerContext:
        """Return the context with the tokens of its current observation (sequential)."""
        positions = torch.arange(self.model.state_dimension, device=self.observation.device)
        return self.with_tokens(
            self.model.embed_numbers(self.observation[None], positions),
            torch.full_like(positions, self.end_step),
        )

    def with_tokens(self, x: Float[Tensor, "1 l d"], steps: Int[Tensor, "l"]) -> TransformerContext:
        """Return the context with more tokens.

        Args:
            x: The tokens, embedded.
            steps: The step of each token, counted as `end_step`.
        """
        model, past = self.model, self.past()
        model.run(x, steps, past)
        # There is one row; its own keys and values become shared ones: (h, 1, l, d) to (h, l, d).
        new = [(key[:, 0], value[:, 0]) for key, value in (each.own for each in past)]
        if self.cache is not None:
            new = [
                (torch.cat([old[0], key], dim=1), torch.cat([old[1], value], dim=1))
                for old, (key, value) in zip(self.cache, new, strict=True)
            ]
        return TransformerContext(model, new, self.first_step, self.end_step, self.observation)

    def bounded(self) -> TransformerContext:
        """Return the context without the oldest steps, where there are more than a window has."""
        # A window holds the current step as well, so the cache keeps one step less.
        excess = (self.end_step - self.first_step) - (self.model.steps - 1)
        if excess <= 0 or self.cache is None:
            return self
        cut = excess * self.model.tokens_per_step
        cache = [(key[:, cut:], value[:, cut:]) for key, value in self.cache]
        return TransformerContext(
            self.model, cache, self.first_step + excess, self.end_step, self.observation
        )
