"""Values to bins and back: uniform, or finer near zero by the mu-law."""

from __future__ import annotations

import functools
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class Bins(nn.Module):
    """num_bins equal cells of [-1, 1] after the companding sign(x) ln(1 + mu |x|) / ln(1 + mu
    limit).

    limit: the largest value told apart. mu: 0: x / limit; 100, with a limit of 256: Gato's (Reed et
    al. 2022).

    DualMind's released code uses mu = 1.7 without the denominator, so part of its bins is never
    used.
    """

    centres: Tensor

    def __init__(self, num_bins: int, *, mu: float = 0.0, limit: float = 1.0):
        super().__init__()
        self.num_bins, self.mu, self.limit = num_bins, mu, limit
        middles = (2 * torch.arange(num_bins) + 1) / num_bins - 1
        self.register_buffer("centres", self._expand(middles), persistent=False)

    def encode(self, values: Float[Tensor, "..."]) -> Int[Tensor, "..."]:
        """The bin of each value; values beyond the limit fall into the outermost bins."""
        cell = (self._compress(values.clamp(-self.limit, self.limit)) + 1) / 2 * self.num_bins
        return cell.long().clamp(0, self.num_bins - 1)

    def decode(self, index: Int[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The centre of each bin."""
        return self.centres[index]

    def soft_targets(self, values: Float[Tensor, "..."], std_bins: float) -> Float[Tensor, "... n"]:
        """Probabilities over bins whose mean is the value; of one beyond the outermost centres,
        that bin alone. std_bins: of the Gaussian around each bin (see `_spread`); a value between
        two has a share of both's."""
        spread = _spread(self.num_bins, self.mu, self.limit, std_bins, values.device)
        within = values.float().clamp(self.centres[0], self.centres[-1])
        high = torch.bucketize(within, self.centres).clamp(1, self.num_bins - 1)
        low, above = self.centres[high - 1], self.centres[high]
        share = (within - low) / (above - low)
        return torch.lerp(spread[high - 1], spread[high], share[..., None])

    def cumulative(
        self, chances: Float[Tensor, "... n"], values: Float[Tensor, "..."]
    ) -> Float[Tensor, "..."]:
        """The probability of values up to these, where bins have the probabilities `chances`, each
        spread evenly over its cell after companding."""
        place = (self.position(values) + 0.5).clamp(0, self.num_bins)
        cell = place.long().clamp(max=self.num_bins - 1)
        within = chances.gather(-1, cell[..., None])[..., 0]
        before = chances.cumsum(dim=-1).gather(-1, cell[..., None])[..., 0] - within
        return (before + within * (place - cell)).clamp(0, 1)

    def position(self, values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Where each value lies among the bins' centres: i is the centre of bin i."""
        return (self._compress(values.clamp(-self.limit, self.limit)) + 1) / 2 * self.num_bins - 0.5

    def _compress(self, x: Tensor) -> Tensor:
        whole = math.log1p(self.mu * self.limit)
        return x.sign() * torch.log1p(self.mu * x.abs()) / whole if self.mu else x / self.limit

    def _expand(self, y: Tensor) -> Tensor:
        whole = math.log1p(self.mu * self.limit)
        return y.sign() * torch.expm1(y.abs() * whole) / self.mu if self.mu else y * self.limit


@functools.lru_cache(maxsize=8)
@torch.inference_mode(False)
def _spread(
    num_bins: int, mu: float, limit: float, std_bins: float, device: torch.device
) -> Float[Tensor, "n n"]:
    """For each bin a Gaussian over bins, its std counted in bins, moved so that its mean is the
    bin's centre: by nothing where bins are even, more where they grow, most at the edges, of which
    the outermost bin is alone.

    The mean grows as a Gaussian moves up, so where it has to be is found by bisection.
    """
    place = torch.arange(num_bins, dtype=torch.float64)
    centres = Bins(num_bins, mu=mu, limit=limit).centres.double()
    wanted = centres[1:-1]
    reach = num_bins + 64 * std_bins**2  # from where nothing but the outermost bin is left
    below, above = place[1:-1] - reach, place[1:-1] + reach
    for _ in range(60):
        middle = (below + above) / 2
        low = _gaussians(place, middle, std_bins) @ centres < wanted
        below, above = below.where(~low, middle), above.where(low, middle)
    spread = torch.eye(num_bins, dtype=torch.float64)
    spread[1:-1] = _gaussians(place, (below + above) / 2, std_bins)
    return spread.float().to(device)


def _gaussians(
    place: Float[Tensor, "n"], middle: Float[Tensor, "m"], std: float
) -> Float[Tensor, "m n"]:
    return (-0.5 * ((place - middle[:, None]) / std) ** 2).softmax(dim=-1)
