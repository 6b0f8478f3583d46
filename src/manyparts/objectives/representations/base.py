"""What these losses share: a batch's embeddings, computed once, and heads that read them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from manyparts.core.records import Batch
from manyparts.models.representation import Representation
from manyparts.nn.mlp import mlp

HIDDEN, DROPOUT = (256, 256), 0.1


@dataclass
class FramePasses:
    """A batch's way through the model, shared by all objectives."""

    model: Representation
    """The model under training."""

    batch: Batch
    """The windows to learn from."""

    generator: torch.Generator
    """The only source of randomness of the objectives."""

    @cached_property
    def embedded(self) -> Float[Tensor, "b t e"]:
        """The embedding of every frame."""
        return self.model.embed(self.batch)

    @cached_property
    def executed(self) -> Float[Tensor, "b t n"]:
        """Every step's chunk of actions as one vector."""
        return self.batch.action.flatten(2)


def action_dimension(model: Representation) -> int:
    """Numbers in a chunk of actions."""
    return model.chunk * model.embodiments.action_dimension


def action_mask(batch: Batch) -> Bool[Tensor, "b t n"]:
    """Mask of the real actions, in the layout of `FramePasses.executed`."""
    real = (batch.mask[..., None] & batch.chunk_mask)[..., None] & batch.action_mask[
        :, None, None, :
    ]
    return real.flatten(2)


def head(inputs: int, outputs: int, *, dropout: float = DROPOUT) -> nn.Sequential:
    """The perceptron that these losses use, with two hidden layers.

    Args:
        inputs: numbers that it reads per row.
        outputs: numbers that it predicts per row.
        dropout: dropout probability after each hidden layer, from 0 to less than 1.
    """
    return mlp([inputs, *HIDDEN, outputs], dropout=dropout)


def info_nce(
    queries: Float[Tensor, "n d"],
    keys: Float[Tensor, "n d"],
    real: Bool[Tensor, "n"],
    temperature: float,
) -> Float[Tensor, "n"]:
    """Cross-entropy of choosing each query's own key among the keys of all real rows.

    Vectors are scaled to length 1 (InfoNCE, van den Oord et al. 2018, arXiv 1807.03748). With
    temperature 1 logits lie in [-1, 1], so the loss hardly falls below chance: log n - 2 at best.

    Args:
        queries: one vector per row.
        keys: the matching vectors.
        real: which rows count.
        temperature: what similarities are divided by.
    """
    # In float32 also under autocast, which would round similarities to 1/256.
    with torch.autocast(queries.device.type, enabled=False):
        similarity = F.normalize(queries.float(), dim=-1) @ F.normalize(keys.float(), dim=-1).T
    logits = (similarity / temperature).masked_fill(~real[None], -torch.inf)
    own = torch.arange(len(logits), device=logits.device)
    # A row that is not real keeps its own key, which is masked for all others. With -inf there, its
    # loss would be infinite, and that times a mask of 0 is nan.
    logits[own, own] = similarity.diagonal() / temperature
    return F.cross_entropy(logits, own, reduction="none")
