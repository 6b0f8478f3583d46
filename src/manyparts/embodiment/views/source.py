"""A robot as its data and its cameras have it, and the view through which a model sees it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, Literal

import numpy as np

from manyparts.core.errors import UserError, closest
from manyparts.core.spec import ActionContract, Spec
from manyparts.embodiment.statistics import FeatureStatistics
from manyparts.embodiment.views.images import require_box, resized
from manyparts.embodiment.views.parts import Part, parts_of, require_fit, selected
from manyparts.embodiment.views.view import ALL, Box, View

Merge = Literal["sum", "mean", "last"]
_ABSOLUTE = ("absolute", "position", "joint_position", "pose")
_VELOCITY = ("velocity", "joint_velocity", "force", "torque", "control", "effort")
_UNKNOWN = "unknown"
_NUMBERED = re.compile(r"(.+)_(\d+)")  # names that a reader made up
_POSITIONS = ("qpos", "state")


@dataclass(frozen=True)
class Source:
    """A robot's own description, and a view of it.

    Raises:
        UserError: The view does not fit the robot, or contradicts what its actions are.
    """

    spec: Spec
    """What the data and the robot have."""

    view: View
    """What a model sees of it."""

    def __post_init__(self) -> None:
        if self.view.fit != "squash" and self.view.size is None:
            raise UserError(f"view.fit is {self.view.fit!r}, but there is no view.size to fit")
        if (text := self.view.instruction) is not None and text.endswith(".json"):
            raise UserError(
                f"view.instruction is {text!r}, a file that only --view.instruction reads; "
                "write its table as view.instructions"
            )
        names = list(dict.fromkeys([*self.spec.state_names, *self.spec.action.names]))
        for what in ("rotations", "angles"):
            for pattern in getattr(self.view, what):
                require_fit(names, pattern, what)
        for pattern in self.view.swap_red_blue:
            require_fit(list(self.cameras), pattern, "swap_red_blue")
        for camera in self.view.crop:
            if camera != ALL and camera not in self.cameras:
                raise UserError(f"view.crop names {camera!r}; {closest(camera, self.cameras)}")
        for camera, theirs in self.cameras.items():
            if (box := self._box(camera)) is not None:
                require_box(box, camera, self.spec.cameras[theirs])
        if self.spec.action.choices and self._changes_actions:
            raise UserError("a view cannot convert or merge actions that are choices")
        self._require_mergeable()
        _ = self._pairs, self.state_parts

    @cached_property
    def cameras(self) -> dict[str, str]:
        """The model's name of each camera to the robot's."""
        known = self.spec.cameras
        if not self.view.cameras:
            return {name: name for name in known}
        for theirs in self.view.cameras.values():
            if theirs not in known:
                choices = closest(theirs, known) if known else "there are no cameras"
                raise UserError(f"view.cameras has {theirs!r}; {choices}")
        return dict(self.view.cameras)

    @cached_property
    def state_parts(self) -> tuple[Part, ...]:
        """The numbers of the state that are kept. Their indices are those in the whole state."""
        kept = selected(self.spec.state_names, self.view.state, "state")
        parts = parts_of([self.spec.state_names[index] for index in kept], self.view)
        return tuple(
            replace(part, indices=tuple(kept[index] for index in part.indices)) for part in parts
        )

    @cached_property
    def action_parts(self) -> tuple[Part, ...]:
        """The numbers of an action."""
        return parts_of(self.spec.action.names, self.view)

    @property
    def needs_state(self) -> bool:
        """Whether an action is carried out by the state that it starts from."""
        return self.view.action == "absolute_to_delta"

    @cached_property
    def merge(self) -> Merge:
        """What becomes of the actions between two frames that are kept."""
        meaning: str = self.view.action
        if meaning == "as_recorded":
            meaning = _meaning(self.spec.action.representation)
        if meaning == "delta":
            return "sum"
        return "mean" if meaning == "velocity" else "last"

    def camera_size(self, camera: str) -> tuple[int, int]:
        """Height and width in pixels of what the model sees of a camera."""
        if self.view.size is not None:
            return self.view.size
        box = self._box(camera)
        return self.spec.cameras[self.cameras[camera]] if box is None else box[2:]

    def viewed(self, actions: Sequence[FeatureStatistics] = ()) -> Spec:
        """The description of the robot as the model sees it.

        Args:
            actions: Statistics of the actions that the model sees, the executed and the expert's;
                empty: bounds that are measured are those of the robot's own description.
        """
        goal = next((own for own, of in self.cameras.items() if of == self.spec.goal_camera), None)
        return replace(
            self.spec,
            cameras={camera: self.camera_size(camera) for camera in self.cameras},
            state_names=tuple(name for part in self.state_parts for name in part.names),
            action=self._contract(actions),
            goal_camera=goal,
        )

    def images(self, camera: str, frames: np.ndarray) -> np.ndarray:
        """What the model sees of a camera's images.

        Args:
            camera: The model's name of the camera.
            frames: uint8 (..., h, w, 3), of the robot's size.

        Returns:
            uint8 (..., h, w, 3), of the model's size.
        """
        if any(fnmatchcase(camera, pattern) for pattern in self.view.swap_red_blue):
            frames = np.ascontiguousarray(frames[..., ::-1])
        return resized(frames, self._box(camera), self.view.size, self.view.fit)

    def states(self, state: np.ndarray) -> np.ndarray:
        """What the model sees of states: (n, s) to float32 (n, s')."""
        values = np.asarray(state, np.float64)
        encoded = [part.encode(values[:, list(part.indices)]) for part in self.state_parts]
        return _joined(encoded, len(values))

    def require_sound(self, state: np.ndarray, action: np.ndarray) -> None:
        """Raise UserError if states (n, s) or actions (n, a) contradict the view."""
        for parts, values in ((self.state_parts, state), (self.action_parts, action)):
            for part in parts:
                part.require_sound(np.asarray(values, np.float64)[:, list(part.indices)])

    def actions(self, action: np.ndarray, state: np.ndarray) -> np.ndarray:
        """What the model sees of an episode's actions.

        Args:
            action: (T, a) as recorded.
            state: (T, s) as recorded.

        Returns:
            float32 (t, a'), one for each frame that is kept.
        """
        values = self._merged(np.asarray(action, np.float64))
        before = np.asarray(state, np.float64)[:: self.view.every]
        encoded = []
        for part in self.action_parts:
            own = values[:, list(part.indices)]
            if (pair := self._pairs.get(part.indices)) is not None:
                encoded.append(part.difference(own, before[:, list(pair)]))
            else:
                encoded.append(part.encode(own))
        return _joined(encoded, len(values))

    def action_of(self, action: np.ndarray, state: np.ndarray | None) -> np.ndarray:
        """The action that the robot carries out, the inverse of `actions`.

        Args:
            action: (a',), of the model. It is held for `view.every` steps.
            state: (s,), the robot's at this step; only where `needs_state`.

        Returns:
            float32 (a,), within the robot's bounds; see `Part.within` of rotations.
        """
        values = np.asarray(action, np.float64)[None]
        contract = self.spec.action
        low, high = np.array(contract.low), np.array(contract.high)
        decoded = np.empty((1, contract.dimension))
        start = 0
        for part in self.action_parts:
            pair = self._pairs.get(part.indices)
            width = len(part.names if pair is None else part.difference_names())
            own = values[:, start : start + width]
            start += width
            at = list(part.indices)
            if pair is None:
                robots = part.decode(own)
            else:
                assert state is not None, part.name
                robots = part.moved(np.asarray(state, np.float64)[None, list(pair)], own)
            if self.merge == "sum" and not self._grips[at].any():
                robots = robots / self.view.every
            decoded[:, at] = part.within(robots, low[at], high[at], measured=contract.measured)
        if contract.choices:
            return contract.executed(decoded[0])
        return decoded[0].astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, which `from_dict` reads."""
        return {"spec": self.spec.to_dict(), "view": self.view.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Source:
        """Read what `to_dict` wrote."""
        return cls(Spec.from_dict(values["spec"]), View.of(values["view"]))

    def _box(self, camera: str) -> Box | None:
        return self.view.crop.get(camera, self.view.crop.get(ALL))

    @cached_property
    def _grips(self) -> np.ndarray:
        """bool (a,): grippers, of which the last action counts."""
        return np.array(["grip" in name.lower() for name in self.spec.action.names], bool)

    @cached_property
    def _pairs(self) -> dict[tuple[int, ...], tuple[int, ...]]:
        """Indices of each part of an action that becomes a difference, to those in the state."""
        if not self.needs_state:
            return {}
        at = {name: index for index, name in enumerate(self.spec.state_names)}
        at |= self.paired_by_number
        pairs = {}
        for part in self.action_parts:
            names = [self.spec.action.names[index] for index in part.indices]
            if self._grips[list(part.indices)].all():
                continue
            if missing := [name for name in names if name not in at]:
                known = closest(missing[0], at) if at else "there is no state"
                raise UserError(
                    "view.action absolute_to_delta takes the difference between an action and the "
                    f"number of the state that has its name; {missing[0]} has none; {known}"
                )
            pairs[part.indices] = tuple(at[name] for name in names)
        return pairs

    @cached_property
    def paired_by_number(self) -> dict[str, int]:
        """Names of actions to indices of the state, where all names are but numbered: action_0 is
        the target of qpos_0. Empty where names say more."""
        actions, states = self.spec.action.names, self.spec.state_names
        if not self.needs_state or set(actions) & set(states):
            return {}
        numbers = [_NUMBERED.fullmatch(name) for name in actions]
        of_positions = {
            match[2]: index
            for index, name in enumerate(states)
            if (match := _NUMBERED.fullmatch(name)) and match[1] in _POSITIONS
        }
        if not all(
            match and match[1] == "action" and match[2] in of_positions for match in numbers
        ):
            return {}
        return {match[0]: of_positions[match[2]] for match in numbers if match}

    @property
    def _changes_actions(self) -> bool:
        view = self.view
        return view.every > 1 or view.action != "as_recorded" or view.scale == "quantile"

    def _require_mergeable(self) -> None:
        """Raise UserError if the view contradicts what actions are, or nobody says what they
        are."""
        own, said = self.spec.action.representation, self.view.action
        known = _meaning(own)
        wanted = "absolute" if said == "absolute_to_delta" else said
        if wanted not in ("as_recorded", known) and known != _UNKNOWN:
            raise UserError(f"view.action is {said!r}, but the data say that actions are {own!r}")
        if self.view.every == 1:
            return
        if known == _UNKNOWN and said == "as_recorded":
            raise UserError(
                f"view.every is {self.view.every}, and the data say {own!r} of what actions are; "
                "say it with view.action: absolute (the last one is taken), delta (they are "
                "summed), velocity (they are averaged) or absolute_to_delta"
            )
        turned = [part.name for part in self.action_parts if part.kind != "number"]
        if turned and self.merge != "last":
            raise UserError(
                f"view.every is {self.view.every}, and rotations or angles ({turned[0]}) can "
                "neither be summed nor averaged"
            )

    def _merged(self, action: np.ndarray) -> np.ndarray:
        """One action (t, a) for each frame that is kept, of those until the next one (T, a)."""
        every = self.view.every
        if every == 1:
            return action
        starts = np.arange(0, len(action), every)
        ends = np.minimum(starts + every, len(action))
        last = action[ends - 1]
        if self.merge == "last":
            return last
        total = np.add.reduceat(action, starts, axis=0)
        if self.merge == "mean":
            total = total / (ends - starts)[:, None]
        return np.where(self._grips, last, total)

    def _contract(self, actions: Sequence[FeatureStatistics]) -> ActionContract:
        """The action contract that the model sees."""
        own, view = self.spec.action, self.view
        names: list[str] = []
        bounds: list[tuple[float, float]] = []
        measured: list[bool] = []
        for part in self.action_parts:
            differs = part.indices in self._pairs
            added = part.difference_names() if differs else part.names
            fixed = len(added) > 1
            names += added
            for _ in added:
                index = part.indices[0]
                sums = self.merge == "sum" and view.every > 1 and not self._grips[index]
                factor = view.every if sums else 1
                limits = (own.low[index] * factor, own.high[index] * factor)
                bounds.append((-1.0, 1.0) if fixed else limits)
                measured.append(not fixed and (differs or own.measured))
        contract = replace(
            own,
            representation=self._representation(),
            names=tuple(names),
            low=tuple(low for low, _ in bounds),
            high=tuple(high for _, high in bounds),
            control_rate_hz=own.control_rate_hz / view.every,
            measured=any(measured),
        )
        changed = self.needs_state or view.scale == "quantile" or self.merge == "sum"
        if not actions or not (changed and any(measured)):
            return contract
        return _measured(contract, actions, np.array(measured), quantile=view.scale == "quantile")

    def _representation(self) -> str:
        own, said = self.spec.action.representation, self.view.action
        if said == "absolute_to_delta":
            return "delta"
        return said if said != "as_recorded" and own == _UNKNOWN else own


def _measured(
    contract: ActionContract,
    actions: Sequence[FeatureStatistics],
    where: np.ndarray,
    *,
    quantile: bool,
) -> ActionContract:
    """A contract with bounds that are those of the data, where they are measured."""
    low = np.min([each.min for each in actions], axis=0)
    high = np.max([each.max for each in actions], axis=0)
    if quantile:
        first = np.min([each.q01 for each in actions], axis=0)
        last = np.max([each.q99 for each in actions], axis=0)
        moves = last > first
        low, high = np.where(moves, first, low), np.where(moves, last, high)
    low, high = np.where(where, low, contract.low), np.where(where, high, contract.high)
    return replace(contract, low=tuple(low.tolist()), high=tuple(high.tolist()))


def _meaning(representation: str) -> str:
    """What the representation of a contract is, in the words of `View.action`."""
    if representation.startswith("delta"):
        return "delta"
    if representation in _ABSOLUTE or representation.startswith("absolute"):
        return "absolute"
    return "velocity" if representation in _VELOCITY else _UNKNOWN


def _joined(columns: list[np.ndarray], length: int) -> np.ndarray:
    """Columns (n, m) after each other, float32."""
    if not columns:
        return np.zeros((length, 0), np.float32)
    return np.concatenate(columns, axis=1).astype(np.float32)
