"""What every objective is: a head with a prediction and a loss, over passes of the model that
objectives share."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from manyparts.core.records import Batch, Loss
from manyparts.models.actions import ActionHead, ActionHeads, fitted
from manyparts.models.control_transformer import ControlTransformer, Tokens
from manyparts.models.prompts import PromptTokens
from manyparts.nn.masks import AttentionPattern


@dataclass
class Passes:
    """A batch's way through the model: embedded once, decoded once for each pattern of attention
    that is asked for.

    generator: the source of all randomness of the objectives in this pass.
    """

    model: ControlTransformer
    batch: Batch
    generator: torch.Generator
    _embedded: Tokens | None = None
    _decoded: dict[tuple[AttentionPattern, bool], Tokens] = field(default_factory=dict)

    @property
    def embedded(self) -> Tokens:
        """The tokens before the decoder."""
        if self._embedded is None:
            self._embedded = self.model.embed(self.batch)
        return self._embedded

    def decoded(self, attention: AttentionPattern, *, prompted: bool = False) -> Tokens:
        """The decoder's outputs; prompted: with the batch's prompts."""
        key = (attention, prompted)
        if key not in self._decoded:
            prompt = self._prompt() if prompted else None
            self._decoded[key] = self.model.decode(
                self.embedded,
                attention,
                mask=self.batch.mask,
                prompt=prompt,
                embodiment=self.batch.embodiment,
            )
        return self._decoded[key]

    def decoded_present(self) -> Float[Tensor, "b t o d"]:
        """The decoder's outputs of each step's observation by itself, with the batch's prompts."""
        return self.model.decode_present(
            self.embedded.observation, prompt=self._prompt(), embodiment=self.batch.embodiment
        )

    def _prompt(self) -> PromptTokens | None:
        return self.model.encode_prompt(
            self.batch.prompt, self.batch.prompt_images, self.batch.embodiment
        )


@dataclass(frozen=True)
class ObjectiveConfig:
    """Settings of one objective, in one file with the `Objective` that it configures."""

    weight: float = 1.0
    """Factor of this loss in the sum that training minimises."""

    @classmethod
    def declared_kinds(cls) -> tuple[type[ObjectiveConfig], ...]:
        """The settings of every objective that is declared, for those who read them from JSON."""
        return tuple(every_objective())


class Objective(nn.Module):
    """One loss.

    A subclass declares its config and the model that it trains, which is all it takes to register
    it: `class InverseDynamics(Objective, config=InverseDynamicsConfig, model=ControlTransformer)`.
    It has a `predict`, apart from the loss, so that tests can ask what it may not see.
    """

    model_class: ClassVar[type[nn.Module]]

    def __init_subclass__(cls, *, config: type[ObjectiveConfig], model: type[nn.Module]) -> None:
        super().__init_subclass__()
        cls.model_class = model
        _DECLARED[config] = cls

    def __init__(self, config: Any = None, model: Any = None) -> None:
        super().__init__()

    def forward(self, passes: Any) -> Loss:
        """The loss, unreduced, with its mask. passes: `Passes`, or what stands for it where the
        model is another."""
        raise TypeError(f"{type(self).__name__} has no loss")

    def after_step(self, model: Any) -> None:
        """Called after each optimiser step: the place where averages move."""

    def set_progress(self, fraction: float) -> None:
        """Called before each step with the part of training that is done, in [0, 1]."""


_DECLARED: dict[type[ObjectiveConfig], type[Objective]] = {}


def every_objective() -> Mapping[type[ObjectiveConfig], type[Objective]]:
    """Every objective by the class of its config: those of the files below this folder, and those
    that were declared elsewhere."""
    package = importlib.import_module("manyparts.objectives")
    for module in pkgutil.walk_packages(package.__path__, "manyparts.objectives."):
        importlib.import_module(module.name)
    return dict(_DECLARED)


def objectives_for(model: type[nn.Module]) -> dict[type[ObjectiveConfig], type[Objective]]:
    """Those that train such a model."""
    declared = every_objective().items()
    return {config: kind for config, kind in declared if issubclass(model, kind.model_class)}


def action_head(model: ControlTransformer, width: int, hidden: int) -> ActionHead | ActionHeads:
    """A head for the model's chunks of actions, over features of `width`; one for each of several
    embodiments."""
    heads = [
        ActionHead(
            fitted(model.config.action, spec.action),
            width,
            hidden=hidden,
            chunk=model.chunk,
            dimension=spec.action.dimension,
        )
        for spec in model.embodiments.specs
    ]
    return heads[0] if len(heads) == 1 else ActionHeads(heads)


def action_mask(batch: Batch, steps: slice = slice(None)) -> Tensor:
    """bool (b, t, k, a): real steps, real actions, real dimensions."""
    return (batch.mask[:, steps, None] & batch.chunk_mask[:, steps])[..., None] & batch.action_mask[
        :, None, None, :
    ]


def action_loss(
    head: ActionHead | ActionHeads, parameters: Tensor, action: Tensor, mask: Tensor, batch: Batch
) -> Loss:
    """The loss of predicted actions where `mask`, bool (b, t, k, a), holds.

    Where embodiments differ in dimensions, each action counts alike, not each dimension: one choice
    as much as four numbers.
    """
    weight = batch.action_mask.shape[1] / batch.action_mask.sum(dim=1).clamp(min=1)
    return Loss(
        head.loss(parameters, action, embodiment=batch.embodiment),
        mask * weight[:, None, None, None],
    )
