"""Real numbers to bins and back: uniform bins, or finer ones near zero by the mu-law."""

from __future__ import annotations

import functools
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class Bins(nn.Module):
    """A tokeniser of real numbers: equal cells of [-1, 1] after companding.

    Companding is sign(x) ln(1 + mu |x|) / ln(1 + mu limit). Gato (Reed et al. 2022) uses mu = 100
    and a limit of 256. DualMind's released code uses mu = 1.7 without the denominator, so part of
    its bins is never used.

    Args:
        num_bins: Number of bins.
        mu: Strength of the companding; 0 for uniform bins, x / limit.
        limit: Largest magnitude that is represented. Larger values fall into the outermost bins.
    """

    centres: Tensor

    def __init__(self, num_bins: int, *, mu: float = 0.0, limit: float = 1.0):
        super().__init__()
        self.num_bins, self.mu, self.limit = num_bins, mu, limit
        middles = (2 * torch.arange(num_bins) + 1) / num_bins - 1
        # Not persistent: it follows from the arguments, and old checkpoints do not have it.
        self.register_buffer("centres", self._expand(middles), persistent=False)

    def encode(self, values: Float[Tensor, "..."]) -> Int[Tensor, "..."]:
        """Return the bin of each value; values beyond the limit fall into the outermost bins."""
        cell = (self._compress(values.clamp(-self.limit, self.limit)) + 1) / 2 * self.num_bins
        # A value at the upper limit gives cell == num_bins, one too many; hence the second clamp.
        return cell.long().clamp(0, self.num_bins - 1)

    def decode(self, index: Int[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the centre of each bin."""
        return self.centres[index]

    def soft_targets(self, values: Float[Tensor, "..."], std_bins: float) -> Float[Tensor, "... n"]:
        """Return probabilities over bins that have the value as their mean.

        Args:
            values: Targets. One beyond the outermost centres gets the outermost bin alone.
            std_bins: Std of the Gaussian around each bin, in bins; see `_spread`.
        """
        spread = _spread(self.num_bins, self.mu, self.limit, std_bins, values.device)
        within = values.float().clamp(self.centres[0], self.centres[-1])
        # The two neighbouring centres. Row i of `spread` has the mean centres[i], so mixing two
        # rows by the value's position between their centres gives exactly the value as the mean.
        upper = torch.bucketize(within, self.centres).clamp(1, self.num_bins - 1)
        low, high = self.centres[upper - 1], self.centres[upper]
        fraction = (within - low) / (high - low)
        return torch.lerp(spread[upper - 1], spread[upper], fraction[..., None])

    def mean(self, logits: Float[Tensor, "... n"]) -> Float[Tensor, "..."]:
        """Return the mean of a distribution over bins."""
        return logits.float().softmax(dim=-1) @ self.centres

    def sample(
        self, logits: Float[Tensor, "b ... n"], generator: torch.Generator
    ) -> Float[Tensor, "b ..."]:
        """Draw bins' centres from distributions over bins.

        All b rows meet the same random numbers, so that equal distributions give equal samples.

        Args:
            logits: Of n bins.
            generator: Source of the random numbers, on any device.

        Returns:
            The drawn centres; nan where a distribution is not finite.
        """
        # Inverse transform sampling: the index is the number of cumulative sums up to a uniform
        # number. The last sum is 1 up to rounding; scaling by it keeps the index among the bins.
        sums = logits.float().softmax(dim=-1).cumsum(dim=-1)
        uniform = torch.rand(logits.shape[1:-1], generator=generator, device=generator.device)
        total = sums[..., -1]
        threshold = (uniform.to(logits.device) * total)[..., None]
        index = (sums <= threshold).sum(dim=-1).clamp(max=self.num_bins - 1)
        return self.decode(index).where(total.isfinite(), torch.nan)

    def cumulative(
        self, probabilities: Float[Tensor, "... n"], values: Float[Tensor, "..."]
    ) -> Float[Tensor, "..."]:
        """Return the probability of values up to these.

        Args:
            probabilities: Of each bin, taken as spread evenly over its cell after companding.
            values: Upper ends of the intervals.
        """
        edge = (self.position(values) + 0.5).clamp(0, self.num_bins)  # in cells from the left end
        cell = edge.long().clamp(max=self.num_bins - 1)
        within = probabilities.gather(-1, cell[..., None])[..., 0]
        # The sum over all cells up to this one, minus this one: an exclusive cumulative sum.
        before = probabilities.cumsum(dim=-1).gather(-1, cell[..., None])[..., 0] - within
        return (before + within * (edge - cell)).clamp(0, 1)

    def position(self, values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the fractional index of each value: i is the centre of bin i."""
        return (self._compress(values.clamp(-self.limit, self.limit)) + 1) / 2 * self.num_bins - 0.5

    def _compress(self, x: Tensor) -> Tensor:
        """Map values within the limit to [-1, 1]."""
        if not self.mu:
            return x / self.limit
        whole = math.log1p(self.mu * self.limit)
        return x.sign() * torch.log1p(self.mu * x.abs()) / whole

    def _expand(self, y: Tensor) -> Tensor:
        """Invert `_compress`."""
        if not self.mu:
            return y * self.limit
        whole = math.log1p(self.mu * self.limit)
        return y.sign() * torch.expm1(y.abs() * whole) / self.mu


@functools.lru_cache(maxsize=8)
# An inference tensor in the cache could never be used in training, whoever asked for it first.
@torch.inference_mode(False)
def _spread(
    num_bins: int, mu: float, limit: float, std_bins: float, device: torch.device
) -> Float[Tensor, "n n"]:
    """Return a Gaussian over bins for each bin, shifted so that its mean is the bin's centre.

    The shift is zero where bins are equally wide, larger where they grow, and largest at the edges.
    The outermost bins have no mean to reach but their own, so they stand alone.
    """
    index = torch.arange(num_bins, dtype=torch.float64)
    centres = Bins(num_bins, mu=mu, limit=limit).centres.double()
    wanted_mean = centres[1:-1]
    # The mean grows monotonically with the Gaussian's middle, so bisection finds the middle. At
    # `reach` bins away nothing but the outermost bin is left, which brackets every solution; 60
    # halvings are beyond float64's precision.
    reach = num_bins + 64 * std_bins**2
    low, high = index[1:-1] - reach, index[1:-1] + reach
    for _ in range(60):
        middle = (low + high) / 2
        too_low = _gaussians(index, middle, std_bins) @ centres < wanted_mean
        low, high = low.where(~too_low, middle), high.where(too_low, middle)
    spread = torch.eye(num_bins, dtype=torch.float64)
    spread[1:-1] = _gaussians(index, (low + high) / 2, std_bins)
    return spread.float().to(device)


def _gaussians(
    index: Float[Tensor, "n"], middle: Float[Tensor, "m"], std: float
) -> Float[Tensor, "m n"]:
    """Return m Gaussians over n bins, each normalised to a sum of 1."""
    return (-0.5 * ((index - middle[:, None]) / std) ** 2).softmax(dim=-1)
