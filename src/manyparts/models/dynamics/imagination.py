"""Futures that a dynamics transformer imagines: steps behind one history that all candidates
share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyparts.core.errors import UserError
from manyparts.models.dynamics.step_transformer import StepTransformer, _Numbers
from manyparts.models.dynamics.world_model import Prediction, step_by_step
from manyparts.nn.cached_attention import Past


@dataclass(frozen=True, eq=False)
class EncodedSteps:
    """A history's keys and values of every layer, computed once.

    cache: of each layer, keys and values; None before the first step. begins, ends: the steps that
    it has. observation: the present one, normalised, of shape (s,).
    """

    model: StepTransformer
    cache: list[tuple[Tensor, Tensor]] | None
    begins: int
    ends: int
    observation: Float[Tensor, "s"]

    def past(self) -> list[Past]:
        """What each layer attends to, behind which new tokens come."""
        cache = self.cache if self.cache is not None else [None] * len(self.model.blocks)
        return [Past(shared) for shared in cache]


class TransformerImagination:
    """See `Imagination`. The history's keys and values are shared by all candidates. An imagination
    may be longer than the model has places for: the window slides, as in
    `DynamicsTransformer.forward`. generator: of the numbers that it goes on with; None: their
    expectations. now: the history's end on the model's device, where it is there already."""

    def __init__(
        self,
        context: EncodedSteps,
        count: int,
        generator: torch.Generator | None = None,
        *,
        now: Int[Tensor, "1"] | None = None,
    ) -> None:
        self._model, self._past, self._generator = context.model, context.past(), generator
        self._begins, self._ends = context.begins, context.ends
        self._now = (
            torch.tensor([context.ends], device=context.observation.device) if now is None else now
        )
        self._observation = context.observation.expand(count, -1)

    @property
    def nbytes(self) -> int:
        """What the candidates' own keys and values take."""
        return sum(past.nbytes for past in self._past)

    @torch.no_grad()
    def step(self, action: Float[Tensor, "n a"]) -> Prediction:
        """See `Imagination.step`."""
        if action.shape != (len(self._observation), self._model.acted):
            wanted = (len(self._observation), self._model.acted)
            raise ValueError(f"actions have shape {tuple(action.shape)}, expected {wanted}")
        if self._model.config.decoding == "sequential":
            observation, reward = self._one_by_one(action)
        else:
            observation = self._at_once(action)
            reward = self._reward(self._observation, action, observation)
        self._go_on(observation)
        return Prediction(observation, reward)

    def imagined(self, plans: Float[Tensor, "n t a"]) -> Prediction:
        """What all steps of plans come to, as by `step`; the imagination is over then. Where
        nothing is drawn and a step's numbers are told at once, so are all rewards, in the end."""
        if self._model.config.decoding == "sequential" or self._generator is not None:
            return step_by_step(self, plans)
        with torch.inference_mode():
            seen = [self._observation]
            for action in plans.unbind(dim=1):
                seen.append(self._at_once(action))
                self._go_on(seen[-1])
            before, after = torch.stack(seen[:-1], dim=1), torch.stack(seen[1:], dim=1)
            return Prediction(after, self._reward(before, plans, after))

    @torch.no_grad()
    def policy(self) -> Float[Tensor, "n a"]:
        """See `ProposesActions.policy`. Raises UserError if the model learned none."""
        model = self._model
        if not model.config.policy:
            raise UserError(
                "this dynamics model learned no policy; one that does is `dynamics/generalist-laptop`"
            )
        self._slide(self._ends)
        hidden = model.run(model.embed_queries(self._observation[:, None]), self._now, self._past)
        for past in self._past:
            past.take_back(1)
        return model.actions_of(hidden[:, 0]).clamp(-1, 1)

    def _go_on(self, observation: Float[Tensor, "n s"]) -> None:
        self._observation, self._ends, self._now = observation, self._ends + 1, self._now + 1

    def _at_once(self, action: Float[Tensor, "n a"]) -> Float[Tensor, "n s"]:
        """The next observation."""
        model = self._model
        x = model.embed_step(torch.cat([self._observation, action], dim=-1))[:, None]
        self._slide(self._ends)
        hidden = model.norm(model.run(x, self._now, self._past)[:, 0])
        return self._observation + self._told(model.changes, hidden)

    def _reward(
        self,
        before: Float[Tensor, "n *t s"],
        action: Float[Tensor, "n *t a"],
        after: Float[Tensor, "n *t s"],
    ) -> Float[Tensor, "n *t"]:
        outcome = self._model.outcome_of(torch.cat([before, action], dim=-1), after)
        return self._told(self._model.reward, outcome)[..., 0]

    def _told(self, numbers: _Numbers, hidden: Float[Tensor, "n *t d"]) -> Float[Tensor, "n *t m"]:
        return numbers(hidden) if self._generator is None else self._next(numbers.logits(hidden))

    def _one_by_one(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """The action's tokens tell the reward, the reward's the next observation's first number,
        and so on."""
        model = self._model
        self._slide(self._ends)
        reward = self._after(action, model.observed)
        number, numbers = self._after(reward[:, None], model.tokens - 1), []
        self._slide(self._ends + 1)
        for place in range(model.observed):
            numbers.append(number)
            number = self._after(number[:, None], place, ahead=1)
        return torch.stack(numbers, dim=1), reward

    def _slide(self, step: int) -> None:
        """Forget what a step does not see."""
        for past in self._past:
            past.forget((step + 1 - self._model.steps - self._begins) * self._model.tokens)

    def _after(
        self, values: Float[Tensor, "n l"], first: int, *, ahead: int = 0
    ) -> Float[Tensor, "n"]:
        """The number after some that stand from place `first` on in the present step, or `ahead` of
        it."""
        model, places = self._model, first + torch.arange(values.shape[1], device=values.device)
        hidden = model.run(
            model.embed_numbers(values, places), (self._now + ahead).expand_as(places), self._past
        )
        return self._next(model.logits_of(hidden[:, -1]))

    def _next(self, logits: Float[Tensor, "n ... bins"]) -> Float[Tensor, "n ..."]:
        if self._generator is None:
            return self._model.expected(logits)
        return self._model.sampled(logits, self._generator)
