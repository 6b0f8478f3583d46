"""Returns of imagined or recorded steps."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def lambda_return(
    reward: Float[Tensor, "... t"],
    value: Float[Tensor, "... t"],
    discount: Float[Tensor, "... t"],
    mixing: float,
) -> Float[Tensor, "... t"]:
    """Return the lambda-return of each step (Sutton and Barto 2018, equation 12.2; Hafner et al.
    2020, "Dream to Control", arXiv 1912.01603, equation 6).

    G_t = r_t + d_t ((1 - mixing) v_{t+1} + mixing G_{t+1}), and at the last step r_t + d_t v_{t+1}.

    Args:
        reward: r_t, of the action at step t.
        value: v_{t+1}, of the state that the action leads to.
        discount: d_t, the discount factor times the probability that the episode goes on.
        mixing: Lambda, in [0, 1]. 0: one step ahead; 1: only the value of the last state counts.
    """
    # What a step adds by itself; the rest comes from the step after it.
    own = reward + discount * (1 - mixing) * value
    returns, following = [], value[..., -1]
    for step in range(reward.shape[-1] - 1, -1, -1):
        following = own[..., step] + discount[..., step] * mixing * following
        returns.append(following)
    return torch.stack(returns[::-1], dim=-1)
