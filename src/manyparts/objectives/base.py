"""The base of all objectives: a head with a prediction and a loss, and the passes of the model that
objectives share."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from manyparts.core.arguments import expect
from manyparts.core.errors import UserError
from manyparts.core.plugins import Plugins
from manyparts.core.printing import short
from manyparts.core.records import Batch, Loss
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.actions import ActionHead, ActionHeads, fitted
from manyparts.models.control_transformer import ControlTransformer, Tokens
from manyparts.models.prompt_encoder import PromptTokens
from manyparts.nn.patterns import AttentionPattern
from manyparts.objectives.configs import ObjectiveConfig


@dataclass
class Passes:
    """A batch's way through the model, shared by all objectives.

    The batch is embedded once, and decoded once per attention pattern that an objective asks for.
    """

    model: ControlTransformer
    """The model under training."""

    batch: Batch
    """The windows to learn from."""

    generator: torch.Generator
    """The only source of randomness of the objectives."""

    _embedded: Tokens | None = None
    _decoded: dict[tuple[AttentionPattern, bool], Tokens] = field(default_factory=dict)

    @property
    def embedded(self) -> Tokens:
        """The tokens before the decoder."""
        if self._embedded is None:
            self._embedded = self.model.embed(self.batch)
        return self._embedded

    def decoded(self, attention: AttentionPattern, *, prompted: bool = False) -> Tokens:
        """The decoder's outputs.

        Args:
            attention: which tokens each token sees, see `nn.masks`.
            prompted: whether the tokens also see the batch's prompts.
        """
        # Objectives with the same pattern get the same tensors, so the decoder, which is most of
        # the computation, runs once for all of them.
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
        """The decoder's outputs of every observation on its own, with the batch's prompts."""
        return self.model.decode_present(
            self.embedded.observation, prompt=self._prompt(), embodiment=self.batch.embodiment
        )

    def _prompt(self) -> PromptTokens | None:
        return self.model.encode_prompt(
            self.batch.prompt, self.batch.prompt_images, self.batch.embodiment
        )


class Objective(nn.Module):
    """One loss.

    A subclass registers itself by naming its config and the model that it trains:
    `class InverseDynamics(Objective, config=InverseDynamicsConfig, model=ControlTransformer)`.
    Its `predict` is separate from the loss, so that tests can check what the prediction depends on.
    """

    model_class: ClassVar[type[nn.Module]]
    """The class of models that the objective trains."""

    def __init_subclass__(
        cls,
        *,
        config: type[ObjectiveConfig] | None = None,
        model: type[nn.Module] | None = None,
    ) -> None:
        super().__init_subclass__()
        if config is None and model is None and Objective not in cls.__bases__:
            return  # torch.export makes such classes; they are what they inherit from
        if config is None or model is None:
            raise TypeError(
                f"{cls.__name__} names no config or no model: class {cls.__name__}(...)"
            )
        cls.model_class = model
        _DECLARED[config] = cls

    def __init__(self, config: Any = None, model: Any = None) -> None:
        super().__init__()

    def forward(self, passes: Any) -> Loss:
        """The loss before averaging, with its mask.

        Args:
            passes: the batch's way through the model; its class depends on the model, see
                `system.MODELS`.
        """
        raise TypeError(f"{type(self).__name__} has no loss; define forward(passes) -> Loss")

    def require_learnable(self, model: Any) -> None:
        """Raise UserError if nothing can be learned from such windows or actions.

        Training calls this before it begins; what was trained before is loaded all the same.
        """

    def after_step(self, model: Any) -> None:
        """Update what is not learned by gradient, such as moving averages.

        Training calls this after each optimiser step.
        """

    def set_progress(self, fraction: float) -> None:
        """Take the fraction of training that is done, in [0, 1], for schedules.

        Training calls this before each step.
        """


_DECLARED: dict[type[ObjectiveConfig], type[Objective]] = {}


def every_objective(named: Iterable[str] = ()) -> Mapping[type[ObjectiveConfig], type[Objective]]:
    """Config class to objective, for this package's files and all other declarations so far.

    Args:
        named: Names of config classes. Plug-ins of these names are loaded first.

    Raises:
        UserError: Such a plug-in does not load.
    """
    _import_all()
    for name in named:
        if name in PLUGINS.names():
            PLUGINS.load(name)
    return dict(_DECLARED)


def _own_names() -> list[str]:
    """The names of the config classes of this package."""
    _import_all()
    package = __name__.partition(".")[0]
    return [kind.__name__ for kind in _DECLARED if kind.__module__.startswith(f"{package}.")]


def _checked(name: str, value: Any) -> type[Objective]:
    """What a plug-in's entry point gave, if it is the objective of the config of that name."""
    if not (isinstance(value, type) and issubclass(value, Objective)):
        raise TypeError(f"it is {short(value)}, not a subclass of Objective")
    configs = [config.__name__ for config, kind in _DECLARED.items() if kind is value]
    if name not in configs:
        raise TypeError(f"{value.__name__} has the config {', '.join(configs)}, not {name}")
    return value


PLUGINS = Plugins("objectives", _own_names, _checked)
"""Objectives of other distributions by their config's class, entry points of the group
`manyparts.objectives`."""


@functools.cache
def _import_all() -> None:
    """Import every module of this package.

    A class registers itself when its module is imported. Importing all of them, instead of keeping
    a table, is what makes a new objective one file.
    """
    package = importlib.import_module("manyparts.objectives")
    for module in pkgutil.walk_packages(package.__path__, "manyparts.objectives."):
        importlib.import_module(module.name)


def objectives_for(
    model: type[nn.Module], named: Iterable[str] = ()
) -> dict[type[ObjectiveConfig], type[Objective]]:
    """The objectives that train a class of models, by config class.

    Args:
        model: The class.
        named: See `every_objective`.

    Raises:
        UserError: See `every_objective`.
    """
    declared = every_objective(named).items()
    return {config: kind for config, kind in declared if issubclass(model, kind.model_class)}


def action_head(model: ControlTransformer, width: int, hidden: int) -> ActionHead | ActionHeads:
    """A head that predicts the model's chunks of actions, or one head per embodiment.

    Args:
        model: says which embodiments there are and how many actions a chunk has.
        width: dimension of the features that the head reads.
        hidden: width of its hidden layer.
    """
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
    """Mask of the actions that count: bool (b, t, k, a), real steps, actions and dimensions.

    Args:
        batch: the windows.
        steps: which steps of each window to return; t counts only these.
    """
    return (batch.mask[:, steps, None] & batch.chunk_mask[:, steps])[..., None] & batch.action_mask[
        :, None, None, :
    ]


def action_loss(
    head: ActionHead | ActionHeads, parameters: Tensor, action: Tensor, mask: Tensor, batch: Batch
) -> Loss:
    """The loss of predicted actions.

    Args:
        head: what predicted them.
        parameters: its predictions, (b, t, k, a, v).
        action: what to predict, (b, t, k, a).
        mask: bool (b, t, k, a), the numbers that count.
        batch: says how many dimensions each row's actions have.
    """
    # Embodiments differ in how many dimensions their actions have. Scaled so, every action counts
    # the same, not every dimension: one discrete choice as much as four joint velocities.
    weight = batch.action_mask.shape[1] / batch.action_mask.sum(dim=1).clamp(min=1)
    return Loss(
        head.loss(parameters, action, embodiment=batch.embodiment),
        mask * weight[:, None, None, None],
    )


def require_numbers(embodiments: EmbodimentSet, what: str) -> None:
    """Raise UserError if any embodiment acts by choices. A mean of two of them may be a third.

    Args:
        embodiments: Of the model.
        what: Which objective learns actions by their square error.
    """
    for spec in embodiments.specs:
        if spec.action.choices:
            raise UserError(
                f"{spec.embodiment} acts by choices, and {what} learns actions of real numbers; "
                "dualmind/phase1 and phase2 learn choices"
            )


def require_pairs(steps: int, what: str) -> None:
    """Raise UserError for windows of one step, from which a loss of pairs learns nothing.

    Args:
        steps: Of the model's longest window.
        what: Which objective needs two.
    """
    expect("window.steps", steps, steps >= 2, f"at least 2: {what} learns from pairs of steps")
