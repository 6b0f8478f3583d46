"""Behaviour that is learned in imagination: an actor, and a critic of what it reaches (Dreamer).

Hafner et al. 2020, "Dream to Control", arXiv 1912.01603. Dimensions: n imagined starts, h imagined
steps, f numbers of a state's features, a numbers of an action. What networks read has steps first,
so that the states of some steps lie next to each other in memory.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from manyparts.core.errors import UserError
from manyparts.core.records import Loss
from manyparts.core.spec import Spec
from manyparts.embodiment.codec import padded
from manyparts.models.dynamics.latent_world import LatentWorld
from manyparts.models.dynamics.state_space import WorldState
from manyparts.models.dynamics.taught_world import TaughtWorld
from manyparts.nn.ema import detached_copy, move_towards
from manyparts.nn.held import held
from manyparts.nn.mlp import Mlp, mlp
from manyparts.nn.policies import Choice, PolicyDistribution, TruncatedNormal
from manyparts.nn.returns import lambda_return
from manyparts.objectives.base import Objective
from manyparts.objectives.configs import ActorCriticConfig
from manyparts.objectives.taught import TaughtPasses
from manyparts.objectives.world import WorldPasses

_SATURATED = 3.0  # a mean before tanh beyond this is at the bound, where its gradient vanishes
_LOW, _HIGH = 0.05, 0.95  # quantiles between which returns are said to range


class Imagined(NamedTuple):
    """Imagined steps, with gradients through the model."""

    start: Float[Tensor, "n f"]
    """Of the starts, without gradient."""

    led_to: Float[Tensor, "h n f"]
    """Of the states after each action."""

    raw_mean: Float[Tensor, "n h a"]
    """Means of actions before tanh; zeros for choices."""

    log_probability: Float[Tensor, "n h"]
    """Of the actions, without a gradient through them; zeros where the actor learns without it."""

    entropy: Float[Tensor, "n h"]
    """Of the distributions of actions."""

    reward: Float[Tensor, "n h"]
    """Predicted rewards of the actions."""

    discount: Float[Tensor, "n h"]
    """The discount factor times the probability that the episode goes on after the action."""

    prior_distance: Float[Tensor, "n h"]
    """Squared distance of the actor's best action from that of the prior; zeros without one."""

    def before(self, network: Mlp) -> Float[Tensor, "n h"]:
        """Return a network's number for each state in which an action was chosen, those of the
        starts and of all others but the last. No gradient reaches the states."""
        following = network(self.led_to[:-1].detach())
        return torch.cat([network(self.start)[None], following])[..., 0].t()


class Advice(NamedTuple):
    """Which source's actions a policy hears of, in each of n states."""

    source: Int[Tensor, "n"]
    """The source that counts most."""

    weight: Float[Tensor, "n"]
    """How much it counts, in [0, 1]."""

    @classmethod
    def of(cls, relevance: Float[Tensor, "n k"]) -> Advice:
        """Return the advice of the teachers' weights."""
        weight, source = relevance.max(dim=-1)
        return cls(source, weight)


class Actor(nn.Module):
    """From features to a distribution over actions.

    Args:
        features: Numbers that are read.
        action: Numbers of an action, or of choices.
        choices: Whether the action is one of several choices, one-hot.
        layers: Hidden layers.
        width: Their width.
    """

    def __init__(self, features: int, action: int, *, choices: bool, layers: int, width: int):
        super().__init__()
        self.choices = choices
        sizes = [features, *[width] * layers, action if choices else 2 * action]
        self.network = mlp(sizes, activation=nn.SiLU)

    def forward(self, features: Float[Tensor, "... f"]) -> Float[Tensor, "... o"]:
        """Return what `distribution` makes distributions of."""
        return self.network(features).float()

    def distribution(self, outputs: Float[Tensor, "... o"]) -> PolicyDistribution:
        """Return distributions over actions."""
        if self.choices:
            return Choice.of(outputs)
        raw_mean, raw_std = outputs.chunk(2, dim=-1)
        # 2 sigmoid(x / 2) + 0.1. About 1.1 at first, never below 0.1: exploration that fades, but
        # does not end.
        return TruncatedNormal(raw_mean.tanh(), (raw_std / 4).tanh() + 1.1)

    def raw_mean(self, outputs: Float[Tensor, "... o"]) -> Float[Tensor, "... a"]:
        """Return means before tanh; zeros for choices."""
        return torch.zeros_like(outputs) if self.choices else outputs.chunk(2, dim=-1)[0]


class ActorCritic(Objective, config=ActorCriticConfig, model=LatentWorld):
    """Imagine from states of a batch; the actor maximises lambda-returns, the critic predicts them.

    The model, the starts and the slow critic's values are as they are: only actor and critic learn.

    Attributes:
        actor: The policy.
        critic: Predicts returns, as rewards per decision. On a logarithmic scale, small errors of
            states that were never seen become large returns, which an actor finds.
        slow_critic: Follows the critic, and values imagined states.
        scale: The range of returns, a running mean.
    """

    scale: Tensor

    def __init__(self, config: ActorCriticConfig, model: LatentWorld):
        super().__init__()
        self.config = config
        spec = model.embodiments.specs[0]
        count = len(spec.action.choices)
        read = model.features
        if model.config.actions == "none":
            raise UserError("model.actions is 'none', and no policy is learned without actions")
        if config.guide != "none":
            _require_guide(model, config, spec)
            read += model.config.guide if config.guide == "input" else 0
        # The agent's own actions alone: those that only other bodies have are never learned.
        self.actor = Actor(
            read,
            count or spec.action.dimension,
            choices=bool(count),
            layers=config.layers,
            width=config.width,
        )
        sizes = [model.features, *[config.width] * config.layers, 1]
        self.critic = mlp(sizes, activation=nn.SiLU)
        # Random values of a new critic would be what the actor learns from first (DreamerV3).
        last = self.critic[-1]
        assert isinstance(last, nn.Linear), type(last)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.slow_critic = detached_copy(self.critic)
        self.register_buffer("scale", torch.ones(()))
        self._action_dimension = model.action_dimension
        self._range: Tensor | None = None
        self._prior = config.prior
        # How many decisions of one reward make up its discounted return.
        self._horizon = 1 / max(1 - config.discount, 1e-3)

    def forward(self, passes: WorldPasses) -> Loss:
        config, model = self.config, passes.model
        start, advice = self._starts(passes)
        imagined = self.imagine(model, start, passes.generator, advice)
        value = self._horizon * self.slow_critic(imagined.led_to)[..., 0].t()
        returns = lambda_return(imagined.reward, value, imagined.discount, config.mixing)
        # What a step counts: how likely the episode gets there, discounted.
        reached = torch.cat(
            [torch.ones_like(returns[:, :1]), imagined.discount[:, :-1].cumprod(dim=1)], dim=1
        ).detach()
        low, high = torch.quantile(
            returns.detach().flatten(), returns.new_tensor([_LOW, _HIGH])
        ).unbind()
        self._range = high - low
        actor = self._actor_loss(imagined, returns)
        if advice is not None and config.guide == "prior":
            actor = actor + self._prior * advice.weight[:, None] * imagined.prior_distance
        predicted = imagined.before(self.critic)
        critic = (predicted - returns.detach() / self._horizon).square() / 2
        metrics = {
            "actor": (actor.detach() * reached).sum() / reached.sum(),
            "critic": (critic.detach() * reached).sum() / reached.sum(),
            "imagined_return": returns.detach()[:, 0].mean(),
            "imagined_reward": imagined.reward.detach().mean(),
            "entropy": imagined.entropy.detach().mean(),
            "saturated": (imagined.raw_mean.detach().abs() > _SATURATED).float().mean(),
            "return_range": self.scale.clone(),
        }
        return Loss(actor + critic, reached, metrics)

    def imagine(
        self,
        model: LatentWorld,
        start: WorldState,
        generator: torch.Generator,
        advice: Advice | None = None,
    ) -> Imagined:
        """Let the actor act in the model, `horizon` steps from each start.

        Args:
            model: The world.
            start: n states.
            generator: Draws actions and states.
            advice: Of the starts, which holds for all steps; None for an actor without a guide.
        """
        state, features, noise = start, start.features, None
        led_to, steps, guides = [], [], []
        with held(model):
            for _ in range(self.config.horizon):
                # The actor's input is detached: its actions count for what they lead to, and not
                # for how they change what the actor itself sees later.
                seen = features.detach()
                if noise is None or self.config.guide_redraw == "step":
                    noise = self.guide_noise(model, len(features), generator)
                guides.append(self.guide(model, seen, advice, noise))
                outputs = self.outputs(seen, guides[-1])
                action = self.actor.distribution(outputs).draw(generator)
                state = model.imagined(state, self.as_input(action), generator)
                features = state.features
                led_to.append(features)
                steps.append((action, outputs))
            # What no later step depends on is computed for all steps at once.
            following = torch.stack(led_to)
            reward = model.reward(following).t()
            discount = self.config.discount * model.continuation(following).t()
            action, outputs = (torch.stack(part, dim=1) for part in zip(*steps, strict=True))
            distribution, raw_mean = self.actor.distribution(outputs), self.actor.raw_mean(outputs)
            taken, distance = torch.zeros_like(reward), torch.zeros_like(reward)
            if self.config.gradient == "reinforce":
                taken = distribution.log_probability(action.detach())
            if self.config.guide == "prior":
                assert isinstance(model, TaughtWorld), type(model)
                wanted = model.action_vae.action(torch.stack(guides, dim=1))
                distance = (distribution.mode - wanted).square().sum(dim=-1)
        return Imagined(
            start=start.features,
            led_to=following,
            raw_mean=raw_mean,
            log_probability=taken,
            entropy=distribution.entropy,
            reward=reward,
            discount=discount,
            prior_distance=distance,
        )

    def outputs(
        self, features: Float[Tensor, "n f"], guide: Float[Tensor, "n m"] | None
    ) -> Float[Tensor, "n o"]:
        """Return what the actor's distributions are made of.

        Args:
            features: Of the states.
            guide: See `guide`; it is read if the config says so.
        """
        if self.config.guide == "input":
            assert guide is not None, "this actor reads a guide"
            return self.actor(torch.cat([features, guide], dim=-1))
        return self.actor(features)

    def policy(
        self, features: Float[Tensor, "n f"], guide: Float[Tensor, "n m"] | None
    ) -> PolicyDistribution:
        """Return the distribution of actions; see `outputs`."""
        return self.actor.distribution(self.outputs(features, guide))

    @torch.no_grad()
    def guide(
        self,
        model: Any,
        features: Float[Tensor, "n f"],
        advice: Advice | None,
        noise: Float[Tensor, "n z"] | None,
    ) -> Float[Tensor, "n m"] | None:
        """Return what the sources would do in states, for the actor; None without advice.

        Args:
            model: The world, which models the sources' actions.
            features: Of the states.
            advice: Which source to ask.
            noise: From which the guide is decoded, see `guide_noise`; None: zeros.
        """
        if advice is None:
            return None
        if noise is None:
            noise = features.new_zeros(len(features), model.action_vae.latent)
        return model.action_vae.guide(features, noise, advice.source)

    def guide_noise(
        self, model: Any, count: int, generator: torch.Generator
    ) -> Float[Tensor, "n z"] | None:
        """Return normal noise within bounds for guides; None where there are none.

        Args:
            model: The world.
            count: Rows.
            generator: Draws it.
        """
        if self.config.guide == "none":
            return None
        bound, shape = self.config.guide_noise, (count, model.action_vae.latent)
        noise = torch.randn(shape, generator=generator, device=generator.device)
        return noise.clamp(-bound, bound).to(self.scale.device)

    def set_progress(self, fraction: float) -> None:
        """Let the prior fade. fraction: of training that is done, in [0, 1]."""
        self._prior = self.config.prior * max(0.0, 1 - fraction / self.config.prior_until)

    def value(self, features: Float[Tensor, "n f"]) -> Float[Tensor, "n"]:
        """The discounted return that the critic expects from states on, in the environment's
        units."""
        return self._horizon * self.critic(features)[..., 0]

    def after_step(self, model: LatentWorld) -> None:
        """Move the slow critic and the range of returns."""
        move_towards(self.slow_critic, self.critic, self.config.slow_rate)
        if self._range is not None:
            self.scale.lerp_(self._range.to(self.scale.dtype), 0.01)

    def _actor_loss(
        self, imagined: Imagined, returns: Float[Tensor, "n h"]
    ) -> Float[Tensor, "n h"]:
        config = self.config
        scale = self.scale.clamp(min=1) if config.normalise else 1.0
        if config.gradient == "dynamics":
            loss = -returns / scale
        else:
            expected = self._horizon * imagined.before(self.slow_critic)
            loss = -imagined.log_probability * ((returns - expected) / scale).detach()
        centring = config.centring * imagined.raw_mean.square().sum(dim=-1)
        return loss - config.entropy * imagined.entropy + centring

    def _starts(self, passes: WorldPasses) -> tuple[WorldState, Advice | None]:
        """Real states of the agent's own windows, drawn without replacement, with advice for a
        guided actor."""
        rows, source = passes.batch.mask, passes.batch.source
        if source is not None and (source < 0).any():
            # Sources are other tasks, or other bodies, in which the agent never acts.
            rows = rows & (source < 0)[:, None]
        states = passes.filtered.starts(rows)
        order = torch.randperm(len(states.recurrent), generator=passes.generator)
        chosen = order[: self.config.starts].to(states.recurrent.device)
        advice = None
        if self.config.guide != "none":
            assert isinstance(passes, TaughtPasses), type(passes)
            advice = Advice.of(passes.relevance.detach()[rows][chosen])
        return WorldState(states.recurrent[chosen], states.drawn[chosen]), advice

    def as_input(self, action: Float[Tensor, "n a"]) -> Float[Tensor, "n b"]:
        """Actions as the model reads them: zero where the agent's body has no such action. A choice
        becomes the number of its cell's centre."""
        if self.actor.choices:
            count = action.shape[-1]
            centres = (2 * torch.arange(count, device=action.device) + 1) / count - 1
            action = (action * centres).sum(dim=-1, keepdim=True)
        return padded(action, self._action_dimension)


def _require_guide(model: LatentWorld, config: ActorCriticConfig, spec: Spec) -> None:
    """Raise UserError if there is nothing to guide an actor."""
    if not isinstance(model, TaughtWorld):
        raise UserError(
            f"guide is {config.guide!r}, but this world has no teachers; use a preset such as "
            "vid2act/laptop, or guide none"
        )
    if config.guide != "prior":
        return
    # A guide that is read has no dimension of an action. A prior is an action.
    if spec.action.choices:
        raise UserError(
            f"guide is 'prior', but {spec.embodiment} acts by choices; use guide input or none"
        )
    others = model.embodiments.names[1:]
    if others:
        raise UserError(
            f"guide is 'prior', but actions of {', '.join(others)} mean nothing to "
            f"{spec.embodiment}; use guide input or none"
        )
