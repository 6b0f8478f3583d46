"""The records that layers pass on: observations, prompts, episodes, batches and losses.

Arrays of an `Episode` are numpy, tensors of a `Batch` and a `Loss` are torch. This module imports
neither a simulator nor torch, so that simulator workers stay light.

Letters in shapes: b rows of a batch, t model steps, T environment steps, f images of a prompt,
k actions of a chunk, a action dimensions, s state dimensions, n visual tokens, d their width,
c channels, h height, w width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.printing import counted, short, shown_short

if TYPE_CHECKING:
    from torch import Tensor

Precision = Literal["fp32", "bf16"]


class Observation(TypedDict):
    """What an environment shows at one step, and what an agent reads."""

    images: dict[str, np.ndarray]
    """Camera to uint8 (h, w, 3)."""
    state: np.ndarray
    """float32 (s,), in the simulator's units."""


@shown_short
@dataclass(frozen=True, eq=False)
class Demonstration:
    """An example of the task: f observations in their order, and the actions after each."""

    images: Mapping[str, np.ndarray]
    """Camera to uint8 (f, h, w, 3)."""
    action: np.ndarray | None = None
    """float32 (f, k, a) in the contract's units, the first k actions after each observation; None
    if only images were recorded."""


@shown_short
@dataclass(frozen=True)
class Prompt:
    """What asks an agent for a task: an instruction, a goal image, a demonstration, or several.

    Two prompts are equal if they have the same instruction and the very same image objects.
    """

    instruction: str | None = None
    """Text."""
    goal: Mapping[str, np.ndarray] | None = None
    """Camera to uint8 (h, w, 3), an image of the solved task."""
    demonstration: Demonstration | None = None
    """An example of the task."""

    def __post_init__(self) -> None:
        if not isinstance(self.instruction, str | None):
            raise UserError(f"prompt's instruction is {self.instruction!r}; expected text")
        if not isinstance(self.goal, Mapping | None):
            raise UserError(
                f"prompt's goal is a {type(self.goal).__name__}; "
                "expected {camera: uint8 (h, w, 3)}"
            )

    @classmethod
    def of(cls, value: Prompt | str | None) -> Prompt | None:
        """Return a prompt as it is, or make one of an instruction.

        Raises:
            UserError: The value is neither, nor None.
        """
        if isinstance(value, str):
            return cls(value)
        if value is None or isinstance(value, Prompt):
            return value
        raise UserError(
            f"prompt is of type {type(value).__name__}; expected an instruction, or a Prompt"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Prompt):
            return NotImplemented
        same_images = self.goal is other.goal and self.demonstration is other.demonstration
        return self.instruction == other.instruction and same_images

    def __hash__(self) -> int:
        return hash((self.instruction, id(self.goal), id(self.demonstration)))


_NAMED = ("images", "features", "recorded")  # fields of a batch with tensors (b, t, ...) by name


@shown_short
@dataclass(frozen=True)
class PromptImages:
    """The images in b prompts: the goal's first, then a demonstration's in their order."""

    images: Mapping[str, Tensor]
    """Camera to uint8 (b, f, c, h, w); empty where `features` replace them."""
    features: Mapping[str, Tensor]
    """Camera to visual tokens (b, f, n, d) of a frozen encoder; empty where `images` are there."""
    action: Tensor
    """(b, f, k, a), in [-1, 1], the actions after each image."""
    mask: Tensor
    """bool (b, f), images that are there."""
    action_mask: Tensor
    """bool (b, f), images with actions."""

    def __post_init__(self) -> None:
        b, f = self.mask.shape
        shapes = {
            name: tuple(tensor.shape[:2])
            for name, tensor in [*self.images.items(), *self.features.items()]
        }
        shapes |= {
            "action": tuple(self.action.shape[:2]),
            "action_mask": tuple(self.action_mask.shape),
        }
        assert all(shape == (b, f) for shape in shapes.values()), (shapes, (b, f))

    def to(self, device: Any) -> PromptImages:
        """Return the same images on another device."""
        return _changed(self, lambda tensor: tensor.to(device))


@shown_short
@dataclass(frozen=True)
class Episode:
    """One trajectory of T steps: row t of every array is of observation t and the action after."""

    task: str
    """"suite/task"."""
    instruction: str
    """The text that asks for the task."""
    seed: int
    """The environment's reset seed."""
    images: Mapping[str, np.ndarray]
    """Camera to uint8 (T, h, w, 3)."""
    state: np.ndarray
    """float32 (T, s)."""
    action: np.ndarray
    """float32 (T, a), as executed."""
    expert_action: np.ndarray
    """float32 (T, a), the expert's action before noise, which imitation learns."""
    reward: np.ndarray
    """float32 (T,), received after action t."""
    success: np.ndarray
    """bool (T,), whether the task is solved after action t; False where nobody knows."""
    terminated: bool = False
    """Whether it ended for good after the last action, and was not only cut off."""

    def __post_init__(self) -> None:
        names = ("state", "action", "expert_action", "reward", "success")
        arrays = {name: getattr(self, name) for name in names}
        images = {f"image of camera {name!r}": array for name, array in self.images.items()}
        for name, array in {**arrays, **images}.items():
            if not isinstance(array, np.ndarray) or array.ndim == 0:
                raise UserError(
                    f"episode's {name} is {short(array)}; expected a numpy array, a row per step"
                )
            if len(array) != len(self.state):
                raise UserError(
                    f"episode's {name} has {counted(len(array), 'row')}; expected "
                    f"{len(self.state)}, as many as its state"
                )

    def __len__(self) -> int:
        return len(self.state)


@shown_short
@dataclass(frozen=True)
class Batch:
    """Windows of t model steps.

    A model step is one observation and the chunk of k actions after it, so consecutive observations
    of a window are k environment steps apart (k = 1: every step).
    """

    images: Mapping[str, Tensor]
    """Camera to uint8 (b, t, c, h, w); empty where `features` replace them."""
    features: Mapping[str, Tensor]
    """Camera to visual tokens (b, t, n, d) of a frozen encoder; empty where `images` are there."""
    state: Tensor
    """(b, t, s), normalised."""
    action: Tensor
    """(b, t, k, a), as executed, in [-1, 1]."""
    expert_action: Tensor
    """(b, t, k, a), what imitation learns, in [-1, 1]."""
    reward: Tensor
    """(b, t), summed over the chunk."""
    timestep: Tensor
    """int64 (b, t), the environment step of the observation."""
    mask: Tensor
    """bool (b, t), steps that are no padding."""
    chunk_mask: Tensor
    """bool (b, t, k), actions that are no padding."""
    state_mask: Tensor
    """bool (b, s), dimensions that the row's embodiment has."""
    action_mask: Tensor
    """bool (b, a), dimensions that the row's embodiment has."""
    prompt: tuple[Prompt, ...]
    """b prompts; their images are in `prompt_images`."""
    window: Tensor
    """int64 (b,), the window's index in the dataset."""
    prompt_images: PromptImages | None = None
    """The prompts' images; None if no prompt has one."""
    embodiment: Tensor | None = None
    """int64 (b,), the row's embodiment as its index in the agent's `EmbodimentSet`. Cameras
    are then named by its slots. None where there is only one embodiment."""
    terminated: Tensor | None = None
    """bool (b, t), steps after which the episode ended for good, and was not only cut off; None if
    the data do not say it."""
    source: Tensor | None = None
    """int64 (b,), the index in the mixture of the dataset that the row is of, for models that tell
    datasets apart; -1: of what the agent itself collected; None: there is no mixture."""
    recorded: Mapping[str, Tensor] = field(default_factory=dict)
    """Name to what an agent noted while it acted, (b, t, ...)."""

    def __post_init__(self) -> None:
        b, t, k, a = self.action.shape
        s = self.state.shape[-1]
        expected = {
            "state": (b, t, s),
            "expert_action": (b, t, k, a),
            "reward": (b, t),
            "timestep": (b, t),
            "mask": (b, t),
            "chunk_mask": (b, t, k),
            "state_mask": (b, s),
            "action_mask": (b, a),
            "window": (b,),
        }
        optional = {"embodiment": (b,), "source": (b,), "terminated": (b, t)}
        expected |= {name: of for name, of in optional.items() if getattr(self, name) is not None}
        for name, shape in expected.items():
            assert tuple(getattr(self, name).shape) == shape, (
                name,
                tuple(getattr(self, name).shape),
                shape,
            )
        for name, tensor in chain(*(getattr(self, name).items() for name in _NAMED)):
            assert tuple(tensor.shape[:2]) == (b, t), (name, tuple(tensor.shape), (b, t))
        assert len(self.prompt) == b, (len(self.prompt), b)

    def __len__(self) -> int:
        return len(self.window)

    @property
    def terminations(self) -> Tensor:
        """`terminated`, or that no step is."""
        return self.mask & False if self.terminated is None else self.terminated

    def to(self, device: Any, *, non_blocking: bool = False) -> Batch:
        """Return the same batch on another device.

        Args:
            device: The torch device.
            non_blocking: Do not wait for copies from pinned memory.
        """
        return _changed(self, lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pinned(self) -> Batch:
        """Return the same batch in pinned memory, from which a GPU copies while it computes.

        Tensors that are on a GPU stay there.
        """
        return _changed(self, lambda tensor: tensor if tensor.is_cuda else tensor.pin_memory())

    def rows(self, indices: Tensor) -> Batch:
        """Return some of the windows.

        Args:
            indices: int64 (n,), in the order of the result.
        """
        chosen = {
            item.name: value[indices]
            for item in fields(self)
            if (value := getattr(self, item.name)) is not None
            and not isinstance(value, Mapping | tuple | PromptImages)
        }
        for name in _NAMED:
            chosen[name] = {key: each[indices] for key, each in getattr(self, name).items()}
        if self.prompt_images is not None:
            chosen["prompt_images"] = _changed(self.prompt_images, lambda tensor: tensor[indices])
        prompt = tuple(self.prompt[index] for index in indices.tolist())
        return replace(self, **chosen, prompt=prompt)

    def without_first_step(self) -> Batch:
        """Return the same windows from their second step on."""
        names = ("state", "action", "expert_action", "reward", "timestep", "mask", "chunk_mask")
        later: dict[str, Any] = {name: getattr(self, name)[:, 1:] for name in names}
        if self.terminated is not None:
            later["terminated"] = self.terminated[:, 1:]
        for name in _NAMED:
            later[name] = {camera: tensor[:, 1:] for camera, tensor in getattr(self, name).items()}
        return replace(self, **later)


@shown_short
@dataclass(frozen=True)
class Loss:
    """A loss before averaging."""

    value: Tensor
    """The loss per element, of any shape."""
    mask: Tensor
    """Which elements count, or the weight of each, of the same shape."""
    metrics: Mapping[str, Tensor] = field(default_factory=dict)
    """Scalars to log with the loss, already averaged, without gradient."""

    def __post_init__(self) -> None:
        assert self.value.shape == self.mask.shape, (
            tuple(self.value.shape),
            tuple(self.mask.shape),
        )

    def mean(self) -> Tensor:
        """Return the average over elements that count; 0 if none does."""
        weight = self.mask.to(self.value.dtype)
        return (self.value * weight).sum() / weight.sum().clamp(min=1)


def _changed(record: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Apply a function to a record's tensors, also to those in its mappings and records."""
    changed: dict[str, Any] = {}
    for item in fields(record):
        value = getattr(record, item.name)
        if isinstance(value, Mapping):
            changed[item.name] = {name: change(tensor) for name, tensor in value.items()}
        elif isinstance(value, PromptImages):
            changed[item.name] = _changed(value, change)
        elif hasattr(value, "to"):
            changed[item.name] = change(value)
    return replace(record, **changed)
