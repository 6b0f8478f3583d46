"""Imaginations of a dynamics transformer, which share the cache of the context they start from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyparts.core.errors import UserError
from manyparts.models.dynamics.markov_context import require_actions
from manyparts.models.dynamics.number_heads import NumberHeads
from manyparts.models.dynamics.step_transformer import StepTransformer
from manyparts.models.dynamics.world_model import Prediction, step_by_step
from manyparts.nn.cached_attention import KeysValues, Past


@dataclass(frozen=True, eq=False)
class EncodedSteps:
    """The keys and values of a context in every layer, computed once."""

    model: StepTransformer
    """The model that encoded them."""

    cache: list[KeysValues] | None
    """Keys and values (h, l, d) of each layer; None before the first token."""

    first_step: int
    """The first step in the cache. Steps are counted from the start of the episode's context."""

    end_step: int
    """The current step; its action is still to come."""

    observation: Float[Tensor, "s"]
    """The current observation, normalised."""

    def past(self) -> list[Past]:
        """Return a fresh key-value cache of each layer, which starts from the shared one."""
        if self.cache is None:
            return [Past() for _ in self.model.blocks]
        return [Past(shared) for shared in self.cache]


class TransformerImagination:
    """See `Imagination`. All candidates share the context's keys and values.

    An imagination may be longer than a window of the model: the window slides, as in
    `DynamicsTransformer.forward`.

    Args:
        context: Where the imagination starts.
        count: Number of candidates.
        generator: Source of the numbers that it goes on with. None: it goes on with expectations.
        now: The context's `end_step` as a tensor, where the caller has it on the device already.
    """

    def __init__(
        self,
        context: EncodedSteps,
        count: int,
        generator: torch.Generator | None = None,
        *,
        now: Int[Tensor, "1"] | None = None,
    ) -> None:
        self._model, self._past, self._generator = context.model, context.past(), generator
        # The current step twice: as a number for index arithmetic on the CPU, and as a tensor for
        # angles, so that no value passes from the CPU to the GPU at each step.
        self._first_step, self._step = context.first_step, context.end_step
        if now is None:
            now = torch.tensor([context.end_step], device=context.observation.device)
        self._now = now
        self._observation = context.observation.expand(count, -1)

    @property
    def nbytes(self) -> int:
        """Bytes of the candidates' own keys and values."""
        return sum(past.nbytes for past in self._past)

    @torch.no_grad()
    def step(self, action: Float[Tensor, "n a"]) -> Prediction:
        """See `Imagination.step`."""
        require_actions(action, len(self._observation), self._model.action_dimension)
        if self._model.config.decoding == "sequential":
            observation, reward = self._number_by_number(action)
        else:
            observation = self._next_observation(action)
            reward = self._reward(self._observation, action, observation)
        self._go_on(observation)
        return Prediction(observation, reward)

    def imagined(self, plans: Float[Tensor, "n t a"]) -> Prediction:
        """Return what all steps of plans come to, as by `step`; it cannot be used afterwards."""
        if self._model.config.decoding == "sequential" or self._generator is not None:
            return step_by_step(self, plans)
        # In parallel decoding no step depends on the reward before it, and without draws the order
        # of computation does not matter: all rewards are computed at once, in the end.
        with torch.inference_mode():
            observations = [self._observation]
            for action in plans.unbind(dim=1):
                observations.append(self._next_observation(action))
                self._go_on(observations[-1])
            before = torch.stack(observations[:-1], dim=1)
            after = torch.stack(observations[1:], dim=1)
            return Prediction(after, self._reward(before, plans, after))

    @torch.no_grad()
    def policy(self) -> Float[Tensor, "n a"]:
        """See `ProposesActions.policy`."""
        model = self._model
        if not model.config.policy:
            raise UserError(
                "this dynamics model learned no policy; "
                "one that does is `dynamics/generalist-laptop`"
            )
        self._slide(self._step)
        hidden = model.run(model.embed_queries(self._observation[:, None]), self._now, self._past)
        # Nothing else may attend to the query, as in training.
        for past in self._past:
            past.remove_last(1)
        return model.actions_of(hidden[:, 0]).clamp(-1, 1)

    def _go_on(self, observation: Float[Tensor, "n s"]) -> None:
        """Make the next step the current one."""
        self._observation, self._step, self._now = observation, self._step + 1, self._now + 1

    def _next_observation(self, action: Float[Tensor, "n a"]) -> Float[Tensor, "n s"]:
        """Predict the next observation in one pass (parallel)."""
        model = self._model
        # A step of a plan is one token: observation and action together.
        x = model.embed_step(torch.cat([self._observation, action], dim=-1))[:, None]
        self._slide(self._step)
        hidden = model.norm(model.run(x, self._now, self._past)[:, 0])
        return self._observation + self._numbers(model.changes, hidden)

    def _reward(
        self,
        before: Float[Tensor, "n *t s"],
        action: Float[Tensor, "n *t a"],
        after: Float[Tensor, "n *t s"],
    ) -> Float[Tensor, "n *t"]:
        """Predict the rewards of actions between observations (parallel)."""
        features = self._model.reward_features(torch.cat([before, action], dim=-1), after)
        return self._numbers(self._model.reward, features)[..., 0]

    def _numbers(
        self, heads: NumberHeads, hidden: Float[Tensor, "n *t d"]
    ) -> Float[Tensor, "n *t m"]:
        """Return the numbers that heads predict, or draw them."""
        return heads(hidden) if self._generator is None else self._choose(heads.logits(hidden))

    def _number_by_number(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """Predict the next observation and the reward, one number after the other (sequential).

        Each number is predicted at the token before it: the reward at the action's last token, the
        next observation's first number at the reward's token, and so on.
        """
        model = self._model
        self._slide(self._step)
        reward = self._number_after(action, model.state_dimension)
        number = self._number_after(reward[:, None], model.tokens_per_step - 1)
        numbers = []
        # From here on tokens belong to the next step. The last pass predicts a number of the next
        # action, which is not used, but puts the last number's token into the cache.
        self._slide(self._step + 1)
        for position in range(model.state_dimension):
            numbers.append(number)
            number = self._number_after(number[:, None], position, ahead=1)
        return torch.stack(numbers, dim=1), reward

    def _slide(self, step: int) -> None:
        """Forget the tokens that a step does not see."""
        # It sees the steps from `step + 1 - steps` on; the cache starts at `first_step`. A negative
        # count is no problem: `forget` never goes back.
        first_seen = step + 1 - self._model.steps
        for past in self._past:
            past.forget((first_seen - self._first_step) * self._model.tokens_per_step)

    def _number_after(
        self, values: Float[Tensor, "n l"], first: int, *, ahead: int = 0
    ) -> Float[Tensor, "n"]:
        """Return the number after some (sequential).

        Args:
            values: Numbers that follow each other.
            first: Position of the first of them within its step.
            ahead: Whether they belong to the current step, 0, or to the next one, 1.
        """
        model, positions = self._model, first + torch.arange(values.shape[1], device=values.device)
        steps = (self._now + ahead).expand_as(positions)
        hidden = model.run(model.embed_numbers(values, positions), steps, self._past)
        return self._choose(model.logits_of(hidden[:, -1]))

    def _choose(self, logits: Float[Tensor, "n ... bins"]) -> Float[Tensor, "n ..."]:
        """Return the expectation of a distribution, or a draw from it."""
        if self._generator is None:
            return self._model.bins.mean(logits)
        return self._model.bins.sample(logits, self._generator)
