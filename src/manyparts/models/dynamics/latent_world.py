"""A world model with a latent state, of states, images or both, in which a policy can learn.

Hafner et al. 2020, "Dream to Control", arXiv 1912.01603, and 2021, arXiv 2010.02193. The reward of
an action, and whether the episode ends with it, are predicted from the state that it leads to.

Dimensions: as in `state_space`; s numbers of an observed state, k sources.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from einops import pack, unpack
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from manyparts.core.errors import UserError
from manyparts.core.printing import first_of
from manyparts.core.records import Batch
from manyparts.core.spec import SHOWN_DIFFERENCES
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.base import TrainableModel
from manyparts.models.dynamics.configs import GaussianLatentConfig, LatentConfig, LatentWorldConfig
from manyparts.models.dynamics.filtering import Filtering, StepWeights
from manyparts.models.dynamics.state_space import Filtered, StateSpace
from manyparts.models.image_pyramid import ImageDecoder, ImageEncoder
from manyparts.nn.gru import NormGRUCell
from manyparts.nn.latents import CategoricalLatent, GaussianLatent, Latent
from manyparts.nn.linear import linear
from manyparts.nn.mlp import mlp
from manyparts.nn.named import NamedModules


class LatentFilter(StateSpace):
    """What turns observations into latent states: encoders and the core.

    A teacher is a filter alone.

    Args:
        config: Sizes, and what is seen.
        cameras: Slot to the (height, width) of its images; those of a model of states are ignored.
        state: Numbers of an observed state; those of a model of images are ignored.
        action: Numbers of an action.

    Attributes:
        cameras: Slots of the images that are seen; empty if only states are.
        state_dimension: Numbers of a state that is seen; 0 if only images are.
        action_dimension: Numbers of an action.
        features: Numbers of a state's features, f.
    """

    def __init__(
        self,
        config: LatentWorldConfig,
        *,
        cameras: Mapping[str, tuple[int, int]],
        state: int,
        action: int,
    ):
        seen = {} if config.sees == "state" else dict(cameras)
        state = 0 if config.sees == "images" else state
        encoders = {name: ImageEncoder(size, config.depth) for name, size in seen.items()}
        embedding = state + sum(each.width for each in encoders.values())
        latent = latent_of(config.latent)
        super().__init__(
            latent,
            embedding=embedding + config.sources,
            action=action + config.sources,
            width=config.width,
            cell="norm_gru",
            # On a CPU, GELU takes several times as long, and is a fifth of all time.
            activation=nn.SiLU,
        )
        self.config, self.cameras, self.state_dimension = config, tuple(seen), state
        self.action_dimension, self.features = action, config.width + latent.width
        self.encoders = NamedModules(encoders)

    def embed(
        self,
        images: Mapping[str, UInt8[Tensor, "n c h w"]],
        state: Float[Tensor, "n s"],
        source: Int[Tensor, "n"] | None = None,
    ) -> Float[Tensor, "n e"]:
        """Return the embedding of observations.

        Args:
            images: Slot to its images; slots that are not seen may be missing.
            state: Normalised states, ignored if only images are seen.
            source: The dataset of each row, for a model of several sources.
        """
        return self.conditioned(self.embed_alone(images, state), source)

    def embed_alone(
        self, images: Mapping[str, UInt8[Tensor, "n c h w"]], state: Float[Tensor, "n s"]
    ) -> Float[Tensor, "n e"]:
        """Return the embedding of observations without their source; see `embed`."""
        parts = [state] if self.state_dimension else []
        parts += [self.encoders[name](images[name]) for name in self.cameras]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def advance(
        self,
        recurrent: Float[Tensor, "n d"],
        drawn: Float[Tensor, "n z"],
        action: Float[Tensor, "n a"],
    ) -> Float[Tensor, "n d"]:
        """See `StateSpace.advance`. action: `conditioned` on its source."""
        return super().advance(recurrent, drawn, self._read(action))

    def filter(
        self,
        embedding: Float[Tensor, "b t e"],
        action: Float[Tensor, "b u a"],
        generator: torch.Generator | None = None,
    ) -> Filtered:
        """See `StateSpace.filter`. action: `conditioned` on its source."""
        if not torch.is_grad_enabled() or embedding.shape[1] == 1:
            return super().filter(embedding, action, generator)
        cell, read, out = self.recurrent, self.posterior_head[0], self.posterior_head[-1]
        assert isinstance(cell, NormGRUCell), type(cell)
        assert isinstance(read, nn.Linear) and isinstance(out, nn.Linear), self.posterior_head
        from_drawn, from_action = self.enter.weight.split(
            [self.latent.width, action.shape[-1]], dim=1
        )
        from_state, from_embedding = read.weight.split([self.width, embedding.shape[-1]], dim=1)
        weights = StepWeights(
            enter=from_drawn,
            gates=cell.gates.weight,
            scale=cell.norm.weight,
            shift=cell.norm.bias,
            read=from_state,
            out=out.weight,
            bias=out.bias,
        )

        # What does not depend on states is computed for all steps at once.
        taken = self._read(action[:, : embedding.shape[1] - 1])
        taken = linear(taken, from_action, self.enter.bias).to(from_state.dtype)
        seen = linear(embedding, from_embedding, read.bias).to(from_state.dtype)
        recurrent, outputs, drawn = Filtering.apply(taken, seen, self.latent, generator, *weights)
        posterior = self.latent.distribution(outputs)
        return Filtered(recurrent, self.prior(recurrent), posterior, drawn)

    def _read(self, action: Float[Tensor, "... a"]) -> Float[Tensor, "... a"]:
        """Return actions as the model reads them: if it takes none, zeros, and the source that
        follows them."""
        if self.config.actions == "own":
            return action
        return F.pad(action[..., self.action_dimension :], (self.action_dimension, 0))

    def conditioned(
        self, inputs: Float[Tensor, "... i"], source: Int[Tensor, "..."] | None
    ) -> Float[Tensor, "... j"]:
        """Return inputs with the source that they are of, one-hot, for a model of several sources.

        Args:
            inputs: An embedding, actions, or features for the heads.
            source: The source of each row.
        """
        if not self.config.sources:
            return inputs
        assert source is not None, "a model of several sources is asked about one of them"
        marks = F.one_hot(source, self.config.sources).to(inputs.dtype)
        return torch.cat([inputs, marks.expand(*inputs.shape[:-1], -1)], dim=-1)


class LatentWorld(LatentFilter, TrainableModel):
    """See the module.

    Args:
        config: Sizes.
        embodiments: One embodiment, or several that are seen by images alone.
        chunk: Actions per step; must be 1.
        steps: Steps of a window.

    """

    prompt_encoder = None
    encoder_names = ()
    trunk = ()
    reward_limit = math.inf

    def __init__(
        self, config: LatentWorldConfig, embodiments: EmbodimentSet, *, chunk: int, steps: int
    ):
        _require_fitting(config, embodiments, chunk=chunk, steps=steps)
        super().__init__(
            config,
            cameras=embodiments.slots,
            state=embodiments.state_dimension,
            action=embodiments.action_dimension,
        )
        self.embodiments, self.chunk, self.steps = embodiments, chunk, steps
        read = self.features + config.sources
        hidden = [config.width] * config.head_layers
        sizes = {name: embodiments.slots[name] for name in self.cameras}
        self.image_heads = NamedModules(
            {name: ImageDecoder(read, size, config.depth) for name, size in sizes.items()}
        )
        state = self.state_dimension
        self.state_head = mlp([read, *hidden, state], activation=nn.SiLU) if state else None
        self.reward_head = mlp([read, *hidden, 1], activation=nn.SiLU)
        self.continuation_head = mlp([read, *hidden, 1], activation=nn.SiLU)

    def embed_batch(self, batch: Batch) -> Float[Tensor, "b t e"]:
        """Return the embedding of every observation of a batch."""
        state, shape = pack([batch.state], "* s")
        images = {name: pack([batch.images[name]], "* c h w")[0] for name in self.cameras}
        (embedding,) = unpack(self.embed(images, state, self._per_step(batch)), shape, "* e")
        return embedding

    def reward(self, read: Float[Tensor, "... f"]) -> Float[Tensor, "..."]:
        """Return the reward of the action that led to states, in the environment's units.

        Args:
            read: Features, `conditioned` on their source.
        """
        # Learned on a scale that keeps small rewards apart and large ones bounded (DreamerV3).
        return symexp(self.reward_head(read)[..., 0])

    def continuation(self, read: Float[Tensor, "... f"]) -> Float[Tensor, "..."]:
        """Return the probability that the episode went on after the action that led to states."""
        return self.continuation_head(read)[..., 0].sigmoid()

    def _per_step(self, batch: Batch) -> Tensor | None:
        """The source of each step of a batch, flat."""
        if batch.source is None:
            return None
        return batch.source[:, None].expand(batch.mask.shape).reshape(-1)


def latent_of(config: LatentConfig) -> Latent:
    """Return the family of random variables of a config."""
    if isinstance(config, GaussianLatentConfig):
        return GaussianLatent(config.variables, config.min_std)
    return CategoricalLatent(config.variables, config.categories, config.uniform)


def symlog(values: Tensor) -> Tensor:
    """Return sign(x) log(1 + |x|): near zero as it is, far from it a logarithm."""
    return values.sign() * values.abs().log1p()


def symexp(values: Tensor) -> Tensor:
    """Return the inverse of `symlog`."""
    return values.sign() * values.abs().expm1()


def _require_fitting(
    config: LatentWorldConfig, embodiments: EmbodimentSet, *, chunk: int, steps: int
) -> None:
    """Raise UserError where embodiments or windows are none that the model can learn from."""
    names = ", ".join(embodiments.names)
    if chunk != 1 or steps < 2:
        raise UserError(
            f"a world model predicts every step: window.chunk is {chunk} and window.steps {steps}; "
            "expected 1 and at least 2"
        )
    if config.sees != "state" and not embodiments.slots:
        raise UserError(f"{names} has no camera; set model.sees to state")
    if config.sees != "images" and not embodiments.state_dimension:
        raise UserError(f"{names} has no state; set model.sees to images")
    if config.sees != "images" and len(embodiments.specs) > 1:
        first, second = embodiments.specs[:2]
        different = first_of(second.differences(first), SHOWN_DIFFERENCES, separator="; ")
        raise UserError(
            f"states of several embodiments ({names}) mean different things ({different}); set "
            "model.sees to images, or train on one embodiment"
        )
    cameras = {spec.embodiment: len(spec.cameras) for spec in embodiments.specs}
    if config.sees != "state" and len(set(cameras.values())) > 1:
        counts = ", ".join(f"{name} {count}" for name, count in cameras.items())
        raise UserError(
            f"embodiments have different numbers of cameras ({counts}), and one model sees all; "
            "collect each with as many"
        )
