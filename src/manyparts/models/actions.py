"""Chunks of actions to tokens and back: continuous values, bins decoded at their centres, or
discrete choices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from manyparts.core.spec import ActionContract
from manyparts.nn.bins import Bins
from manyparts.nn.mlp import mlp
from manyparts.nn.routing import by_row


@dataclass(frozen=True)
class ContinuousActionConfig:
    """Actions as real numbers, learned by a Huber loss whose corner is at `huber` (in units of half
    the range)."""

    huber: float = 0.1


@dataclass(frozen=True)
class BinnedActionConfig:
    """Actions as bins a dimension, learned by cross-entropy. mu: mu-law companding, 0 for none.

    soft_targets: the std, in bins, of a Gaussian over bins as target; 0 for one hot.
    """

    bins: int = 256
    mu: float = 1.7
    soft_targets: float = 0.0


ActionConfig = ContinuousActionConfig | BinnedActionConfig


def fitted(config: ActionConfig, contract: ActionContract) -> ActionConfig:
    """The configuration for a contract: of discrete actions every choice is a bin, whatever is
    configured, so that they are embedded by a table and learned by cross-entropy (see
    `ActionContract.discrete`)."""
    return BinnedActionConfig(bins=len(contract.choices), mu=0.0) if contract.choices else config


class ActionEmbedding(nn.Module):
    """A chunk of k actions to one token; actions that are not real take no part.

    Bins are embedded a dimension, squashed by tanh, joined and projected, as in DualMind.
    """

    def __init__(self, config: ActionConfig, width: int, *, chunk: int, dimension: int):
        super().__init__()
        self.bins = (
            Bins(config.bins, mu=config.mu) if isinstance(config, BinnedActionConfig) else None
        )
        self.dimension = dimension
        values = chunk * dimension
        if isinstance(config, BinnedActionConfig):
            part = max(width // values, 4)
            self.tables = nn.Parameter(torch.randn(values, config.bins, part) * 0.02)
            self.project: nn.Module = nn.Linear(values * part, width)
        else:
            self.project = mlp([2 * values, width, width])

    def forward(
        self,
        action: Float[Tensor, "b t k a"],
        real: Bool[Tensor, "b t k a"],
        embodiment: Int[Tensor, "b"] | None = None,
    ) -> Float[Tensor, "b t d"]:
        """action: in [-1, 1]. real: real actions and real dimensions. embodiment: see
        `ActionEmbeddings`."""
        values, real = (
            rearrange(action, "b t k a -> b t (k a)"),
            rearrange(real, "b t k a -> b t (k a)"),
        )
        if self.bins is None:
            return self.project(torch.cat([values * real, real.to(values.dtype)], dim=-1))
        index = self.bins.encode(values)
        embedded = (
            self.tables[torch.arange(index.shape[-1], device=index.device), index].tanh()
            * real[..., None]
        )
        return self.project(rearrange(embedded, "b t v e -> b t (v e)"))


class ActionEmbeddings(nn.Module):
    """An `ActionEmbedding` for each of several embodiments: every row goes through its own, without
    its padding."""

    def __init__(self, embeddings: Sequence[ActionEmbedding]):
        super().__init__()
        self.of = _numbered(embeddings)

    def forward(
        self,
        action: Float[Tensor, "b t k a"],
        real: Bool[Tensor, "b t k a"],
        embodiment: Int[Tensor, "b"] | None,
    ) -> Float[Tensor, "b t d"]:
        """embodiment: each row's."""

        def embed(number: int, rows: Tensor) -> Tensor:
            own = self.of[str(number)]
            return own(action[rows, ..., : own.dimension], real[rows, ..., : own.dimension])

        return by_row(embodiment, len(self.of), embed)


class ActionHead(nn.Module):
    """Features to a chunk of k actions: `forward` gives parameters, `loss` compares them, `decode`
    makes actions.

    embodiment: see `ActionHeads`.
    """

    def __init__(
        self, config: ActionConfig, width: int, *, hidden: int, chunk: int, dimension: int
    ):
        super().__init__()
        self.config, self.chunk, self.dimension = config, chunk, dimension
        self.bins = (
            Bins(config.bins, mu=config.mu) if isinstance(config, BinnedActionConfig) else None
        )
        self.values = config.bins if isinstance(config, BinnedActionConfig) else 1
        self.layers = mlp([width, hidden, chunk * dimension * self.values])

    def forward(
        self, features: Float[Tensor, "b t f"], embodiment: Int[Tensor, "b"] | None = None
    ) -> Float[Tensor, "b t k a v"]:
        """v: the logits of an action's bins, or its one value."""
        return rearrange(
            self.layers(features),
            "b t (k a v) -> b t k a v",
            k=self.chunk,
            a=self.dimension,
            v=self.values,
        )

    def loss(
        self,
        parameters: Float[Tensor, "b t k a v"],
        action: Float[Tensor, "b t k a"],
        embodiment: Int[Tensor, "b"] | None = None,
    ) -> Float[Tensor, "b t k a"]:
        """Huber loss (divided by its corner, so that far errors cost as their absolute value), or
        cross-entropy."""
        if isinstance(self.config, ContinuousActionConfig):
            corner = self.config.huber
            return (
                F.huber_loss(parameters[..., 0].float(), action, reduction="none", delta=corner)
                / corner
            )
        assert self.bins is not None
        logits = parameters.float().log_softmax(dim=-1)
        if self.config.soft_targets:
            return -(self.bins.soft_targets(action, self.config.soft_targets) * logits).sum(-1)
        return -logits.gather(-1, self.bins.encode(action)[..., None])[..., 0]

    def decode(
        self,
        parameters: Float[Tensor, "b t k a v"],
        generator: torch.Generator | None = None,
        embodiment: Int[Tensor, "b"] | None = None,
    ) -> Float[Tensor, "b t k a"]:
        """The action, in [-1, 1]; the most likely bin's centre, or with a generator a sample of the
        bins."""
        if self.bins is None:
            return parameters[..., 0].clamp(-1, 1)
        if generator is None:
            return self.bins.decode(parameters.argmax(dim=-1))
        probabilities = parameters.float().softmax(dim=-1)
        index = torch.multinomial(probabilities.flatten(0, -2), 1, generator=generator)
        return self.bins.decode(index.view(parameters.shape[:-1]))


class ActionHeads(nn.Module):
    """An `ActionHead` for each of several embodiments: every row goes through its own.

    Parameters, losses and actions are padded with zeros to the largest; padding of `action` is not
    read. embodiment: each row's.
    """

    def __init__(self, heads: Sequence[ActionHead]):
        super().__init__()
        self.of = _numbered(heads)
        self.dimension, self.values = (
            max(head.dimension for head in heads),
            max(head.values for head in heads),
        )

    def forward(
        self, features: Float[Tensor, "b t f"], embodiment: Int[Tensor, "b"] | None
    ) -> Float[Tensor, "b t k a v"]:
        def predict(number: int, rows: Tensor) -> Tensor:
            own = self._head(number)
            padding = (0, self.values - own.values, 0, self.dimension - own.dimension)
            return F.pad(own(features[rows]), padding)

        return by_row(embodiment, len(self.of), predict)

    def loss(
        self,
        parameters: Float[Tensor, "b t k a v"],
        action: Float[Tensor, "b t k a"],
        embodiment: Int[Tensor, "b"] | None,
    ) -> Float[Tensor, "b t k a"]:
        """Each row's in the units of its own head."""

        def compare(number: int, rows: Tensor) -> Tensor:
            own = self._head(number)
            loss = own.loss(self._own(own, parameters[rows]), action[rows, ..., : own.dimension])
            return F.pad(loss, (0, self.dimension - own.dimension))

        return by_row(embodiment, len(self.of), compare)

    def decode(
        self,
        parameters: Float[Tensor, "b t k a v"],
        generator: torch.Generator | None = None,
        embodiment: Int[Tensor, "b"] | None = None,
    ) -> Float[Tensor, "b t k a"]:
        def act(number: int, rows: Tensor) -> Tensor:
            own = self._head(number)
            return F.pad(
                own.decode(self._own(own, parameters[rows]), generator),
                (0, self.dimension - own.dimension),
            )

        return by_row(embodiment, len(self.of), act)

    def _head(self, number: int) -> ActionHead:
        head = self.of[str(number)]
        assert isinstance(head, ActionHead)
        return head

    @staticmethod
    def _own(head: ActionHead, parameters: Tensor) -> Tensor:
        return parameters[..., : head.dimension, : head.values]


def _numbered(modules: Sequence[nn.Module]) -> nn.ModuleDict:
    """Not a list, whose members are taken for repeated blocks to compile."""
    return nn.ModuleDict({str(number): module for number, module in enumerate(modules)})
