"""Distributions over actions within [-1, 1], and over choices, as a policy needs them.

Dimensions: a numbers of an action, c choices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

_SQRT_2, _LOG_SQRT_2PI = math.sqrt(2), math.log(2 * math.pi) / 2
_EDGE = 1e-6  # draws stay this far from the bounds, where densities are not finite


@runtime_checkable
class PolicyDistribution(Protocol):
    """What an actor predicts for one state."""

    @property
    def mode(self) -> Float[Tensor, "... a"]:
        """The action to take when nothing is explored."""
        ...

    @property
    def entropy(self) -> Float[Tensor, "..."]:
        """In nats, summed over the numbers of an action."""
        ...

    def draw(self, generator: torch.Generator) -> Float[Tensor, "... a"]:
        """Return an action, through which gradients pass."""
        ...

    def log_probability(self, action: Float[Tensor, "... a"]) -> Float[Tensor, "..."]:
        """Return the log density of actions, summed over their numbers."""
        ...


@dataclass(frozen=True)
class TruncatedNormal:
    """Independent normal variables, truncated to [-1, 1] (Dreamer's continuous actions)."""

    mean: Float[Tensor, "... a"]
    """Means before truncation, within [-1, 1]."""

    std: Float[Tensor, "... a"]
    """Stds before truncation."""

    @property
    def mode(self) -> Float[Tensor, "... a"]:
        """The means, which lie within the bounds."""
        return self.mean

    @property
    def entropy(self) -> Float[Tensor, "..."]:
        """See `PolicyDistribution.entropy`."""
        low, high = self._bounds
        mass = self._mass
        tail = (low * _density(low) - high * _density(high)) / (2 * mass)
        return (0.5 + _LOG_SQRT_2PI + (self.std * mass).log() + tail).sum(dim=-1)

    def draw(self, generator: torch.Generator) -> Float[Tensor, "... a"]:
        """Return an action by inversion: a uniform number through the inverse distribution."""
        uniform = torch.rand(self.mean.shape, generator=generator, device=generator.device)
        uniform = uniform.to(self.mean)
        if not torch.is_grad_enabled():
            return _inverted(self.mean, self.std, uniform)[0]
        return _Inverted.apply(self.mean, self.std, uniform)

    def log_probability(self, action: Float[Tensor, "... a"]) -> Float[Tensor, "..."]:
        """See `PolicyDistribution.log_probability`."""
        distance = ((action - self.mean) / self.std).square() / 2
        return (-distance - _LOG_SQRT_2PI - (self.std * self._mass).log()).sum(dim=-1)

    @property
    def _bounds(self) -> tuple[Tensor, Tensor]:
        """The bounds in stds from the means."""
        return (-1 - self.mean) / self.std, (1 - self.mean) / self.std

    @property
    def _mass(self) -> Tensor:
        """The probability between the bounds before truncation."""
        low, high = self._bounds
        return (_cumulative(high) - _cumulative(low)).clamp(min=_EDGE)


class _Inverted(torch.autograd.Function):
    """Draws of a truncated normal distribution from uniform numbers, by its inverse.

    Autograd would record some thirty small operations, which take longer than the rest of an
    imagined step.
    """

    @staticmethod
    def forward(ctx: Any, mean: Tensor, std: Tensor, uniform: Tensor) -> Tensor:
        drawn, *used = _inverted(mean, std, uniform)
        ctx.save_for_backward(*used, uniform)
        return drawn

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore
        low, high, distance, uniform = ctx.saved_tensors
        # Where the level u between the bounds' stays the same, a bound b that moves by db moves the
        # draw x by p(b) / p(x) db, times 1 - u for the lower and u for the upper one.
        square = distance.square()
        of_low = (square - low.square()).exp_().mul_(1 - uniform)
        of_high = (square - high.square()).exp_().mul_(uniform)
        to_mean = gradient * (1 - of_low - of_high)
        of_bounds = of_low.mul_(low).add_(of_high.mul_(high))
        return to_mean, (distance - of_bounds).mul_(gradient).mul_(_SQRT_2), None


def _inverted(mean: Tensor, std: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return draws, and what the backward pass reads: the distances of the bounds and of the draws
    from the means, in units of std times the root of 2."""
    scale = std * _SQRT_2
    low, high = (-1 - mean).div_(scale), (1 - mean).div_(scale)
    level = torch.lerp(torch.erf(low), torch.erf(high), uniform)
    # The inverse is kept finite where the level rounds to -1 or 1.
    distance = level.clamp_(2 * _EDGE - 1, 1 - 2 * _EDGE).erfinv_()
    # Rounding may leave the bounds by a little. The value is clipped, the gradient is not.
    drawn = torch.addcmul(mean, scale, distance).clamp_(_EDGE - 1, 1 - _EDGE)
    return drawn, low, high, distance


@dataclass(frozen=True)
class Choice:
    """One of c choices, one-hot."""

    log_probabilities: Float[Tensor, "... c"]
    """Normalised log probabilities."""

    @classmethod
    def of(cls, logits: Float[Tensor, "... c"], uniform: float = 0.01) -> Choice:
        """The distribution of logits. uniform: fraction of a uniform distribution mixed in."""
        probabilities = logits.float().softmax(dim=-1)
        mixed = torch.lerp(
            probabilities, torch.full_like(probabilities, 1 / logits.shape[-1]), uniform
        )
        return cls(mixed.log())

    @property
    def mode(self) -> Float[Tensor, "... c"]:
        """The most likely choice, one-hot."""
        count = self.log_probabilities.shape[-1]
        return F.one_hot(self.log_probabilities.argmax(dim=-1), count).to(
            self.log_probabilities.dtype
        )

    @property
    def entropy(self) -> Float[Tensor, "..."]:
        """See `PolicyDistribution.entropy`."""
        return -(self.log_probabilities.exp() * self.log_probabilities).sum(dim=-1)

    def draw(self, generator: torch.Generator) -> Float[Tensor, "... c"]:
        """Return a choice one-hot, with the gradient of the probabilities (straight through)."""
        scores = self.log_probabilities
        noise = torch.rand(scores.shape, generator=generator, device=generator.device)
        noise = noise.to(scores.device).clamp(1e-20, 1 - 1e-7)
        chosen = F.one_hot((scores - (-noise.log()).log()).argmax(dim=-1), scores.shape[-1])
        probabilities = scores.exp()
        return chosen.to(scores.dtype) + probabilities - probabilities.detach()

    def log_probability(self, action: Float[Tensor, "... c"]) -> Float[Tensor, "..."]:
        """See `PolicyDistribution.log_probability`. action: one-hot."""
        return (self.log_probabilities * action).sum(dim=-1)


def _density(x: Tensor) -> Tensor:
    """The density of the standard normal distribution."""
    return (-x.square() / 2 - _LOG_SQRT_2PI).exp()


def _cumulative(x: Tensor) -> Tensor:
    """The distribution function of the standard normal distribution."""
    return (1 + torch.erf(x / _SQRT_2)) / 2
