"""The network of the dynamics transformer: numbers of observations, actions and rewards to what
comes next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from manyparts.core.errors import UserError
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.dynamics.single_embodiment import dimensions, require_finite
from manyparts.nn.bins import Bins
from manyparts.nn.cached_attention import CachedBlock, Past, Turns, turns_of
from manyparts.nn.mlp import mlp

Decoding = Literal["parallel", "sequential"]
Next = Literal["expectation", "sample"]
_BINS = {
    "mu-law": (100.0, 256.0),
    "uniform": (0.0, 5.0),
}  # mu, and the largest value: Gato's, and five stds


@dataclass(frozen=True)
class DynamicsTransformerConfig:
    """decoding: "sequential" predicts one number after the other, as the paper does; "parallel" all
    numbers of a step at once, in one pass. tokeniser: "mu-law" (Gato's) or "uniform", of values in
    standard deviation. soft: values between two bins count for both, in what goes in (sequential)
    and in targets. policy: whether it learns what to do, too.

    next: an imagination goes on with the "expectation" of what is predicted, or with a "sample" of
    it. No weight depends on it."""

    width: int = 128
    layers: int = 4
    heads: int = 4
    dropout: float = 0.0
    decoding: Decoding = "parallel"
    tokeniser: Literal["mu-law", "uniform"] = "mu-law"
    bins: int = 1024
    soft: bool = True
    policy: bool = False
    next: Next = "expectation"

    def __post_init__(self) -> None:
        for name, known in (
            ("decoding", ("parallel", "sequential")),
            ("tokeniser", tuple(_BINS)),
            ("next", ("expectation", "sample")),
        ):
            if getattr(self, name) not in known:
                raise UserError(
                    f"model.{name} is {getattr(self, name)!r}; choices: {', '.join(known)}"
                )
        for name, least in (("width", 1), ("layers", 1), ("heads", 1), ("bins", 8)):
            if getattr(self, name) < least:
                raise UserError(f"model.{name} is {getattr(self, name)}; expected at least {least}")
        if not 0 <= self.dropout < 1:
            raise UserError(f"model.dropout is {self.dropout}; expected at least 0 and less than 1")
        if self.width % (2 * self.heads):
            raise UserError(
                f"model.width {self.width} is not a multiple of twice model.heads, {self.heads}"
            )


class BinnedPrediction(NamedTuple):
    """What comes next. expected: the numbers; logits: of their distribution over bins. Sequential:
    of every number; parallel: of those of one step of each window."""

    expected: Float[Tensor, "b t m"]
    logits: Float[Tensor, "b t m bins"] | Float[Tensor, "b m bins"]


class _Numbers(nn.Module):
    """Linear heads of numbers that are told at once: what is expected, and from features that it
    does not shape, their distribution over bins."""

    def __init__(self, width: int, count: int, bins: int):
        super().__init__()
        self.expected = nn.Linear(width, count)
        self.bins = nn.Linear(width, count * bins)

    def forward(self, hidden: Float[Tensor, "... d"]) -> Float[Tensor, "... m"]:
        return self.expected(hidden)

    def logits(self, hidden: Float[Tensor, "... d"]) -> Float[Tensor, "... m bins"]:
        return self.bins(hidden.detach()).unflatten(-1, (self.expected.out_features, -1))


class StepTransformer(nn.Module):
    """A step has s + a + 1 numbers: the observation's, the action's, the reward.

    Sequential: each number is a token, attends to those before it and predicts the next one.
    Parallel: a step's observation and action together are one token, made of the numbers as they
    are, which predicts how all numbers of the observation change: one vector keeps small changes
    better than where each number stands. A network of its own tells the reward from what was there,
    what was done and what came of it, r(s, a, s'): what the transformer has in mind beside these
    only led it astray where rewards are rare. Numbers are told as they are, and beside them how
    likely others were, over bins.

    A policy asks once more at each step: a token of the observation alone, which sees all before it
    and is seen by no other, tells the action.

    embodiments: one embodiment; steps: of a window, and that a step sees.
    """

    prompt_encoder = None
    encoder_names = ()

    def __init__(
        self,
        config: DynamicsTransformerConfig,
        embodiments: EmbodimentSet,
        *,
        chunk: int,
        steps: int,
    ):
        super().__init__()
        self.observed, self.acted = dimensions(embodiments, chunk=chunk, steps=steps)
        self.config, self.embodiments, self.chunk, self.steps = config, embodiments, chunk, steps
        mu, limit = _BINS[config.tokeniser]
        self.bins = Bins(config.bins, mu=mu, limit=limit)
        told = self.observed + self.acted
        if config.decoding == "parallel":
            self.join = nn.Linear(told, config.width)
        else:
            self.value_embedding = nn.Embedding(config.bins, config.width)
            self.place_embedding = nn.Embedding(told + 1, config.width)
            nn.init.normal_(self.place_embedding.weight, std=0.5)
            with torch.no_grad():
                self.value_embedding.weight.copy_(_waves(config.bins, config.width))
        self.blocks = nn.ModuleList(
            CachedBlock(config.width, config.heads, dropout=config.dropout)
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)
        if config.decoding == "parallel":
            self.changes = _Numbers(config.width, self.observed, config.bins)
            self.outcome = nn.Sequential(
                mlp([told + self.observed, config.width, config.width]), nn.GELU()
            )
            self.reward = _Numbers(config.width, 1, config.bins)
        else:
            self.head = nn.Linear(config.width, config.bins)
        if config.policy:
            seen = self.observed * (1 if config.decoding == "parallel" else config.width)
            self.glance = nn.Linear(seen, config.width)
            self.action_head = nn.Linear(config.width, self.acted)

    @property
    def tokens(self) -> int:
        """Of a step."""
        return 1 if self.config.decoding == "parallel" else self.observed + self.acted + 1

    @property
    def reward_limit(self) -> float:
        """The largest reward that bins tell apart, of either sign: rewards are not scaled as states
        are."""
        return self.bins.limit

    @property
    def reach(self) -> int:
        """Steps before a step that it may know of: in every layer it sees what those before it
        saw."""
        return self.config.layers * (self.steps - 1)

    def load_pretrained(self) -> tuple[str, ...]:
        """There are no weights to begin with."""
        return ()

    def forward(
        self,
        values: Float[Tensor, "b t n"],
        real: Bool[Tensor, "b t"] | None = None,
        step: Int[Tensor, "b"] | None = None,
    ) -> BinnedPrediction:
        """What comes next. Sequential: at each number of a step, the one after it. Parallel: the
        observation's changes, and the reward, told from the next observation where there is one,
        else from the expected one. values: `sequence`'s, of any length: a step sees as many as the
        model has places for, itself included. real: steps that there are; None: all. step:
        parallel, whose distribution is told; None: the last one's."""
        steps = self.step_indices(values)
        x = self._attended(
            self.embed_steps(values).flatten(1, 2), steps, self._earlier(steps), real
        )
        return self._follows(x, values, real, step)

    def _follows(
        self,
        x: Float[Tensor, "b l d"],
        values: Float[Tensor, "b t n"],
        real: Bool[Tensor, "b t"] | None,
        step: Int[Tensor, "b"] | None,
    ) -> BinnedPrediction:
        """See `forward`. x: what the model has in mind at each token."""
        b, t, _ = values.shape
        if self.config.decoding == "sequential":
            logits = self.logits_of(x.unflatten(1, (t, self.tokens)))
            return BinnedPrediction(self.expected(logits.detach()), logits)
        x, observation = self.norm(x), values[..., : self.observed]
        changes = self.changes(x)
        seen = torch.ones_like(values[..., 0], dtype=torch.bool) if real is None else real
        unknown = ~F.pad(seen[:, 1:], (0, 1))
        came = observation.roll(-1, dims=1).clone()
        came[unknown] = (observation + changes.detach())[unknown]
        outcome = self.outcome_of(values[..., :-1], came)
        one = torch.arange(b, device=x.device), t - 1 if step is None else step
        logits = torch.cat([self.changes.logits(x[one]), self.reward.logits(outcome[one])], dim=1)
        return BinnedPrediction(torch.cat([changes, self.reward(outcome)], dim=-1), logits)

    def last(self, values: Float[Tensor, "b t n"]) -> Float[Tensor, "b m"]:
        """What `forward` expects after the last step, and no head's of another one: a step of an
        imagination for which nothing was kept."""
        steps = self.step_indices(values)
        x = self._attended(
            self.embed_steps(values).flatten(1, 2), steps, self._earlier(steps), None
        )[:, -self.tokens :]
        if self.config.decoding == "sequential":
            return self.expected(self.logits_of(x))
        changes, done = self.changes(self.norm(x[:, 0])), values[:, -1]
        outcome = self.outcome_of(done[:, :-1], done[:, : self.observed] + changes)
        return torch.cat([changes, self.reward(outcome)], dim=-1)

    def decide(
        self, values: Float[Tensor, "b t n"], real: Bool[Tensor, "b t"] | None = None
    ) -> Float[Tensor, "b t a"]:
        """The action at each step, from the steps before it and its own observation. As `forward`,
        for models with a policy."""
        return self.actions_of(self._thought(values, real)[1])

    def both(
        self,
        values: Float[Tensor, "b t n"],
        real: Bool[Tensor, "b t"] | None = None,
        step: Int[Tensor, "b"] | None = None,
    ) -> tuple[BinnedPrediction, Float[Tensor, "b t a"]]:
        """What `forward` and `decide` tell, in one pass."""
        x, asked = self._thought(values, real)
        return self._follows(x, values, real, step), self.actions_of(asked)

    def _thought(
        self, values: Float[Tensor, "b t n"], real: Bool[Tensor, "b t"] | None
    ) -> tuple[Float[Tensor, "b l d"], Float[Tensor, "b t d"]]:
        """What the model has in mind at each token of a step, and where it asks what to do."""
        t, told = values.shape[1], self.step_indices(values)
        asking = torch.arange(t, device=values.device)
        number = torch.arange(len(told), device=values.device) % self.tokens
        observed = (
            (number < self.observed)
            & (told == asking[:, None])
            & (self.config.decoding == "sequential")
        )
        seen = ((told < asking[:, None]) | observed) & (asking[:, None] - told < self.steps)
        alone = torch.eye(t, dtype=torch.bool, device=values.device)
        mask = torch.cat(
            [
                torch.cat([self._earlier(told), seen]),
                torch.cat([alone.new_zeros(len(told), t), alone]),
            ],
            1,
        )
        x = torch.cat(
            [
                self.embed_steps(values).flatten(1, 2),
                self.embed_queries(values[..., : self.observed]),
            ],
            dim=1,
        )
        x = self._attended(x, torch.cat([told, asking]), mask, real)
        return x[:, : len(told)], x[:, len(told) :]

    def sequence(
        self,
        observation: Float[Tensor, "b t s"],
        action: Float[Tensor, "b t a"],
        reward: Float[Tensor, "b t"],
    ) -> Float[Tensor, "b t n"]:
        """The numbers of each step in their order."""
        return torch.cat([observation, action, reward[..., None]], dim=-1)

    def expected(self, logits: Float[Tensor, "... bins"]) -> Float[Tensor, "..."]:
        """The mean of a predicted distribution."""
        return logits.float().softmax(dim=-1) @ self.bins.centres

    def sampled(
        self, logits: Float[Tensor, "n ... bins"], generator: torch.Generator
    ) -> Float[Tensor, "n ..."]:
        """Centres of bins that are drawn from predicted distributions, for all n rows by the same
        random numbers. nan where the distribution is not finite."""
        below = logits.float().softmax(dim=-1).cumsum(dim=-1)
        uniform = torch.rand(logits.shape[1:-1], generator=generator, device=generator.device).to(
            logits.device
        )
        whole = below[..., -1]
        index = (below <= (uniform * whole)[..., None]).sum(dim=-1).clamp(max=self.config.bins - 1)
        return self.bins.decode(index).where(whole.isfinite(), torch.nan)

    def require_finite(self, observation: Tensor, action: Tensor, reward: Tensor) -> None:
        body = self.embodiments.specs[0]
        require_finite(observation, "observation", body.state_names)
        require_finite(action, "action", body.action.names)
        require_finite(reward[..., None], "step", ["reward"])

    def step_indices(self, values: Float[Tensor, "b t n"]) -> Int[Tensor, "l"]:
        """The step of each token."""
        return torch.arange(values.shape[1], device=values.device).repeat_interleave(self.tokens)

    def _earlier(self, steps: Int[Tensor, "l"]) -> Bool[Tensor, "l l"]:
        """Each token sees those before it in as many steps as the model has places for."""
        return _causal(len(steps), steps.device) & (steps[:, None] - steps < self.steps)

    def _attended(
        self,
        x: Float[Tensor, "b l d"],
        steps: Int[Tensor, "l"],
        mask: Bool[Tensor, "l l"],
        real: Bool[Tensor, "b t"] | None,
    ) -> Float[Tensor, "b l d"]:
        if real is not None:
            mask = mask & real[:, steps][:, None, None, :] | torch.eye(
                len(steps), dtype=torch.bool, device=x.device
            )
        turns = self._turns(steps)
        for block in self.blocks:
            x = block(x, turns, mask)
        return x

    def embed_queries(self, observation: Float[Tensor, "... s"]) -> Float[Tensor, "... d"]:
        """Tokens that ask what to do."""
        if self.config.decoding == "parallel":
            return self.glance(self._bounded(observation))
        return self.glance(self._features(observation).flatten(-2))

    def actions_of(self, hidden: Float[Tensor, "... d"]) -> Float[Tensor, "... a"]:
        return self.action_head(self.norm(hidden))

    def embed_steps(self, values: Float[Tensor, "... n"]) -> Float[Tensor, "... tokens d"]:
        """The tokens of whole steps. Where all is predicted at once, the reward is not told."""
        if self.config.decoding == "parallel":
            return self.embed_step(values[..., :-1])[..., None, :]
        return self.embed_numbers(values, torch.arange(self.tokens, device=values.device))

    def embed_step(self, done: Float[Tensor, "... n"]) -> Float[Tensor, "... d"]:
        """Parallel: the token of an observation and an action."""
        return self.join(self._bounded(done))

    def _bounded(self, values: Float[Tensor, "... n"]) -> Float[Tensor, "... n"]:
        """Numbers as they are, but for those that lie beyond all bins."""
        return values.clamp(-self.bins.limit, self.bins.limit)

    def embed_numbers(
        self, values: Float[Tensor, "... l"], places: Int[Tensor, "l"]
    ) -> Float[Tensor, "... l d"]:
        """Tokens of single numbers. places: which of a step's each is."""
        return self._features(values) + self.place_embedding(places)

    def _features(self, values: Float[Tensor, "... l"]) -> Float[Tensor, "... l d"]:
        if not self.config.soft:
            return self.value_embedding(self.bins.encode(values))
        position = self.bins.position(values).clamp(
            0, self.config.bins - 1
        )  # nan stays, in what is told of it, too
        low = position.nan_to_num().floor().long().clamp(max=self.config.bins - 2)
        return torch.lerp(
            self.value_embedding(low), self.value_embedding(low + 1), (position - low)[..., None]
        )

    def run(
        self, x: Float[Tensor, "b l d"], steps: Int[Tensor, "l"], past: list[Past]
    ) -> Float[Tensor, "b l d"]:
        """Hidden features of tokens behind `past`, to which they are added."""
        mask, turns = self._earlier(steps) if len(steps) > 1 else None, self._turns(steps)
        for block, before in zip(self.blocks, past, strict=True):
            x = block(x, turns, mask, before)
        return x

    def _turns(self, steps: Int[Tensor, "l"]) -> Turns:
        return turns_of(steps, self.config.width // self.config.heads)

    def logits_of(self, hidden: Float[Tensor, "... d"]) -> Float[Tensor, "... bins"]:
        """Sequential."""
        return self.head(self.norm(hidden))

    def outcome_of(
        self, done: Float[Tensor, "... n"], came: Float[Tensor, "... s"]
    ) -> Float[Tensor, "... d"]:
        """What tells the reward. done: observation and action; came: the observation after them."""
        return self.outcome(self._bounded(torch.cat([done, came], dim=-1)))


def _waves(count: int, width: int) -> Float[Tensor, "n d"]:
    """Sines and cosines of a bin's place, of half a wave to 32 waves: neighbours begin alike, so
    that what is learned of one bin is known of the next."""
    waves = 0.5 * 64 ** torch.linspace(0, 1, width // 2)
    angles = 2 * torch.pi * torch.arange(count)[:, None] / count * waves
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _causal(length: int, device: torch.device) -> Bool[Tensor, "l l"]:
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()
