"""Random variables of a state-space model: Gaussian or categorical, behind one interface.

A distribution is one tensor (..., p, q), so that those of many steps can be stacked and indexed.
Dimensions: z numbers of a draw, p by q parameters of its distribution, v variables of c
categories each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

_tanh_backward = torch.ops.aten.tanh_backward.default
_softmax_backward = torch.ops.aten._softmax_backward_data.default


@runtime_checkable
class Latent(Protocol):
    """A family of distributions."""

    @property
    def width(self) -> int:
        """Numbers of a draw, z."""
        ...

    @property
    def outputs(self) -> int:
        """Numbers that a network predicts for one distribution."""
        ...

    def distribution(self, outputs: Float[Tensor, "... o"]) -> Float[Tensor, "... p q"]:
        """Return distributions from a network's outputs, in float32."""
        ...

    def draw(
        self, distribution: Float[Tensor, "... p q"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "... z"]:
        """Return a draw of each distribution, through which gradients pass.

        Args:
            distribution: Of `distribution`.
            generator: Source of the randomness. None: the most likely value.
        """
        ...

    def sampled(
        self, outputs: Float[Tensor, "... o"], generator: torch.Generator | None = None
    ) -> tuple[Tensor, ...]:
        """Return a draw of each distribution, as `draw` does of `distribution`, and what
        `sampled_backward` reads. Nothing is recorded."""
        ...

    def sampled_backward(
        self, gradient: Float[Tensor, "... z"], *used: Tensor
    ) -> Float[Tensor, "... o"]:
        """Return the gradient of outputs from that of their draw."""
        ...

    def divergence(
        self, first: Float[Tensor, "... p q"], second: Float[Tensor, "... p q"]
    ) -> Float[Tensor, "..."]:
        """Return KL(first || second) in nats, summed over all variables."""
        ...


@dataclass(frozen=True)
class GaussianLatent:
    """Independent normal variables; a distribution is means and stds, (..., 2, z).

    The std is 2 sigmoid(x / 2) + `min_std`, so that it is about 1 at first and stays below
    2 + `min_std` (Dreamer's released code).
    """

    size: int
    """Number of variables, z."""

    min_std: float = 0.1
    """The smallest std."""

    @property
    def width(self) -> int:
        return self.size

    @property
    def outputs(self) -> int:
        return 2 * self.size

    def distribution(self, outputs: Float[Tensor, "... o"]) -> Float[Tensor, "... 2 z"]:
        mean, raw = _precise(outputs).chunk(2, dim=-1)
        # 2 sigmoid(x / 2) is 1 + tanh(x / 4), with one operation less.
        return torch.stack([mean, (raw / 4).tanh() + (1 + self.min_std)], dim=-2)

    def draw(
        self, distribution: Float[Tensor, "... 2 z"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "... z"]:
        mean, std = distribution.unbind(dim=-2)
        if generator is None:
            return mean
        return torch.addcmul(mean, std, _noise(mean, generator))

    def sampled(
        self, outputs: Float[Tensor, "... o"], generator: torch.Generator | None = None
    ) -> tuple[Tensor, ...]:
        mean, raw = _precise(outputs).chunk(2, dim=-1)
        if generator is None:
            return (mean,)
        tanh, noise = (raw / 4).tanh_(), _noise(mean, generator)
        return torch.addcmul(mean, tanh + (1 + self.min_std), noise), tanh, noise

    def sampled_backward(
        self, gradient: Float[Tensor, "... z"], *used: Tensor
    ) -> Float[Tensor, "... o"]:
        if not used:
            return F.pad(gradient, (0, self.size))
        tanh, noise = used
        return torch.cat([gradient, _tanh_backward(gradient * noise, tanh).div_(4)], dim=-1)

    def divergence(
        self, first: Float[Tensor, "... 2 z"], second: Float[Tensor, "... 2 z"]
    ) -> Float[Tensor, "..."]:
        (mean, std), (mean_2, std_2) = first.unbind(dim=-2), second.unbind(dim=-2)
        ratio, distance = (std / std_2).square(), ((mean - mean_2) / std_2).square()
        return 0.5 * (ratio + distance - 1 - ratio.log()).sum(dim=-1)


@dataclass(frozen=True)
class CategoricalLatent:
    """Independent categorical variables; a distribution is log probabilities, (..., v, c)."""

    variables: int
    """Number of variables, v."""

    categories: int
    """Categories of each variable, c."""

    uniform: float = 0.01
    """Fraction of a uniform distribution that is mixed in, so that no category is impossible
    (DreamerV3; Hafner et al. 2023); between 0 and 1."""

    @property
    def width(self) -> int:
        return self.variables * self.categories

    @property
    def outputs(self) -> int:
        return self.variables * self.categories

    def distribution(self, outputs: Float[Tensor, "... o"]) -> Float[Tensor, "... v c"]:
        # Not in bfloat16: the logarithm would lose too much.
        return self._mixed(self._softmax(outputs)).log()

    def draw(
        self, distribution: Float[Tensor, "... v c"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "... z"]:
        """Return variables one-hot, flattened.

        Gradients pass as if the result were the probabilities (straight through).
        """
        probabilities = distribution.exp()
        chosen = self._chosen(probabilities.detach(), generator)
        # The value of `chosen`, the gradient of `probabilities`.
        return (chosen + probabilities - probabilities.detach()).flatten(-2)

    def sampled(
        self, outputs: Float[Tensor, "... o"], generator: torch.Generator | None = None
    ) -> tuple[Tensor, ...]:
        softmax = self._softmax(outputs)
        return self._chosen(self._mixed(softmax), generator).flatten(-2), softmax

    def sampled_backward(
        self, gradient: Float[Tensor, "... z"], *used: Tensor
    ) -> Float[Tensor, "... o"]:
        (softmax,) = used
        to_softmax = (gradient * (1 - self.uniform)).view_as(softmax)
        return _softmax_backward(to_softmax, softmax, -1, softmax.dtype).flatten(-2)

    def _softmax(self, outputs: Float[Tensor, "... o"]) -> Float[Tensor, "... v c"]:
        return _precise(outputs).unflatten(-1, (-1, self.categories)).softmax(dim=-1)

    def _mixed(self, softmax: Float[Tensor, "... v c"]) -> Float[Tensor, "... v c"]:
        """Return probabilities of which none is zero."""
        return torch.add(self.uniform / self.categories, softmax, alpha=1 - self.uniform)

    def _chosen(
        self, probabilities: Float[Tensor, "... v c"], generator: torch.Generator | None
    ) -> Float[Tensor, "... v c"]:
        """Return categories, one-hot. generator: see `draw`."""
        if generator is None:
            index = probabilities.argmax(dim=-1, keepdim=True)
        else:
            # By inversion: the number of cumulative sums up to a uniform number. Scaled by the last
            # sum, which is 1 up to rounding, the number stays below it.
            sums, shape = probabilities.cumsum(dim=-1), probabilities.shape[:-1]
            uniform = torch.rand(shape, generator=generator, device=generator.device)
            level = uniform.to(sums)[..., None] * sums[..., -1:]
            index = (sums <= level).sum(dim=-1, keepdim=True).clamp_(max=self.categories - 1)
        return torch.zeros_like(probabilities).scatter_(-1, index, 1.0)

    def divergence(
        self, first: Float[Tensor, "... v c"], second: Float[Tensor, "... v c"]
    ) -> Float[Tensor, "..."]:
        return (first.exp() * (first - second)).sum(dim=(-2, -1))


class _Sampled(torch.autograd.Function):
    """`Latent.sampled` with its gradient: autograd would record some ten small operations."""

    @staticmethod
    def forward(
        ctx: Any, outputs: Tensor, latent: Any, generator: torch.Generator | None
    ) -> Tensor:
        drawn, *used = latent.sampled(outputs, generator)
        ctx.latent = latent
        ctx.save_for_backward(*used)
        return drawn

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore
        return ctx.latent.sampled_backward(gradient, *ctx.saved_tensors), None, None


def sample(
    latent: Latent, outputs: Float[Tensor, "... o"], generator: torch.Generator | None = None
) -> Float[Tensor, "... z"]:
    """Return a draw of the distributions that outputs stand for, through which gradients pass.

    It equals `latent.draw(latent.distribution(outputs), generator)`, and is faster.

    Args:
        latent: The family of the variables.
        outputs: Of a network.
        generator: See `Latent.draw`.
    """
    if not torch.is_grad_enabled():
        return latent.sampled(outputs, generator)[0]
    return _Sampled.apply(outputs, latent, generator)


def _precise(outputs: Tensor) -> Tensor:
    """Return outputs in float32 at least."""
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    """Return normal noise. like: says shape, device and type."""
    return torch.randn(like.shape, generator=generator, device=generator.device).to(like)
