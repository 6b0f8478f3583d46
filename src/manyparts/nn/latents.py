"""Random variables of a state-space model: Gaussian or categorical, behind one interface.

A distribution is one tensor (..., p, q), so that those of many steps can be stacked and indexed.
Dimensions: z numbers of a draw, p by q parameters of its distribution, v variables of c
categories each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor


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
        mean, raw = outputs.float().chunk(2, dim=-1)
        # 2 sigmoid(x / 2) is 1 + tanh(x / 4), with one operation less.
        return torch.stack([mean, (raw / 4).tanh() + (1 + self.min_std)], dim=-2)

    def draw(
        self, distribution: Float[Tensor, "... 2 z"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "... z"]:
        mean, std = distribution.unbind(dim=-2)
        if generator is None:
            return mean
        noise = torch.randn(mean.shape, generator=generator, device=generator.device)
        return torch.addcmul(mean, std, noise.to(mean.device))

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
        # In float32: the logarithm below would lose too much in bfloat16.
        logits = rearrange(outputs.float(), "... (v c) -> ... v c", c=self.categories)
        probabilities = logits.softmax(dim=-1)
        uniform = torch.full_like(probabilities, 1 / self.categories)
        return torch.lerp(probabilities, uniform, self.uniform).log()

    def draw(
        self, distribution: Float[Tensor, "... v c"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "... z"]:
        """Return variables one-hot, flattened.

        Gradients pass as if the result were the probabilities (straight through).
        """
        probabilities = distribution.detach().exp()
        if generator is None:
            index = probabilities.argmax(dim=-1, keepdim=True)
        else:
            # By inversion: the number of cumulative sums up to a uniform number. Scaled by the last
            # sum, which is 1 up to rounding, the number stays below it.
            sums, shape = probabilities.cumsum(dim=-1), probabilities.shape[:-1]
            uniform = torch.rand(shape, generator=generator, device=generator.device)
            level = uniform.to(sums.device)[..., None] * sums[..., -1:]
            index = (sums <= level).sum(dim=-1, keepdim=True).clamp_(max=self.categories - 1)
        chosen = torch.zeros_like(probabilities).scatter_(-1, index, 1.0)
        return _StraightThrough.apply(distribution, chosen, probabilities).flatten(-2)

    def divergence(
        self, first: Float[Tensor, "... v c"], second: Float[Tensor, "... v c"]
    ) -> Float[Tensor, "..."]:
        return (first.exp() * (first - second)).sum(dim=(-2, -1))


class _StraightThrough(torch.autograd.Function):
    """The value of `chosen`, with the gradient of the probabilities that the logarithms are of."""

    @staticmethod
    def forward(ctx: Any, distribution: Tensor, chosen: Tensor, probabilities: Tensor) -> Tensor:
        ctx.save_for_backward(probabilities)
        return chosen.view_as(chosen)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore
        (probabilities,) = ctx.saved_tensors
        return gradient * probabilities, None, None
