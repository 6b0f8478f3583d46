"""Chunks of actions to tokens and back: real values, bins, or discrete choices.

Dimensions: b rows, t steps, k actions per chunk, a numbers per action, v parameters per number,
d numbers per token, f features. `embodiment` is each row's index in the model's `EmbodimentSet`,
int64 (b,), or None where there is only one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from manyparts.core.spec import ActionContract
from manyparts.models.configs import ActionConfig, BinnedActionConfig, ContinuousActionConfig
from manyparts.nn.bins import Bins
from manyparts.nn.mlp import mlp
from manyparts.nn.routing import by_row


def fitted(config: ActionConfig, contract: ActionContract) -> ActionConfig:
    """Return the config to use for an action contract.

    For discrete actions every choice is a bin, whatever is configured, so that choices are embedded
    by a table and learned by cross-entropy; see `ActionContract.discrete`.

    Args:
        config: The config that was chosen.
        contract: The embodiment's actions.

    Returns:
        `config` for continuous actions, else a `BinnedActionConfig` with a bin per choice.
    """
    return BinnedActionConfig(bins=len(contract.choices), mu=0.0) if contract.choices else config


def _bins_of(config: ActionConfig) -> Bins | None:
    """Return the bins of a config; None for real numbers."""
    return Bins(config.bins, mu=config.mu) if isinstance(config, BinnedActionConfig) else None


class ActionEmbedding(nn.Module):
    """A chunk of k actions to one token.

    Each number's bin is embedded, squashed by tanh, joined with the others and projected, as in
    DualMind. Real numbers go through a small network. Padding takes no part.
    """

    def __init__(self, config: ActionConfig, width: int, *, chunk: int, dimension: int):
        super().__init__()
        self.bins = _bins_of(config)
        self.dimension = dimension
        values = chunk * dimension
        if isinstance(config, BinnedActionConfig):
            # The parts together are about as wide as the token, but never too narrow to tell bins
            # apart.
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
        """Return a token per chunk.

        Args:
            action: Within [-1, 1].
            real: Actions and dimensions that are not padding.
            embodiment: Not used; see `ActionEmbeddings`.
        """
        values = rearrange(action, "b t k a -> b t (k a)")
        real = rearrange(real, "b t k a -> b t (k a)")
        if self.bins is None:
            # The mask is an input as well: zero may be an action, or none.
            return self.project(torch.cat([values * real, real.to(values.dtype)], dim=-1))
        index = self.bins.encode(values)
        # tables is (values, bins, part): number i looks its bin up in table i.
        number = torch.arange(index.shape[-1], device=index.device)
        embedded = self.tables[number, index].tanh() * real[..., None]
        return self.project(rearrange(embedded, "b t v e -> b t (v e)"))


class ActionEmbeddings(nn.Module):
    """An `ActionEmbedding` for each of several embodiments.

    Every row goes through its own one, without the padding to the largest embodiment.
    """

    def __init__(self, embeddings: Sequence[ActionEmbedding]):
        super().__init__()
        self.of = _numbered(embeddings)

    def forward(
        self,
        action: Float[Tensor, "b t k a"],
        real: Bool[Tensor, "b t k a"],
        embodiment: Int[Tensor, "b"] | None,
    ) -> Float[Tensor, "b t d"]:
        """Return a token per chunk.

        Args:
            action: Within [-1, 1], padded to the largest embodiment. The padding is not read.
            real: Actions and dimensions that are not padding.
            embodiment: Chooses each row's embedding.
        """

        def embed(number: int, rows: Tensor) -> Tensor:
            # An embodiment's own dimensions come first, padding last.
            own = self.of[str(number)]
            return own(action[rows, ..., : own.dimension], real[rows, ..., : own.dimension])

        return by_row(embodiment, len(self.of), embed)


class ActionHead(nn.Module):
    """Features to a chunk of k actions.

    `forward` returns parameters of actions; `loss` compares them with actions; `decode` turns them
    into actions. The argument `embodiment` is not used; see `ActionHeads`.
    """

    def __init__(
        self, config: ActionConfig, width: int, *, hidden: int, chunk: int, dimension: int
    ):
        super().__init__()
        self.config, self.chunk, self.dimension = config, chunk, dimension
        self.bins = _bins_of(config)
        self.values = config.bins if isinstance(config, BinnedActionConfig) else 1
        self.layers = mlp([width, hidden, chunk * dimension * self.values])

    def forward(
        self, features: Float[Tensor, "b t f"], embodiment: Int[Tensor, "b"] | None = None
    ) -> Float[Tensor, "b t k a v"]:
        """Return the logits of each number's bins, or its one value.

        Args:
            features: What the actions of each step are predicted from.
            embodiment: Not used.
        """
        return rearrange(
            # The order of a chunk's outputs, (k a v), stands in checkpoints.
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
        """Return the Huber loss or the cross-entropy, unreduced.

        Args:
            parameters: Of `forward`.
            action: The actions to predict, within [-1, 1].
            embodiment: Not used.

        Returns:
            A loss per number of each action. Huber losses are divided by `config.huber`.
        """
        if isinstance(self.config, ContinuousActionConfig):
            corner = self.config.huber
            # Divided by the corner, large errors cost their absolute value, whatever the corner is.
            return (
                F.huber_loss(parameters[..., 0].float(), action, reduction="none", delta=corner)
                / corner
            )
        assert self.bins is not None
        # In float32 also under autocast, where bfloat16 would round small probabilities away.
        log_probabilities = parameters.float().log_softmax(dim=-1)
        if self.config.soft_targets:
            targets = self.bins.soft_targets(action, self.config.soft_targets)
            return -(targets * log_probabilities).sum(-1)
        return -log_probabilities.gather(-1, self.bins.encode(action)[..., None])[..., 0]

    def decode(
        self,
        parameters: Float[Tensor, "b t k a v"],
        generator: torch.Generator | None = None,
        embodiment: Int[Tensor, "b"] | None = None,
    ) -> Float[Tensor, "b t k a"]:
        """Return actions within [-1, 1].

        Args:
            parameters: Of `forward`.
            generator: Draws bins by their probabilities. None: the most likely bins are taken. Real
                numbers are never drawn.
            embodiment: Not used.
        """
        if self.bins is None:
            return parameters[..., 0].clamp(-1, 1)
        if generator is None:
            return self.bins.decode(parameters.argmax(dim=-1))
        probabilities = parameters.float().softmax(dim=-1)
        # `multinomial` takes rows: every number of every action is one.
        index = torch.multinomial(probabilities.flatten(0, -2), 1, generator=generator)
        return self.bins.decode(index.view(parameters.shape[:-1]))


class ActionHeads(nn.Module):
    """An `ActionHead` for each of several embodiments: every row goes through its own one.

    Parameters, losses and actions are padded with zeros to the largest embodiment. The padding of
    `action` is not read.
    """

    def __init__(self, heads: Sequence[ActionHead]):
        super().__init__()
        self.of = _numbered(heads)
        self.dimension = max(head.dimension for head in heads)
        self.values = max(head.values for head in heads)

    def forward(
        self, features: Float[Tensor, "b t f"], embodiment: Int[Tensor, "b"] | None
    ) -> Float[Tensor, "b t k a v"]:
        """Return padded parameters; see `ActionHead.forward`.

        Args:
            features: What the actions of each step are predicted from.
            embodiment: Chooses each row's head.
        """

        def predict(number: int, rows: Tensor) -> Tensor:
            own = self._head(number)
            # `pad` counts from the last dimension: first v, then a, each (before, after).
            padding = (0, self.values - own.values, 0, self.dimension - own.dimension)
            return F.pad(own(features[rows]), padding)

        return by_row(embodiment, len(self.of), predict)

    def loss(
        self,
        parameters: Float[Tensor, "b t k a v"],
        action: Float[Tensor, "b t k a"],
        embodiment: Int[Tensor, "b"] | None,
    ) -> Float[Tensor, "b t k a"]:
        """Return padded losses, each row's in the units of its own head.

        Args:
            parameters: Of `forward`.
            action: The actions to predict, within [-1, 1], padded to the largest embodiment.
            embodiment: Chooses each row's head.
        """

        def compare(number: int, rows: Tensor) -> Tensor:
            own = self._head(number)
            loss = own.loss(
                self._unpadded(own, parameters[rows]), action[rows, ..., : own.dimension]
            )
            return F.pad(loss, (0, self.dimension - own.dimension))

        return by_row(embodiment, len(self.of), compare)

    def decode(
        self,
        parameters: Float[Tensor, "b t k a v"],
        generator: torch.Generator | None = None,
        embodiment: Int[Tensor, "b"] | None = None,
    ) -> Float[Tensor, "b t k a"]:
        """Return padded actions within [-1, 1].

        Args:
            parameters: Of `forward`.
            generator: See `ActionHead.decode`.
            embodiment: Chooses each row's head.
        """

        def act(number: int, rows: Tensor) -> Tensor:
            own = self._head(number)
            action = own.decode(self._unpadded(own, parameters[rows]), generator)
            return F.pad(action, (0, self.dimension - own.dimension))

        return by_row(embodiment, len(self.of), act)

    def _head(self, number: int) -> ActionHead:
        head = self.of[str(number)]
        assert isinstance(head, ActionHead)
        return head

    @staticmethod
    def _unpadded(head: ActionHead, parameters: Tensor) -> Tensor:
        """Return a head's own part of padded parameters."""
        return parameters[..., : head.dimension, : head.values]


def _numbered(modules: Sequence[nn.Module]) -> nn.ModuleDict:
    """Return modules by their numbers.

    Not a `ModuleList`: training compiles the members of those as repeated blocks.
    """
    return nn.ModuleDict({str(number): module for number, module in enumerate(modules)})
