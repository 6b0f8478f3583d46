"""The description of an embodiment: cameras, state, action contract; and a dataset's tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from manyparts.core.arrays import clipped, fixed_array
from manyparts.core.errors import UserError
from manyparts.core.printing import counted, first_of

SHOWN_DIFFERENCES = 5  # between two specs, in an error
_BOUNDS = ("action.low", "action.high")
_SHOWN_NAMES = 3  # of state or action dimensions, in a difference


@dataclass(frozen=True)
class ActionContract:
    """What an action means.

    It is stored with data and checkpoints, and compared when an agent is trained, evaluated or
    served.
    """

    representation: str
    """What the numbers are, such as "velocity", "position" or "discrete"."""
    frame: str
    """The frame of reference that they are in."""
    names: tuple[str, ...]
    """One name per action dimension."""
    low: tuple[float, ...]
    """Lower bound per dimension; the model sees actions scaled from the bounds to [-1, 1]."""
    high: tuple[float, ...]
    """Upper bound per dimension."""
    control_rate_hz: float
    """Actions per second of simulated time."""
    gripper: str | None = None
    """Sign convention of the gripper; None without a gripper."""
    choices: tuple[str, ...] = ()
    """Names of the actions where one of several is chosen, see `discrete`; else empty."""
    measured: bool = False
    """Whether the bounds are the min and max of recorded actions, since nobody wrote them down."""

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            if len(getattr(self, name)) != len(self.names):
                raise UserError(
                    f"action contract's {name} has {counted(len(getattr(self, name)), 'number')}; "
                    f"expected {len(self.names)}, one for each of its names"
                )

    @classmethod
    def discrete(
        cls, choices: tuple[str, ...], *, frame: str, control_rate_hz: float
    ) -> ActionContract:
        """Describe an action that is one of n choices, as one number: its index 0 to n - 1.

        The bounds are -0.5 and n - 0.5, so that each choice has a cell of width 1 around its index,
        [-1, 1] is n equal bins with the choices at their centres, and a uniform number within the
        bounds is a uniform choice.

        Args:
            choices: The names of the n choices.
            frame: The frame of reference that they are in.
            control_rate_hz: Actions per second of simulated time.
        """
        low, high = (-0.5,), (len(choices) - 0.5,)
        return cls("discrete", frame, ("choice",), low, high, control_rate_hz, choices=choices)

    @property
    def dimension(self) -> int:
        return len(self.names)

    @property
    def half_range(self) -> np.ndarray:
        """Half of the distance between the bounds of each dimension, float64 (a,)."""
        return (self._high - self._low) / 2

    def normalise(self, action: np.ndarray) -> np.ndarray:
        """Scale actions (..., a) from [low, high] to [-1, 1], float32."""
        low, high = self._low, self._high
        # A dimension that cannot move has no width; any positive one avoids a division by zero.
        width = np.where(high > low, high - low, 1.0)
        return (2 * (action - low) / width - 1).astype(np.float32)

    def denormalise(self, action: np.ndarray) -> np.ndarray:
        """Scale actions (..., a) from [-1, 1] to [low, high], float32.

        Values are clipped to the bounds, and choices are rounded.
        """
        return self.executed(self.unscale(clipped(action, -1, 1)))

    def unscale(self, action: np.ndarray) -> np.ndarray:
        """Scale actions (..., a) from [-1, 1] to [low, high], float64, without clipping."""
        return self._low + (action + 1) / 2 * (self._high - self._low)

    def executed(self, action: np.ndarray) -> np.ndarray:
        """Return the actions (..., a) that are carried out, float32.

        They are clipped to the bounds; of choices it is the nearest one.
        """
        if self.choices:
            return np.clip(np.rint(action), 0, len(self.choices) - 1).astype(np.float32)
        return clipped(action, self._low, self._high).astype(np.float32)

    # Arrays are made once: acting reads them several times per step.
    @cached_property
    def _low(self) -> np.ndarray:
        return fixed_array(self.low)

    @cached_property
    def _high(self) -> np.ndarray:
        return fixed_array(self.high)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, which `from_dict` reads."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ActionContract:
        """Read what `to_dict` wrote."""
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**fields)


@dataclass(frozen=True)
class TaskEntry:
    """One task of a dataset."""

    name: str
    """"suite/task"; "suite/task#INSTRUCTION" where each episode brings its own instruction, so that
    an environment has several entries."""
    instruction: str
    """The text that asks for the task."""
    paraphrases: tuple[str, ...] = ()
    """Other texts that ask for it, which training uses, too."""

    @property
    def environment(self) -> str:
        """The environment that the task is of: "suite/task"."""
        return self.name.partition("#")[0]


@dataclass(frozen=True)
class Spec:
    """One embodiment: its name, what it observes, and what it does."""

    embodiment: str
    """The embodiment's name."""
    cameras: Mapping[str, tuple[int, int]]
    """Camera to (height, width) in pixels."""
    state_names: tuple[str, ...]
    """One name per state dimension."""
    action: ActionContract
    """What its actions mean."""
    goal_camera: str | None = None
    """The camera that shows the goal, the same image throughout an episode; None if there is
    none."""
    named: bool = True
    """Whether somebody wrote the name down. If not, `embodiment` is a guess, such as the name of
    the data's folder, and does not tell two specs apart."""

    def __post_init__(self) -> None:
        if self.goal_camera is not None:
            if self.goal_camera not in self.cameras:
                raise UserError(
                    f"spec's goal_camera is {self.goal_camera!r}; expected one of its cameras, "
                    f"{', '.join(self.cameras)}"
                )
            # The goal's image takes the place of any camera's, so all have one size.
            if len(set(self.cameras.values())) > 1:
                raise UserError(
                    f"spec's cameras are {dict(self.cameras)}; expected one size for all, since "
                    f"there is a goal_camera, {self.goal_camera}"
                )

    def summary(self) -> str:
        """Describe the embodiment in a few words.

        Such as "pointmass, camera top 32x32, 2 state numbers, 2 actions".
        """
        sizes = [f"{name} {height}x{width}" for name, (height, width) in self.cameras.items()]
        if sizes:
            cameras = f"{'camera' if len(sizes) == 1 else 'cameras'} {', '.join(sizes)}"
        else:
            cameras = "no camera"
        if self.action.choices:
            actions = counted(len(self.action.choices), "choice")
        else:
            actions = counted(self.action.dimension, "action")
        state = counted(self.state_dimension, "state number")
        return f"{self.embodiment}, {cameras}, {state}, {actions}"

    @property
    def state_dimension(self) -> int:
        return len(self.state_names)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, which `from_dict` reads."""
        values = {
            "embodiment": self.embodiment,
            "cameras": {name: list(size) for name, size in self.cameras.items()},
            "state_names": list(self.state_names),
            "action": self.action.to_dict(),
            "goal_camera": self.goal_camera,
        }
        # Written only where it is False: specs in older files have no such key.
        return values if self.named else values | {"named": False}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Spec:
        """Read what `to_dict` wrote."""
        return cls(
            embodiment=values["embodiment"],
            cameras={
                name: (int(size[0]), int(size[1])) for name, size in values["cameras"].items()
            },
            state_names=tuple(values["state_names"]),
            action=ActionContract.from_dict(values["action"]),
            goal_camera=values.get("goal_camera"),
            named=values.get("named", True),
        )

    def bounded_as(self, other: Spec) -> Spec:
        """Return this spec with the other's action bounds, where both bounds are only measured.

        Two recordings of one robot reach to different extremes, which does not make it two robots.
        """
        action, reference = self.action, other.action
        if not (action.measured and reference.measured and action.names == reference.names):
            return self
        return replace(self, action=replace(action, low=reference.low, high=reference.high))

    def seen_as(self, other: Spec) -> Spec:
        """Return this spec without the cameras that the other lacks, which nobody looks through."""
        cameras = {name: size for name, size in self.cameras.items() if name in other.cameras}
        goal = self.goal_camera if self.goal_camera in cameras else None
        return replace(self, cameras=cameras, goal_camera=goal)

    def called_as(self, other: Spec) -> Spec:
        """Return this spec under the other's name."""
        return replace(self, embodiment=other.embodiment, named=other.named)

    def differences(self, other: Spec) -> list[str]:
        """Return the fields in which two specs differ, as "field: own value, other's value".

        Each is short, however many dimensions there are. A name that is only a guess agrees with
        any.
        """
        own, others = self._comparable(), other._comparable()
        if not (self.named and other.named):
            del own["embodiment"]
        different = [key for key in own if own[key] != others[key]]
        if own["action.names"] != others["action.names"]:
            # The bounds of other dimensions are others, too.
            different = [key for key in different if key not in _BOUNDS]
        return [_difference(key, own, others) for key in different]

    def _comparable(self) -> dict[str, Any]:
        """Return all fields but `named`, those of the action last and each under its own key."""
        values = replace(self, named=True).to_dict()
        action = values.pop("action")
        return values | {f"action.{key}": value for key, value in action.items()}


def _difference(key: str, own: Mapping[str, Any], others: Mapping[str, Any]) -> str:
    """Describe how a field of two specs differs."""
    mine, theirs = own[key], others[key]
    if key in _BOUNDS:
        names = own["action.names"]
        differing = [number for number, bound in enumerate(mine) if bound != theirs[number]]
        first, more = differing[0], len(differing) - 1
        rest = f" and {counted(more, 'more dimension')}" if more else ""
        return f"{key} of {names[first]}{rest}: {mine[first]}, {theirs[first]}"
    if isinstance(mine, list):
        if sorted(mine) == sorted(theirs):
            return f"{key}: the same names in another order"
        return f"{key}: {_names(mine, theirs)}, {_names(theirs, mine)}"
    return f"{key}: {mine}, {theirs}"


def _names(names: Sequence[str], others: Sequence[str]) -> str:
    """Count names, and list the first ones that the others lack."""
    own = [name for name in names if name not in others]
    listed = f" with {first_of(own, _SHOWN_NAMES)}" if own else ""
    return f"{len(names)}{listed}"
