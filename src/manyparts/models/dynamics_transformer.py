"""A transformer over the numbers of observations, actions and rewards that predicts what comes next (Schubert et al.
2023, "A Generalist Dynamics Model for Control", arXiv 2305.10912)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from manyparts.data.embodiments import JointSpec
from manyparts.models.one_body import dimensions, require_finite
from manyparts.models.plan_graph import plan_graph
from manyparts.models.world_model import Prediction, step_by_step
from manyparts.nn.bins import Bins
from manyparts.nn.cached_attention import CachedBlock, Past, Turns, turns_of
from manyparts.nn.mlp import mlp
from manyparts.types import UserError

Decoding = Literal["parallel", "sequential"]
Next = Literal["expectation", "sample"]
_BINS = {"mu-law": (100.0, 256.0), "uniform": (0.0, 5.0)}  # mu, and the largest value: Gato's, and five deviations


@dataclass(frozen=True)
class DynamicsTransformerConfig:
    """decoding: "sequential" predicts one number after the other, as the paper does; "parallel" all numbers of a step
    at once, in one pass. tokeniser: "mu-law" (Gato's) or "uniform", of values in standard deviations. soft: values
    between two bins count for both, in what goes in (sequential) and in targets. policy: whether it learns what to do,
    too.

    next: an imagination goes on with the "expectation" of what is predicted, or with a "sample" of it. No weight
    depends on it."""

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
                raise UserError(f"model.{name} is {getattr(self, name)!r}; choices: {', '.join(known)}")
        for name, least in (("width", 1), ("layers", 1), ("heads", 1), ("bins", 8)):
            if getattr(self, name) < least:
                raise UserError(f"model.{name} is {getattr(self, name)}; expected at least {least}")
        if not 0 <= self.dropout < 1:
            raise UserError(f"model.dropout is {self.dropout}; expected at least 0 and less than 1")
        if self.width % (2 * self.heads):
            raise UserError(f"model.width {self.width} is not a multiple of twice model.heads, {self.heads}")


class BinnedPrediction(NamedTuple):
    """What comes next. expected: the numbers; logits: of their distribution over bins. Sequential: of every number;
    parallel: of those of one step of each window."""

    expected: Float[Tensor, "b t m"]
    logits: Float[Tensor, "b t m bins"] | Float[Tensor, "b m bins"]


class _Numbers(nn.Module):
    """Linear heads of numbers that are told at once: what is expected, and from features that it does not shape, their
    distribution over bins."""

    def __init__(self, width: int, count: int, bins: int):
        super().__init__()
        self.expected = nn.Linear(width, count)
        self.bins = nn.Linear(width, count * bins)

    def forward(self, hidden: Float[Tensor, "... d"]) -> Float[Tensor, "... m"]:
        return self.expected(hidden)

    def logits(self, hidden: Float[Tensor, "... d"]) -> Float[Tensor, "... m bins"]:
        return self.bins(hidden.detach()).unflatten(-1, (self.expected.out_features, -1))


class DynamicsTransformer(nn.Module):
    """See the module. A step has s + a + 1 numbers: the observation's, the action's, the reward.

    Sequential: each number is a token, attends to those before it and predicts the next one. Parallel: a step's
    observation and action together are one token, made of the numbers as they are, which predicts how all numbers of
    the observation change: one vector keeps small changes better than where each number stands. A network of its own
    tells the reward from what was there, what was done and what came of it, r(s, a, s'): what the transformer has in
    mind beside these only led it astray where rewards are rare. Numbers are told as they are, and beside them how
    likely others were, over bins.

    A policy asks once more at each step: a token of the observation alone, which sees all before it and is seen by no
    other, tells the action.

    joint: one embodiment; steps: of a window, and that a step sees.
    """

    prompt_encoder = None
    encoder_names = ()

    def __init__(self, config: DynamicsTransformerConfig, joint: JointSpec, *, chunk: int, steps: int):
        super().__init__()
        self.observed, self.acted = dimensions(joint, chunk=chunk, steps=steps)
        self.config, self.joint, self.chunk, self.steps = config, joint, chunk, steps
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
            CachedBlock(config.width, config.heads, dropout=config.dropout) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)
        if config.decoding == "parallel":
            self.changes = _Numbers(config.width, self.observed, config.bins)
            self.outcome = nn.Sequential(mlp([told + self.observed, config.width, config.width]), nn.GELU())
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
        """The largest reward that bins tell apart, of either sign: rewards are not scaled as states are."""
        return self.bins.limit

    @property
    def reach(self) -> int:
        """Steps before a step that it may know of: in every layer it sees what those before it saw."""
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
        """What comes next. Sequential: at each number of a step, the one after it. Parallel: the observation's changes,
        and the reward, told from the next observation where there is one, else from the expected one. values:
        `sequence`'s, of any length: a step sees as many as the model has places for, itself included. real: steps that
        there are; None: all. step: parallel, whose distribution is told; None: the last one's."""
        steps = self._places(values)
        x = self._attended(self._steps(values).flatten(1, 2), steps, self._earlier(steps), real)
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
            logits = self._logits(x.unflatten(1, (t, self.tokens)))
            return BinnedPrediction(self.expected(logits.detach()), logits)
        x, observation = self.norm(x), values[..., : self.observed]
        changes = self.changes(x)
        seen = torch.ones_like(values[..., 0], dtype=torch.bool) if real is None else real
        unknown = ~F.pad(seen[:, 1:], (0, 1))
        came = observation.roll(-1, dims=1).clone()
        came[unknown] = (observation + changes.detach())[unknown]
        outcome = self._outcome(values[..., :-1], came)
        one = torch.arange(b, device=x.device), t - 1 if step is None else step
        logits = torch.cat([self.changes.logits(x[one]), self.reward.logits(outcome[one])], dim=1)
        return BinnedPrediction(torch.cat([changes, self.reward(outcome)], dim=-1), logits)

    def last(self, values: Float[Tensor, "b t n"]) -> Float[Tensor, "b m"]:
        """What `forward` expects after the last step, and no head's of another one: a step of an imagination for which
        nothing was kept."""
        steps = self._places(values)
        x = self._attended(self._steps(values).flatten(1, 2), steps, self._earlier(steps), None)[:, -self.tokens :]
        if self.config.decoding == "sequential":
            return self.expected(self._logits(x))
        changes, done = self.changes(self.norm(x[:, 0])), values[:, -1]
        outcome = self._outcome(done[:, :-1], done[:, : self.observed] + changes)
        return torch.cat([changes, self.reward(outcome)], dim=-1)

    def decide(self, values: Float[Tensor, "b t n"], real: Bool[Tensor, "b t"] | None = None) -> Float[Tensor, "b t a"]:
        """The action at each step, from the steps before it and its own observation. As `forward`, for models with a
        policy."""
        return self._actions(self._thought(values, real)[1])

    def both(
        self,
        values: Float[Tensor, "b t n"],
        real: Bool[Tensor, "b t"] | None = None,
        step: Int[Tensor, "b"] | None = None,
    ) -> tuple[BinnedPrediction, Float[Tensor, "b t a"]]:
        """What `forward` and `decide` tell, in one pass."""
        x, asked = self._thought(values, real)
        return self._follows(x, values, real, step), self._actions(asked)

    def _thought(
        self, values: Float[Tensor, "b t n"], real: Bool[Tensor, "b t"] | None
    ) -> tuple[Float[Tensor, "b l d"], Float[Tensor, "b t d"]]:
        """What the model has in mind at each token of a step, and where it asks what to do."""
        t, told = values.shape[1], self._places(values)
        asking = torch.arange(t, device=values.device)
        number = torch.arange(len(told), device=values.device) % self.tokens
        observed = (number < self.observed) & (told == asking[:, None]) & (self.config.decoding == "sequential")
        seen = ((told < asking[:, None]) | observed) & (asking[:, None] - told < self.steps)
        alone = torch.eye(t, dtype=torch.bool, device=values.device)
        mask = torch.cat([torch.cat([self._earlier(told), seen]), torch.cat([alone.new_zeros(len(told), t), alone])], 1)
        x = torch.cat([self._steps(values).flatten(1, 2), self._glances(values[..., : self.observed])], dim=1)
        x = self._attended(x, torch.cat([told, asking]), mask, real)
        return x[:, : len(told)], x[:, len(told) :]

    def sequence(
        self, observation: Float[Tensor, "b t s"], action: Float[Tensor, "b t a"], reward: Float[Tensor, "b t"]
    ) -> Float[Tensor, "b t n"]:
        """The numbers of each step in their order."""
        return torch.cat([observation, action, reward[..., None]], dim=-1)

    def expected(self, logits: Float[Tensor, "... bins"]) -> Float[Tensor, "..."]:
        """The mean of a predicted distribution."""
        return logits.float().softmax(dim=-1) @ self.bins.centres

    def sampled(self, logits: Float[Tensor, "n ... bins"], generator: torch.Generator) -> Float[Tensor, "n ..."]:
        """Centres of bins that are drawn from predicted distributions, for all n rows by the same random numbers. nan
        where the distribution is not finite."""
        below = logits.float().softmax(dim=-1).cumsum(dim=-1)
        uniform = torch.rand(logits.shape[1:-1], generator=generator, device=generator.device).to(logits.device)
        whole = below[..., -1]
        index = (below <= (uniform * whole)[..., None]).sum(dim=-1).clamp(max=self.config.bins - 1)
        return self.bins.decode(index).where(whole.isfinite(), torch.nan)

    @torch.no_grad()
    def encode(
        self, observation: Float[Tensor, "t s"], action: Float[Tensor, "u a"], reward: Float[Tensor, "u"]
    ) -> TransformerContext:
        """See `WorldModel.encode`: as if it had been extended step by step. A step sees as many as the model has places
        for, through them what these saw, and so on; what is out of this reach is not encoded. Raises UserError for what
        is not finite."""
        if len(observation) != len(action) + 1 or len(action) != len(reward):
            raise ValueError(f"{len(observation)} observations, {len(action)} actions, {len(reward)} rewards")
        self._require_finite(observation, action, reward)
        first = max(0, len(action) - self.reach)
        observation, action, reward = observation[first:], action[first:], reward[first:]
        done = self.sequence(observation[None, :-1], action[None], reward[None])
        context = TransformerContext(self, None, 0, 0, observation[0])
        if len(action):
            told = context._with(self._steps(done).flatten(1, 2), self._places(done))
            context = TransformerContext(self, told.cache, 0, len(action), observation[-1])._within()
        return context._begun() if self.config.decoding == "sequential" else context

    @torch.no_grad()
    def cumulative(
        self, observation: Float[Tensor, "b t s"], action: Float[Tensor, "b u a"], reward: Float[Tensor, "b u"]
    ) -> Float[Tensor, "b m"]:
        """See `Distributional.cumulative`. Sequential: of each number given those before it, as they came. A context is
        the one that `encode` makes of it. Raises UserError for what is not finite."""
        self._require_finite(observation, action, reward)
        first = max(0, action.shape[1] - 1 - self.reach)
        observation, action, reward = observation[:, first:], action[:, first:], reward[:, first:]
        done, last, s = self.sequence(observation[:, :-1], action, reward), observation[:, -1], self.observed
        if self.config.decoding == "parallel":
            came = torch.cat([last - observation[:, -2], reward[:, -1:]], dim=-1)
            return self.bins.cumulative(self(done).logits.float().softmax(dim=-1), came)
        whole = torch.cat([done, F.pad(last, (0, self.tokens - s))[:, None]], dim=1)
        first = done[0].numel() - 1  # the reward's place, before the last observation's
        told = self(whole).logits.flatten(1, 2)[:, first - 1 : first + s].float().softmax(dim=-1)
        return self.bins.cumulative(told, whole.flatten(1)[:, first : first + s + 1]).roll(-1, dims=-1)

    def _require_finite(self, observation: Tensor, action: Tensor, reward: Tensor) -> None:
        body = self.joint.specs[0]
        require_finite(observation, "observation", body.state_names)
        require_finite(action, "action", body.action.names)
        require_finite(reward[..., None], "step", ["reward"])

    def _places(self, values: Float[Tensor, "b t n"]) -> Int[Tensor, "l"]:
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
            mask = mask & real[:, steps][:, None, None, :] | torch.eye(len(steps), dtype=torch.bool, device=x.device)
        turns = self._turns(steps)
        for block in self.blocks:
            x = block(x, turns, mask)
        return x

    def _glances(self, observation: Float[Tensor, "... s"]) -> Float[Tensor, "... d"]:
        """Tokens that ask what to do."""
        if self.config.decoding == "parallel":
            return self.glance(self._bounded(observation))
        return self.glance(self._features(observation).flatten(-2))

    def _actions(self, hidden: Float[Tensor, "... d"]) -> Float[Tensor, "... a"]:
        return self.action_head(self.norm(hidden))

    def _steps(self, values: Float[Tensor, "... n"]) -> Float[Tensor, "... tokens d"]:
        """The tokens of whole steps. Where all is predicted at once, the reward is not told."""
        if self.config.decoding == "parallel":
            return self._joined(values[..., :-1])[..., None, :]
        return self._numbers(values, torch.arange(self.tokens, device=values.device))

    def _joined(self, done: Float[Tensor, "... n"]) -> Float[Tensor, "... d"]:
        """Parallel: the token of an observation and an action."""
        return self.join(self._bounded(done))

    def _bounded(self, values: Float[Tensor, "... n"]) -> Float[Tensor, "... n"]:
        """Numbers as they are, but for those that lie beyond all bins."""
        return values.clamp(-self.bins.limit, self.bins.limit)

    def _numbers(self, values: Float[Tensor, "... l"], places: Int[Tensor, "l"]) -> Float[Tensor, "... l d"]:
        """Tokens of single numbers. places: which of a step's each is."""
        return self._features(values) + self.place_embedding(places)

    def _features(self, values: Float[Tensor, "... l"]) -> Float[Tensor, "... l d"]:
        if not self.config.soft:
            return self.value_embedding(self.bins.encode(values))
        position = self.bins.position(values).clamp(0, self.config.bins - 1)  # nan stays, in what is told of it, too
        low = position.nan_to_num().floor().long().clamp(max=self.config.bins - 2)
        return torch.lerp(self.value_embedding(low), self.value_embedding(low + 1), (position - low)[..., None])

    def _run(self, x: Float[Tensor, "b l d"], steps: Int[Tensor, "l"], past: list[Past]) -> Float[Tensor, "b l d"]:
        """Hidden features of tokens behind `past`, to which they are added."""
        mask, turns = self._earlier(steps) if len(steps) > 1 else None, self._turns(steps)
        for block, before in zip(self.blocks, past, strict=True):
            x = block(x, turns, mask, before)
        return x

    def _turns(self, steps: Int[Tensor, "l"]) -> Turns:
        return turns_of(steps, self.config.width // self.config.heads)

    def _logits(self, hidden: Float[Tensor, "... d"]) -> Float[Tensor, "... bins"]:
        """Sequential."""
        return self.head(self.norm(hidden))

    def _outcome(self, done: Float[Tensor, "... n"], came: Float[Tensor, "... s"]) -> Float[Tensor, "... d"]:
        """What tells the reward. done: observation and action; came: the observation after them."""
        return self.outcome(self._bounded(torch.cat([done, came], dim=-1)))


def _waves(count: int, width: int) -> Float[Tensor, "n d"]:
    """Sines and cosines of a bin's place, of half a wave to 32 waves: neighbours begin alike, so that what is learned
    of one bin is known of the next."""
    waves = 0.5 * 64 ** torch.linspace(0, 1, width // 2)
    angles = 2 * torch.pi * torch.arange(count)[:, None] / count * waves
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _causal(length: int, device: torch.device) -> Bool[Tensor, "l l"]:
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()


class TransformerContext:
    """A history's keys and values of every layer, computed once. begins, ends: the steps that it has."""

    def __init__(
        self,
        model: DynamicsTransformer,
        cache: list[tuple[Tensor, Tensor]] | None,
        begins: int,
        ends: int,
        observation: Float[Tensor, "s"],
    ) -> None:
        self.model, self.cache, self.begins, self.ends, self.observation = model, cache, begins, ends, observation

    def imagine(self, count: int, generator: torch.Generator | None = None) -> TransformerImagination:
        """See `Context.imagine`. Without a generator a model that samples draws from one of seed 0."""
        if self.model.config.next == "expectation":
            return TransformerImagination(self, count)
        return TransformerImagination(self, count, generator or torch.Generator(self.observation.device).manual_seed(0))

    def imagined(self, plans: Float[Tensor, "n t a"], generator: torch.Generator | None = None) -> Prediction:
        """See `ImaginesInParallel.imagined`. A GPU replays the whole as one graph, once the context is as long as it
        gets."""
        full = self.ends - self.begins == self.model.steps - 1
        if plans.is_cuda and full and self.model.config.next == "expectation":
            return plan_graph(self, plans).imagined(self, plans)
        return self.imagine(len(plans), generator).imagined(plans)

    @torch.no_grad()
    def extended(
        self, action: Float[Tensor, "a"], reward: Float[Tensor, ""], observation: Float[Tensor, "s"]
    ) -> TransformerContext:
        """See `Context.extended`. Nothing that is known is encoded again. Raises UserError for what is not finite."""
        self.model._require_finite(observation, action, reward)
        model, sequential = self.model, self.model.config.decoding == "sequential"
        done = model.sequence(self.observation[None, None], action[None, None], reward.reshape(1, 1))
        new = slice(model.observed if sequential else 0, None)  # the present observation's tokens are there already
        told = self._with(model._steps(done).flatten(1, 2)[:, new], model._places(done)[new] + self.ends)
        moved = TransformerContext(model, told.cache, self.begins, self.ends + 1, observation)._within()
        return moved._begun() if sequential else moved

    def _begun(self) -> TransformerContext:
        """With the tokens of its present observation, which are there before the action."""
        places = torch.arange(self.model.observed, device=self.observation.device)
        return self._with(self.model._numbers(self.observation[None], places), torch.full_like(places, self.ends))

    def _with(self, x: Float[Tensor, "1 l d"], steps: Int[Tensor, "l"]) -> TransformerContext:
        """With more tokens."""
        model, past = self.model, self._past()
        model._run(x, steps, past)
        new = [(key[:, 0], value[:, 0]) for key, value in (each.own for each in past)]
        if self.cache is not None:
            new = [
                (torch.cat([old[0], key], dim=1), torch.cat([old[1], value], dim=1))
                for old, (key, value) in zip(self.cache, new, strict=True)
            ]
        return TransformerContext(model, new, self.begins, self.ends, self.observation)

    def _within(self) -> TransformerContext:
        """Without the oldest steps, where there are more than the model has places for."""
        gone = (self.ends - self.begins) - (self.model.steps - 1)
        if gone <= 0 or self.cache is None:
            return self
        cut = gone * self.model.tokens
        cache = [(key[:, cut:], value[:, cut:]) for key, value in self.cache]
        return TransformerContext(self.model, cache, self.begins + gone, self.ends, self.observation)

    def _past(self) -> list[Past]:
        cache = self.cache if self.cache is not None else [None] * len(self.model.blocks)
        return [Past(shared) for shared in cache]


class TransformerImagination:
    """See `Imagination`. The history's keys and values are shared by all candidates. An imagination may be longer than
    the model has places for: the window slides, as in `DynamicsTransformer.forward`. generator: of the numbers that it
    goes on with; None: their expectations. now: the history's end on the model's device, where it is there already."""

    def __init__(
        self,
        context: TransformerContext,
        count: int,
        generator: torch.Generator | None = None,
        *,
        now: Int[Tensor, "1"] | None = None,
    ) -> None:
        self._model, self._past, self._generator = context.model, context._past(), generator
        self._begins, self._ends = context.begins, context.ends
        self._now = torch.tensor([context.ends], device=context.observation.device) if now is None else now
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
        """What all steps of plans come to, as by `step`; the imagination is over then. Where nothing is drawn and a
        step's numbers are told at once, so are all rewards, in the end."""
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
            raise UserError("this dynamics model learned no policy; one that does is `dynamics/generalist-laptop`")
        self._slide(self._ends)
        hidden = model._run(model._glances(self._observation[:, None]), self._now, self._past)
        for past in self._past:
            past.take_back(1)
        return model._actions(hidden[:, 0]).clamp(-1, 1)

    def _go_on(self, observation: Float[Tensor, "n s"]) -> None:
        self._observation, self._ends, self._now = observation, self._ends + 1, self._now + 1

    def _at_once(self, action: Float[Tensor, "n a"]) -> Float[Tensor, "n s"]:
        """The next observation."""
        model = self._model
        x = model._joined(torch.cat([self._observation, action], dim=-1))[:, None]
        self._slide(self._ends)
        hidden = model.norm(model._run(x, self._now, self._past)[:, 0])
        return self._observation + self._told(model.changes, hidden)

    def _reward(
        self, before: Float[Tensor, "n *t s"], action: Float[Tensor, "n *t a"], after: Float[Tensor, "n *t s"]
    ) -> Float[Tensor, "n *t"]:
        outcome = self._model._outcome(torch.cat([before, action], dim=-1), after)
        return self._told(self._model.reward, outcome)[..., 0]

    def _told(self, numbers: _Numbers, hidden: Float[Tensor, "n *t d"]) -> Float[Tensor, "n *t m"]:
        return numbers(hidden) if self._generator is None else self._next(numbers.logits(hidden))

    def _one_by_one(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """The action's tokens tell the reward, the reward's the next observation's first number, and so on."""
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

    def _after(self, values: Float[Tensor, "n l"], first: int, *, ahead: int = 0) -> Float[Tensor, "n"]:
        """The number after some that stand from place `first` on in the present step, or `ahead` of it."""
        model, places = self._model, first + torch.arange(values.shape[1], device=values.device)
        hidden = model._run(model._numbers(values, places), (self._now + ahead).expand_as(places), self._past)
        return self._next(model._logits(hidden[:, -1]))

    def _next(self, logits: Float[Tensor, "n ... bins"]) -> Float[Tensor, "n ..."]:
        if self._generator is None:
            return self._model.expected(logits)
        return self._model.sampled(logits, self._generator)
