"""What a dynamics transformer has seen so far, encoded once: its context."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyparts.models.dynamics.imagination import EncodedSteps, TransformerImagination
from manyparts.models.dynamics.plan_graph import plan_graph
from manyparts.models.dynamics.world_model import Prediction


class TransformerContext(EncodedSteps):
    """See `Context`."""

    def imagine(
        self, count: int, generator: torch.Generator | None = None
    ) -> TransformerImagination:
        """See `Context.imagine`. Without a generator a model that samples draws from one of seed
        0."""
        if self.model.config.next == "expectation":
            return TransformerImagination(self, count)
        return TransformerImagination(
            self, count, generator or torch.Generator(self.observation.device).manual_seed(0)
        )

    def imagined(
        self, plans: Float[Tensor, "n t a"], generator: torch.Generator | None = None
    ) -> Prediction:
        """See `ImaginesInParallel.imagined`. A GPU replays the whole as one graph, once the context
        is as long as it gets."""
        full = self.ends - self.begins == self.model.steps - 1
        if plans.is_cuda and full and self.model.config.next == "expectation":
            return plan_graph(self, plans).imagined(self, plans)
        return self.imagine(len(plans), generator).imagined(plans)

    @torch.no_grad()
    def extended(
        self, action: Float[Tensor, "a"], reward: Float[Tensor, ""], observation: Float[Tensor, "s"]
    ) -> TransformerContext:
        """See `Context.extended`. Nothing that is known is encoded again. Raises UserError for what
        is not finite."""
        self.model.require_finite(observation, action, reward)
        model, sequential = self.model, self.model.config.decoding == "sequential"
        done = model.sequence(
            self.observation[None, None], action[None, None], reward.reshape(1, 1)
        )
        new = slice(
            model.observed if sequential else 0, None
        )  # the present observation's tokens are there already
        told = self.with_tokens(
            model.embed_steps(done).flatten(1, 2)[:, new], model.step_indices(done)[new] + self.ends
        )
        moved = TransformerContext(
            model, told.cache, self.begins, self.ends + 1, observation
        ).bounded()
        return moved.with_observation() if sequential else moved

    def with_observation(self) -> TransformerContext:
        """With the tokens of its present observation, which are there before the action."""
        places = torch.arange(self.model.observed, device=self.observation.device)
        return self.with_tokens(
            self.model.embed_numbers(self.observation[None], places),
            torch.full_like(places, self.ends),
        )

    def with_tokens(self, x: Float[Tensor, "1 l d"], steps: Int[Tensor, "l"]) -> TransformerContext:
        """With more tokens."""
        model, past = self.model, self.past()
        model.run(x, steps, past)
        new = [(key[:, 0], value[:, 0]) for key, value in (each.own for each in past)]
        if self.cache is not None:
            new = [
                (torch.cat([old[0], key], dim=1), torch.cat([old[1], value], dim=1))
                for old, (key, value) in zip(self.cache, new, strict=True)
            ]
        return TransformerContext(model, new, self.begins, self.ends, self.observation)

    def bounded(self) -> TransformerContext:
        """Without the oldest steps, where there are more than the model has places for."""
        gone = (self.ends - self.begins) - (self.model.steps - 1)
        if gone <= 0 or self.cache is None:
            return self
        cut = gone * self.model.tokens
        cache = [(key[:, cut:], value[:, cut:]) for key, value in self.cache]
        return TransformerContext(
            self.model, cache, self.begins + gone, self.ends, self.observation
        )
