"""The description of a view, as JSON values. It is pure: the same data look the same through it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from manyparts.core.arguments import set_by_replace
from manyparts.core.errors import UserError, closest
from manyparts.core.printing import shown_short
from manyparts.core.serialisation import (
    content_hash,
    from_jsonable,
    require_types,
    to_jsonable,
    without_repeats,
)

Fit = Literal["squash", "pad", "crop"]
Convention = Literal["euler", "quaternion", "quaternion_wxyz", "axis_angle"]
Unit = Literal["radians", "degrees"]
Actions = Literal["as_recorded", "absolute", "delta", "velocity", "absolute_to_delta"]
Scaling = Literal["bounds", "quantile"]
Box = tuple[int, int, int, int]
ALL = "*"  # every camera, in `View.crop`
_MAX_SIDE, _MAX_EVERY = 2048, 10_000
_MAX_BYTES = 4_000_000  # of a file that describes a view


@set_by_replace
@shown_short
@dataclass(frozen=True)
class View:
    """What a model sees of a dataset, and of the robot that it acts for.

    The defaults change nothing.
    """

    cameras: Mapping[str, str] = field(default_factory=dict)
    """Cameras to keep: the model's name and the data's for each, such as top cam_high. Empty: all
    cameras under their own names."""

    size: tuple[int, int] | None = None
    """Height and width of all images in pixels; none for those of the data."""

    fit: Fit = "squash"
    """How an image of another shape becomes that size. squash: stretch it. pad: add black borders.
    crop: cut off what is too much, equally on both sides."""

    crop: Mapping[str, Box] = field(default_factory=dict)
    """Camera to the box that is kept of its image before resizing: top, left, height and width in
    the data's pixels. '*' stands for every camera that is not named."""

    swap_red_blue: tuple[str, ...] = ()
    """Cameras with red and blue swapped in the data, by patterns such as cam_*."""

    every: int = 1
    """Keep every n-th frame. Between, differences are summed, velocities averaged, and of absolute
    targets the last one is taken."""

    state: tuple[str, ...] = ()
    """Numbers of the state to keep, by patterns such as arm_*; empty: all."""

    instruction: str | None = None
    """The instruction of all episodes; on the command line also a .json file, see instructions."""

    instructions: Mapping[str, str] = field(default_factory=dict)
    """A task's name or instruction, or an episode's name or number, to its instruction. Each
    further line of the text is another one that asks for the same; in a file also a list."""

    instruction_column: str | None = None
    """The column of texts that has the instruction of each step, such as subtask. An episode is cut
    where the text changes."""

    action: Actions = "as_recorded"
    """What the actions are. as_recorded: what the data say. absolute, delta, velocity: that, where
    the data do not say it. absolute_to_delta: convert targets to differences from the state."""

    rotations: Mapping[str, Convention] = field(default_factory=dict)
    """Patterns of the names of numbers that are one rotation, with its convention: the model gets
    six numbers that do not jump. euler: roll, pitch, yaw about fixed axes, in radians. quaternion:
    x, y, z, w. axis_angle: a vector as long as the angle."""

    find_rotations: bool = False
    """Also convert the rotations that names tell, such as eef_quat and eef_axis_angle."""

    angles: Mapping[str, Unit] = field(default_factory=dict)
    """Patterns of the names of single angles that wrap around, with their unit. The model gets
    cosine and sine; differences take the short way round."""

    scale: Scaling = "bounds"
    """What becomes [-1, 1] of an action. bounds: its bounds. quantile: the quantiles 0.01 to 0.99
    of the data, where bounds are only the lowest and highest recorded action."""

    def __post_init__(self) -> None:
        require_types(self)
        if self.size is not None and not all(1 <= side <= _MAX_SIDE for side in self.size):
            raise UserError(f"view.size is {self.size}; expected two sides of 1 to {_MAX_SIDE}")
        if not 1 <= self.every <= _MAX_EVERY:
            raise UserError(f"view.every is {self.every}; expected 1 to {_MAX_EVERY}")
        for camera, box in self.crop.items():
            if len(box) != 4 or min(box[:2]) < 0 or min(box[2:]) < 1:
                raise UserError(
                    f"view.crop of {camera} is {list(box)}; expected top and left of at least 0, "
                    "height and width of at least 1"
                )
        _require_choices("rotations", self.rotations, get_args(Convention))
        _require_choices("angles", self.angles, get_args(Unit))
        self._require_one_wording()

    def _require_one_wording(self) -> None:
        ways = ("instruction", "instructions", "instruction_column")
        used = [name for name in ways if getattr(self, name)]
        if len(used) > 1:
            raise UserError(f"view has {' and '.join(used)}; choose one of them")
        texts = [] if self.instruction is None else [self.instruction]
        for text in (*texts, *self.instructions.values()):
            if not all(line.strip() for line in text.split("\n")):
                raise UserError("view has an empty instruction; expected a text")

    @property
    def changes_more_than_words(self) -> bool:
        """Whether it changes images, numbers or steps, and not instructions alone."""
        return replace(self, instruction=None, instructions={}, instruction_column=None) != View()

    @property
    def touches_numbers(self) -> bool:
        """Whether states, actions or episodes become others, and not only images and texts."""
        turned = self.rotations or self.angles or self.find_rotations
        converted = self.action == "absolute_to_delta" or self.scale == "quantile"
        cut = self.every > 1 or self.instruction_column is not None
        return bool(turned or converted or cut or self.state)

    @property
    def key(self) -> str:
        """A hash of all fields without their defaults: equal views, equal keys."""
        return content_hash(self, defaults=False)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, those of the fields that are not the defaults."""
        values = to_jsonable(self, defaults=False)
        return {name: value for name, value in values.items() if name != "type"}

    @classmethod
    def of(cls, values: View | Mapping[str, Any] | str | Path) -> View:
        """Return a view as it is, or make one.

        Args:
            values: A view, JSON values, or the path of a JSON file with them.

        Raises:
            UserError: The file cannot be read, or a field is unknown or has a wrong value.
        """
        if isinstance(values, View):
            return values
        if isinstance(values, str | Path):
            path = Path(values).expanduser()
            try:
                return cls.of(_json_of(path))
            except UserError as error:
                raise UserError(f"{path}: {error}") from None
        if not isinstance(values, Mapping):
            raise UserError(f"view is a {type(values).__name__}; expected an object with fields")
        known = {item.name for item in fields(cls)}
        for name in values:
            if name not in known:
                raise UserError(f"view has no field {name!r}; {closest(name, sorted(known))}")
        plain = dict(values)
        if isinstance(plain.get("instructions"), Mapping):
            plain["instructions"] = wordings_of(plain["instructions"])
        return from_jsonable(cls, plain, "view")


def wordings_of(values: Mapping[str, Any]) -> dict[str, str]:
    """Texts by tasks or episodes, each of one line or several; a list becomes lines.

    Raises:
        UserError: A value is neither a text nor a list of texts.
    """
    wordings: dict[str, str] = {}
    for name, value in values.items():
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise UserError(f"the instruction of {name!r} is {value!r}; expected a text or a list")
        wordings[str(name)] = "\n".join(texts)
    return wordings


def read_wordings(path: Path) -> dict[str, str]:
    """Read `View.instructions` from a JSON file.

    Raises:
        UserError: The file cannot be read, or does not hold an object of texts.
    """
    values = _json_of(path)
    if not isinstance(values, Mapping):
        raise UserError(f"{path} holds a {type(values).__name__}; expected {{task: instruction}}")
    return wordings_of(values)


def _json_of(path: Path) -> Any:
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise UserError(f"it has {size} bytes; expected at most {_MAX_BYTES}")
        return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=without_repeats)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {str(error).splitlines()[0]}") from error


def _require_choices(name: str, values: Mapping[str, str], choices: tuple[str, ...]) -> None:
    for pattern, value in values.items():
        if value not in choices:
            raise UserError(f"view.{name} of {pattern} is {value!r}; choices: {', '.join(choices)}")
