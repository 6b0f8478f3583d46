"""The network of the dynamics transformer: from observations, actions and rewards to what follows.

Dimensions: b rows, t steps, l tokens, d numbers per token, s, a and n = s + a + 1 numbers of an
observation, of an action and of a step, m predicted numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.base import TrainableModel
from manyparts.models.dynamics.configs import TOKENISERS, DynamicsTransformerConfig
from manyparts.models.dynamics.number_heads import NumberHeads, bin_waves
from manyparts.models.dynamics.single_embodiment import dimensions, require_finite
from manyparts.nn.bins import Bins
from manyparts.nn.cached_attention import CachedBlock, Past, Rotation, rotation_of
from manyparts.nn.linear import Linear
from manyparts.nn.masks import sliding_window, with_queries, without_absent
from manyparts.nn.mlp import mlp


class BinnedPrediction(NamedTuple):
    """What follows. Sequential: one number per token, m = n; parallel: m = s + 1 per step."""

    expected: Float[Tensor, "b t m"]
    """The expected numbers."""

    logits: Float[Tensor, "b t m bins"] | Float[Tensor, "b m bins"]
    """Logits of their distributions. Sequential: of all; parallel: of one step of each window."""


class StepTransformer(nn.Module, TrainableModel):
    """A transformer over steps of s + a + 1 numbers: the observation's, the action's, the reward.

    Sequential: each number is a token, attends to those before it and predicts the next one.

    Parallel: a step's observation and action together are one token, made of the numbers as they
    are, which predicts how all numbers of the observation change; one vector keeps small changes
    better than absolute values. The reward is predicted by a network of its own, r(s, a, s'), from
    the observation, the action and the observation after it; hidden features only misled it where
    rewards are rare. Both predict numbers as they are, and besides them distributions over bins.

    Policy: a query token per step, made of the observation alone, attends to all before it, is
    attended to by no other token, and predicts the action.

    Args:
        config: Sizes and choices.
        embodiments: One embodiment.
        chunk: Actions per step; must be 1.
        steps: Steps of a window, which is also how many steps a step attends to, its own included.
    """

    prompt_encoder = None
    encoder_names = ()
    trunk = ()

    def __init__(
        self,
        config: DynamicsTransformerConfig,
        embodiments: EmbodimentSet,
        *,
        chunk: int,
        steps: int,
    ):
        super().__init__()
        self.state_dimension, self.action_dimension = dimensions(
            embodiments, chunk=chunk, steps=steps
        )
        self.config, self.embodiments, self.chunk, self.steps = config, embodiments, chunk, steps
        mu, limit = TOKENISERS[config.tokeniser]
        self.bins = Bins(config.bins, mu=mu, limit=limit)
        self.reward_limit = limit  # rewards are not scaled as states are
        inputs = self.state_dimension + self.action_dimension
        # Weights are drawn in the order of these lines: moving one changes every seed's model.
        if config.decoding == "parallel":
            self.join = Linear(inputs, config.width)
        else:
            self.value_embedding = nn.Embedding(config.bins, config.width)
            self.place_embedding = nn.Embedding(inputs + 1, config.width)
            nn.init.normal_(self.place_embedding.weight, std=0.5)
            with torch.no_grad():
                self.value_embedding.weight.copy_(bin_waves(config.bins, config.width))
        self.blocks = nn.ModuleList(
            CachedBlock(config.width, config.heads, dropout=config.dropout)
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)
        if config.decoding == "parallel":
            self.changes = NumberHeads(config.width, self.state_dimension, config.bins)
            self.outcome = nn.Sequential(
                mlp([inputs + self.state_dimension, config.width, config.width]), nn.GELU()
            )
            self.reward = NumberHeads(config.width, 1, config.bins)
        else:
            self.head = Linear(config.width, config.bins)
        if config.policy:
            features = 1 if config.decoding == "parallel" else config.width  # per number
            self.glance = Linear(self.state_dimension * features, config.width)
            self.action_head = Linear(config.width, self.action_dimension)

    @property
    def tokens_per_step(self) -> int:
        """Tokens of a step, the policy's queries not counted."""
        numbers = self.state_dimension + self.action_dimension + 1
        return 1 if self.config.decoding == "parallel" else numbers

    @property
    def receptive_field(self) -> int:
        """Earlier steps that can influence a step: each layer reaches `steps` - 1 further back."""
        return self.config.layers * (self.steps - 1)

    def forward(
        self,
        values: Float[Tensor, "b t n"],
        real: Bool[Tensor, "b t"] | None = None,
        step: Int[Tensor, "b"] | None = None,
    ) -> BinnedPrediction:
        """Predict what follows.

        Sequential: at each number of a step, the number after it. Parallel: the observation's
        changes, then the reward, which is predicted from the next observation where there is one,
        else from the expected one.

        Args:
            values: The steps' numbers, see `sequence`, of any length.
            real: Steps that are not padding. None: all.
            step: Parallel: the step of each row to predict a distribution for. None: the last.
        """
        steps = self.step_indices(values)
        tokens, mask = self.embed_steps(values).flatten(1, 2), sliding_window(steps, self.steps)
        return self._prediction(self._hidden(tokens, steps, mask, real), values, real, step)

    def _prediction(
        self,
        hidden: Float[Tensor, "b l d"],
        values: Float[Tensor, "b t n"],
        real: Bool[Tensor, "b t"] | None,
        step: Int[Tensor, "b"] | None,
    ) -> BinnedPrediction:
        """Return what `forward` does, from the hidden features of its tokens."""
        b, t, _ = values.shape
        if self.config.decoding == "sequential":
            logits = self.logits_of(hidden.unflatten(1, (t, self.tokens_per_step)))
            return BinnedPrediction(self.bins.mean(logits.detach()), logits)
        hidden, observation = self.norm(hidden), values[..., : self.state_dimension]
        changes = self.changes(hidden)
        # The next observation: that of the step after, or, where there is none (the last step, or
        # before padding), the expected one.
        present = torch.ones_like(values[..., 0], dtype=torch.bool) if real is None else real
        missing = ~F.pad(present[:, 1:], (0, 1))
        following = observation.roll(-1, dims=1).clone()
        following[missing] = (observation + changes.detach())[missing]
        outcome = self.reward_features(values[..., :-1], following)
        # A layer over bins at every step would cost more than the rest: one step per row.
        one = torch.arange(b, device=hidden.device), t - 1 if step is None else step
        logits = torch.cat(
            [self.changes.logits(hidden[one]), self.reward.logits(outcome[one])], dim=1
        )
        return BinnedPrediction(torch.cat([changes, self.reward(outcome)], dim=-1), logits)

    def last(self, values: Float[Tensor, "b t n"]) -> Float[Tensor, "b m"]:
        """Return what `forward` expects after the last step, and run no head for other steps.

        This is what a step of an imagination costs without a key-value cache.
        """
        steps = self.step_indices(values)
        tokens, mask = self.embed_steps(values).flatten(1, 2), sliding_window(steps, self.steps)
        hidden = self._hidden(tokens, steps, mask, None)[:, -self.tokens_per_step :]
        if self.config.decoding == "sequential":
            return self.bins.mean(self.logits_of(hidden))
        changes, done = self.changes(self.norm(hidden[:, 0])), values[:, -1]
        outcome = self.reward_features(done[:, :-1], done[:, : self.state_dimension] + changes)
        return torch.cat([changes, self.reward(outcome)], dim=-1)

    def decide(
        self, values: Float[Tensor, "b t n"], real: Bool[Tensor, "b t"] | None = None
    ) -> Float[Tensor, "b t a"]:
        """Return the policy's action at each step, from the steps before and its observation.

        Args:
            values: See `forward`.
            real: See `forward`.
        """
        return self.actions_of(self._hidden_with_queries(values, real)[1])

    def predict_and_decide(
        self,
        values: Float[Tensor, "b t n"],
        real: Bool[Tensor, "b t"] | None = None,
        step: Int[Tensor, "b"] | None = None,
    ) -> tuple[BinnedPrediction, Float[Tensor, "b t a"]]:
        """Return what `forward` and `decide` do, in one pass. See `forward` for the arguments."""
        hidden, queries = self._hidden_with_queries(values, real)
        return self._prediction(hidden, values, real, step), self.actions_of(queries)

    def _hidden_with_queries(
        self, values: Float[Tensor, "b t n"], real: Bool[Tensor, "b t"] | None
    ) -> tuple[Float[Tensor, "b l d"], Float[Tensor, "b t d"]]:
        """Return the hidden features of the steps' tokens, and of the policy's query of each step.

        The stream is all steps' tokens, then one query per step.
        """
        t, steps = values.shape[1], self.step_indices(values)
        query_steps = torch.arange(t, device=values.device)
        # A query sees the tokens of earlier steps in the window. Its own step's observation it is
        # made of; if that has tokens of its own (sequential), it sees these as well, as they are in
        # the cache already when an imagination asks for an action.
        number = torch.arange(len(steps), device=values.device) % self.tokens_per_step
        own_observation = (
            (number < self.state_dimension)
            & (steps == query_steps[:, None])
            & (self.config.decoding == "sequential")
        )
        seen = ((steps < query_steps[:, None]) | own_observation) & (
            query_steps[:, None] - steps < self.steps
        )
        mask = with_queries(sliding_window(steps, self.steps), seen)
        tokens = self.embed_steps(values).flatten(1, 2)
        queries = self.embed_queries(values[..., : self.state_dimension])
        stream = torch.cat([tokens, queries], dim=1)
        hidden = self._hidden(stream, torch.cat([steps, query_steps]), mask, real)
        return hidden[:, : len(steps)], hidden[:, len(steps) :]

    def _hidden(
        self,
        tokens: Float[Tensor, "b l d"],
        steps: Int[Tensor, "l"],
        mask: Bool[Tensor, "l l"],
        real: Bool[Tensor, "b t"] | None,
    ) -> Float[Tensor, "b l d"]:
        """Return the hidden features of a whole stream. `steps` has the step of each token."""
        allowed = mask if real is None else without_absent(mask, real[:, steps])
        rotation = self._rotation(steps)
        for block in self.blocks:
            tokens = block(tokens, rotation, allowed)
        return tokens

    def run(
        self, x: Float[Tensor, "b l d"], steps: Int[Tensor, "l"], past: list[Past]
    ) -> Float[Tensor, "b l d"]:
        """Return the hidden features of tokens behind each layer's `past`, and add them to it."""
        # A single token sees itself and all of the past, from which old steps are forgotten.
        mask = sliding_window(steps, self.steps) if len(steps) > 1 else None
        rotation = self._rotation(steps)
        for block, layer_past in zip(self.blocks, past, strict=True):
            x = block(x, rotation, mask, layer_past)
        return x

    def sequence(
        self,
        observation: Float[Tensor, "b t s"],
        action: Float[Tensor, "b t a"],
        reward: Float[Tensor, "b t"],
    ) -> Float[Tensor, "b t n"]:
        """Return the numbers of each step in their order: observation, action, reward."""
        return torch.cat([observation, action, reward[..., None]], dim=-1)

    def require_finite(self, observation: Tensor, action: Tensor, reward: Tensor) -> None:
        """Raise UserError with the name of the first number that is not finite."""
        spec = self.embodiments.specs[0]
        require_finite(observation, "observation", spec.state_names)
        require_finite(action, "action", spec.action.names)
        require_finite(reward[..., None], "step", ["reward"])

    def step_indices(self, values: Float[Tensor, "b t n"]) -> Int[Tensor, "l"]:
        """Return the step of each token."""
        steps = torch.arange(values.shape[1], device=values.device)
        return steps.repeat_interleave(self.tokens_per_step)

    def embed_queries(self, observation: Float[Tensor, "... s"]) -> Float[Tensor, "... d"]:
        """Return the tokens by which the policy is asked."""
        if self.config.decoding == "parallel":
            return self.glance(self._clamped(observation))
        return self.glance(self._features(observation).flatten(-2))

    def actions_of(self, hidden: Float[Tensor, "... d"]) -> Float[Tensor, "... a"]:
        """Return the policy's actions from the hidden features of its queries."""
        return self.action_head(self.norm(hidden))

    def embed_steps(self, values: Float[Tensor, "... n"]) -> Float[Tensor, "... tokens d"]:
        """Return the tokens of whole steps. Parallel: the reward is no input."""
        if self.config.decoding == "parallel":
            return self.embed_step(values[..., :-1])[..., None, :]
        return self.embed_numbers(values, torch.arange(self.tokens_per_step, device=values.device))

    def embed_step(self, done: Float[Tensor, "... n"]) -> Float[Tensor, "... d"]:
        """Return the one token of an observation and an action (parallel)."""
        return self.join(self._clamped(done))

    def embed_numbers(
        self, values: Float[Tensor, "... l"], positions: Int[Tensor, "l"]
    ) -> Float[Tensor, "... l d"]:
        """Return a token per number (sequential). positions: of each number within its step."""
        return self._features(values) + self.place_embedding(positions)

    def logits_of(self, hidden: Float[Tensor, "... d"]) -> Float[Tensor, "... bins"]:
        """Return the logits of the number after each token (sequential)."""
        return self.head(self.norm(hidden))

    def reward_features(
        self, done: Float[Tensor, "... n"], following: Float[Tensor, "... s"]
    ) -> Float[Tensor, "... d"]:
        """Return what the reward is predicted from (parallel).

        Args:
            done: Observation and action.
            following: The observation after them.
        """
        return self.outcome(self._clamped(torch.cat([done, following], dim=-1)))

    def _clamped(self, values: Float[Tensor, "... n"]) -> Float[Tensor, "... n"]:
        """Return values as they are, except that those beyond all bins are set to their limit."""
        return values.clamp(-self.bins.limit, self.bins.limit)

    def _features(self, values: Float[Tensor, "... l"]) -> Float[Tensor, "... l d"]:
        """Return the embedding of each value by its bin, or, if soft, between its two bins."""
        if not self.config.soft:
            return self.value_embedding(self.bins.encode(values))
        position = self.bins.position(values).clamp(0, self.config.bins - 1)
        # nan has no bin, so any valid index serves; it stays nan by the weight of the lerp.
        low = position.nan_to_num().floor().long().clamp(max=self.config.bins - 2)
        return torch.lerp(
            self.value_embedding(low), self.value_embedding(low + 1), (position - low)[..., None]
        )

    def _rotation(self, steps: Int[Tensor, "l"]) -> Rotation:
        return rotation_of(steps, self.config.width // self.config.heads)
