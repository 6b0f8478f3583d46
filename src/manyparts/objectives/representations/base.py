"""What these losses share: a batch's embeddings, computed once, and heads over them."""

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
    """A batch's way through the model. generator: the source of all randomness of the objectives in
    this pass."""

    model: Representation
    batch: Batch
    generator: torch.Generator

    @cached_property
    def embedded(self) -> Float[Tensor, "b t e"]:
        return self.model.embed(self.batch)

    @cached_property
    def executed(self) -> Float[Tensor, "b t n"]:
        """Every step's chunk of actions as one vector."""
        return self.batch.action.flatten(2)


def action_dimension(model: Representation) -> int:
    """Numbers in a chunk of actions."""
    return model.chunk * model.embodiments.action_dimension


def action_mask(batch: Batch) -> Bool[Tensor, "b t n"]:
    """The real actions, as `FramePasses.executed` has them."""
    real = (batch.mask[..., None] & batch.chunk_mask)[..., None] & batch.action_mask[
        :, None, None, :
    ]
    return real.flatten(2)


def head(inputs: int, outputs: int, *, dropout: float = DROPOUT) -> nn.Sequential:
    """The perceptron that each of these losses has."""
    return mlp([inputs, *HIDDEN, outputs], dropout=dropout)


def info_nce(
    queries: Float[Tensor, "n d"],
    keys: Float[Tensor, "n d"],
    real: Bool[Tensor, "n"],
    temperature: float,
) -> Float[Tensor, "n"]:
    """Cross-entropy of finding each query's own key among the keys of all real rows, on unit
    vectors (van den Oord et al. 2018, arXiv 1807.03748). At temperature 1 similarities lie within
    [-1, 1], so that it can hardly fall below chance, log n - 2 at best. In float32 also under
    autocast, which would round similarities to 1/256."""
    with torch.autocast(queries.device.type, enabled=False):
        similarity = F.normalize(queries.float(), dim=-1) @ F.normalize(keys.float(), dim=-1).T
    logits = (similarity / temperature).masked_fill(~real[None], -torch.inf)
    own = torch.arange(len(logits), device=logits.device)
    logits[own, own] = (
        similarity.diagonal() / temperature
    )  # rows that are not real find themselves; they do not count
    return F.cross_entropy(logits, own, reduction="none")
