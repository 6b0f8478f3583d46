"""What an embodiment is to the library: its cameras, state and action contract; and the tasks that
it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ActionContract:
    """What an action means: stored with data and checkpoint, compared at train, evaluate and serve.

    low, high: bounds a dimension; the model sees actions scaled from them to [-1, 1].
    control_rate_hz: actions a second of simulated time. gripper: sign convention, or None without a
    gripper. choices: names of the actions where one of several is taken, else empty; see
    `discrete`. measured: nobody wrote down what is allowed, and the bounds are the least and the
    greatest action of some data.
    """

    representation: str
    frame: str
    names: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    control_rate_hz: float
    gripper: str | None = None
    choices: tuple[str, ...] = ()
    measured: bool = False

    def __post_init__(self) -> None:
        assert len(self.names) == len(self.low) == len(self.high), (self.names, self.low, self.high)

    @classmethod
    def discrete(
        cls, choices: tuple[str, ...], *, frame: str, control_rate_hz: float
    ) -> ActionContract:
        """One of n choices a step, as one number: its index 0 to n - 1.

        The bounds are -0.5 and n - 0.5, so that each choice owns a cell of width 1 around its
        index, [-1, 1] is n equal bins with the choices at their centres, and a uniform number
        within the bounds is a uniform choice.
        """
        low, high = (-0.5,), (len(choices) - 0.5,)
        return cls("discrete", frame, ("choice",), low, high, control_rate_hz, choices=choices)

    @property
    def dimension(self) -> int:
        return len(self.names)

    def normalise(self, action: np.ndarray) -> np.ndarray:
        """Scale actions (..., a) from [low, high] to [-1, 1], float32."""
        low, high = np.asarray(self.low), np.asarray(self.high)
        width = np.where(high > low, high - low, 1.0)  # of what may not move, any
        return (2 * (action - low) / width - 1).astype(np.float32)

    def denormalise(self, action: np.ndarray) -> np.ndarray:
        """Scale actions (..., a) from [-1, 1] to [low, high] and clip to the bounds, float32; a
        choice is rounded."""
        low, high = np.asarray(self.low), np.asarray(self.high)
        return self.executed(low + (np.clip(action, -1, 1) + 1) / 2 * (high - low))

    def executed(self, action: np.ndarray) -> np.ndarray:
        """The action (..., a) that is carried out, float32: clipped to the bounds; of choices the
        nearest one."""
        if self.choices:
            return np.clip(np.rint(action), 0, len(self.choices) - 1).astype(np.float32)
        return np.clip(action, self.low, self.high).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ActionContract:
        known: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**known)


@dataclass(frozen=True)
class TaskEntry:
    """One task of a dataset: "suite/task", the instruction that asks for it, other ways to ask used
    in training."""

    name: str
    instruction: str
    paraphrases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Spec:
    """One embodiment: what it is called, what it observes, what it does.

    cameras: name to (height, width) in pixels. state_names: one name a state dimension.
    goal_camera: that of the cameras which shows the goal, the same picture all through an episode;
    None where there is none. named: whether somebody wrote the name down. False: `embodiment` is a
    guess, such as the name of the data's folder, and does not tell two specs apart.
    """

    embodiment: str
    cameras: Mapping[str, tuple[int, int]]
    state_names: tuple[str, ...]
    action: ActionContract
    goal_camera: str | None = None
    named: bool = True

    def __post_init__(self) -> None:
        if self.goal_camera is not None:  # whose picture stands in for any camera's
            assert set(self.cameras.values()) == {self.cameras[self.goal_camera]}, (
                self.goal_camera,
                self.cameras,
            )

    def summary(self) -> str:
        """The embodiment in a few words: "pointmass, camera top 32x32, 2 state numbers, 2
        actions"."""
        cameras = [f"{name} {height}x{width}" for name, (height, width) in self.cameras.items()]
        seen = (
            f"camera{'s' if len(cameras) > 1 else ''} {', '.join(cameras)}"
            if cameras
            else "no camera"
        )
        action = self.action
        acts = f"{len(action.choices)} choices" if action.choices else f"{action.dimension} actions"
        return f"{self.embodiment}, {seen}, {self.state_dimension} state numbers, {acts}"

    @property
    def state_dimension(self) -> int:
        return len(self.state_names)

    def to_dict(self) -> dict[str, Any]:
        return {
            "embodiment": self.embodiment,
            "cameras": {name: list(size) for name, size in self.cameras.items()},
            "state_names": list(self.state_names),
            "action": self.action.to_dict(),
            "goal_camera": self.goal_camera,
        } | ({} if self.named else {"named": False})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Spec:
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
        """This spec with the bounds of another's actions where both are but measured: data of one
        robot, recorded twice, does not reach as far both times."""
        ours, theirs = self.action, other.action
        if not (ours.measured and theirs.measured and ours.names == theirs.names):
            return self
        return replace(self, action=replace(ours, low=theirs.low, high=theirs.high))

    def called_as(self, other: Spec) -> Spec:
        """This spec by the other's name."""
        return replace(self, embodiment=other.embodiment, named=other.named)

    def differences(self, other: Spec) -> list[str]:
        """Each field in which the two specs disagree, as "field: ours, theirs"; empty if they
        agree. A name that is but a guess agrees with any."""
        ours, theirs = (replace(each, named=True).to_dict() for each in (self, other))
        if not (self.named and other.named):
            del ours["embodiment"]
        ours.update({f"action.{key}": value for key, value in ours.pop("action").items()})
        theirs.update({f"action.{key}": value for key, value in theirs.pop("action").items()})
        return [f"{key}: {ours[key]}, {theirs[key]}" for key in ours if ours[key] != theirs[key]]
