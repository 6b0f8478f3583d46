"""The records that every layer passes to the next: episodes, prompts, batches and losses.

Arrays of an `Episode` are numpy; tensors of a `Batch` and a `Loss` are torch. This module imports
neither a simulator nor torch, so that simulator workers stay light.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.printing import shown_short

if TYPE_CHECKING:
    from torch import Tensor

Precision = Literal["fp32", "bf16"]


class Observation(TypedDict):
    """What an environment shows at one step, and what an agent reads.

    images: camera name to uint8 (height, width, 3). state: float32 (state_dimension,), in the
    simulator's units.
    """

    images: dict[str, np.ndarray]
    state: np.ndarray


@shown_short
@dataclass(frozen=True, eq=False)
class Demonstration:
    """The task done once before, elsewhere: n observations in their order, and what was done after
    each.

    images: camera to uint8 (n, h, w, 3). action: float32 (n, k, a) in the contract's units, the
    first k actions after each of these; None if it was only watched.
    """

    images: Mapping[str, np.ndarray]
    action: np.ndarray | None = None


@shown_short
@dataclass(frozen=True)
class Prompt:
    """How an agent is told its task: an instruction, a picture of the goal, a demonstration, or
    several of these.

    goal: camera to uint8 (h, w, 3). Two prompts are equal if they say the same with the very same
    pictures.
    """

    instruction: str | None = None
    goal: Mapping[str, np.ndarray] | None = None
    demonstration: Demonstration | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.instruction, str | None):
            raise UserError(f"prompt's instruction is {self.instruction!r}; expected text")
        if not isinstance(self.goal, Mapping | None):
            raise UserError(
                f"prompt's goal is a {type(self.goal).__name__}; expected {{camera: uint8 (h, w, 3)}}"
            )

    @classmethod
    def of(cls, value: Prompt | str | None) -> Prompt | None:
        """A prompt, for which its instruction may stand. Raises UserError for anything else."""
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
        same_pictures = self.goal is other.goal and self.demonstration is other.demonstration
        return self.instruction == other.instruction and same_pictures

    def __hash__(self) -> int:
        return hash((self.instruction, id(self.goal), id(self.demonstration)))


@shown_short
@dataclass(frozen=True)
class PromptImages:
    """The pictures in b prompts: the goal's first, then a demonstration's in their order.

    images: camera to uint8 (b, f, c, h, w); empty where `features` stand in for them, (b, f, n, d)
    a camera. action: (b, f, k, a), in [-1, 1], what was done after each. mask: bool (b, f),
    pictures that are there. action_mask: bool (b, f), those whose action is told.
    """

    images: Mapping[str, Tensor]
    features: Mapping[str, Tensor]
    action: Tensor
    mask: Tensor
    action_mask: Tensor

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
        """The same pictures on another device."""
        return _changed(self, lambda tensor: tensor.to(device))


@shown_short
@dataclass(frozen=True)
class Episode:
    """One trajectory of T steps. Row t of every array belongs together: observation t, then action
    t.

    images: camera to uint8 (T, h, w, 3). state: float32 (T, s). action: float32 (T, a), as
    executed. expert_action: float32 (T, a), what the expert wanted before noise; what imitation
    learns. reward: float32 (T,), received after action t. success: bool (T,), task solved after
    action t. task: "suite/task". instruction: the instruction. seed: the environment's reset seed.
    """

    task: str
    instruction: str
    seed: int
    images: Mapping[str, np.ndarray]
    state: np.ndarray
    action: np.ndarray
    expert_action: np.ndarray
    reward: np.ndarray
    success: np.ndarray

    def __post_init__(self) -> None:
        arrays = {
            name: getattr(self, name) for name in ("action", "expert_action", "reward", "success")
        }
        for name, array in {**arrays, **self.images}.items():
            assert len(array) == len(self.state), (name, array.shape, self.state.shape)

    def __len__(self) -> int:
        return len(self.state)


@shown_short
@dataclass(frozen=True)
class Batch:
    """Windows of t model steps. One model step is one observation and the chunk of k actions taken
    after it, so consecutive observations of a window are k environment steps apart (k = 1: every
    step).

    images: camera to uint8 (b, t, c, h, w); empty where `features` stand in for them. features:
    camera to visual tokens (b, t, n, d) of a frozen encoder; empty where images are given. state:
    (b, t, s), normalised. action: (b, t, k, a), executed, in [-1, 1]; expert_action: the same
    shape, what imitation learns. reward: (b, t), summed over the chunk. timestep: int64 (b, t),
    environment step. mask: bool (b, t), real steps. chunk_mask: bool (b, t, k), real actions.
    state_mask: bool (b, s) and action_mask: bool (b, a), real dimensions. prompt: b prompts; their
    pictures, where any has one, are in prompt_images. window: int64 (b,), identity in the dataset.
    embodiment: int64 (b,), whose rows these are by its place in the agent's `EmbodimentSet`, whose
    slots then name images and features; None where there is but one.
    """

    images: Mapping[str, Tensor]
    features: Mapping[str, Tensor]
    state: Tensor
    action: Tensor
    expert_action: Tensor
    reward: Tensor
    timestep: Tensor
    mask: Tensor
    chunk_mask: Tensor
    state_mask: Tensor
    action_mask: Tensor
    prompt: tuple[Prompt, ...]
    window: Tensor
    prompt_images: PromptImages | None = None
    embodiment: Tensor | None = None

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
        } | ({} if self.embodiment is None else {"embodiment": (b,)})
        for name, shape in expected.items():
            assert tuple(getattr(self, name).shape) == shape, (
                name,
                tuple(getattr(self, name).shape),
                shape,
            )
        for name, tensor in [*self.images.items(), *self.features.items()]:
            assert tuple(tensor.shape[:2]) == (b, t), (name, tuple(tensor.shape), (b, t))
        assert len(self.prompt) == b, (len(self.prompt), b)

    def __len__(self) -> int:
        return len(self.window)

    def to(self, device: Any, *, non_blocking: bool = False) -> Batch:
        """The same batch on another device. non_blocking: do not wait for tensors in pinned
        memory."""
        return _changed(self, lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pinned(self) -> Batch:
        """The same batch in memory from which a GPU copies while it computes; what is on a GPU
        stays there."""
        return _changed(self, lambda tensor: tensor if tensor.is_cuda else tensor.pin_memory())

    def without_first_step(self) -> Batch:
        """The same windows from their second step on."""
        names = ("state", "action", "expert_action", "reward", "timestep", "mask", "chunk_mask")
        later: dict[str, Any] = {name: getattr(self, name)[:, 1:] for name in names}
        for name in ("images", "features"):
            later[name] = {camera: tensor[:, 1:] for camera, tensor in getattr(self, name).items()}
        return replace(self, **later)


@shown_short
@dataclass(frozen=True)
class Loss:
    """A loss before averaging, with the mask of the elements that count, or how much each does,
    both of one shape.

    metrics: scalars to log beside it, already averaged, without gradient.
    """

    value: Tensor
    mask: Tensor
    metrics: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.value.shape == self.mask.shape, (
            tuple(self.value.shape),
            tuple(self.mask.shape),
        )

    def mean(self) -> Tensor:
        """The average over elements that count; 0 where none does."""
        weight = self.mask.to(self.value.dtype)
        return (self.value * weight).sum() / weight.sum().clamp(min=1)


def _changed(record: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A record with its tensors, and those of the mappings and records in it, changed."""
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
