"""Several embodiments as one: the room that their states, actions and cameras share in a batch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.spec import Spec


@dataclass(frozen=True)
class EmbodimentSet:
    """The embodiments of one agent; a row of a batch names its own by its place in `specs`.

    States and actions are padded to the largest. The i-th camera of every embodiment is in slot i,
    whose pictures have one size. The slots of a single embodiment are its cameras. Raises UserError
    where two embodiments share a name, or two cameras a slot but no size.
    """

    specs: tuple[Spec, ...]

    def __post_init__(self) -> None:
        names = self.names
        if len(set(names)) < len(names):
            raise UserError(f"two embodiments have one name among {', '.join(names)}")
        for number in range(max(len(spec.cameras) for spec in self.specs)):
            sizes = self._cameras_in(number)
            first, size = next(iter(sizes.items()))
            for other, theirs in sizes.items():
                if theirs != size:
                    raise UserError(
                        f"{first} and {other} share an image encoder, but have {_pixels(size)} and {_pixels(theirs)}; "
                        "collect both at one image size"
                    )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(spec.embodiment for spec in self.specs)

    @cached_property
    def slots(self) -> dict[str, tuple[int, int]]:
        """Slot to (height, width) in pixels."""
        if len(self.specs) == 1:
            return dict(self.specs[0].cameras)
        largest = max(self.specs, key=lambda spec: len(spec.cameras))
        return {f"slot{number}": size for number, size in enumerate(largest.cameras.values())}

    @property
    def state_dimension(self) -> int:
        return max(spec.state_dimension for spec in self.specs)

    @property
    def action_dimension(self) -> int:
        return max(spec.action.dimension for spec in self.specs)

    @cached_property
    def present(self) -> np.ndarray:
        """bool (embodiments, slots + 1): which camera slots, and at last whether a state, each of
        them has.

        A single embodiment has all: an empty state is then a token that is always the same.
        """
        if len(self.specs) == 1:
            return np.ones((1, len(self.slots) + 1), bool)
        return np.array(
            [
                [
                    *(number < len(spec.cameras) for number in range(len(self.slots))),
                    spec.state_dimension > 0,
                ]
                for spec in self.specs
            ]
        )

    def slot_of(self, spec: Spec) -> dict[str, str]:
        """Camera to slot, of one of these embodiments."""
        return dict(zip(spec.cameras, self.slots, strict=False))

    def index(self, spec: Spec, complaint: str, *, advice: str = "") -> int:
        """The place of an embodiment, wherever its actions end if that is but measured, and
        whatever it is called if that is but a guess. Raises UserError that begins with `complaint`
        and says what differs from those that are known, or which of them it may be; it ends with
        `advice` where only the name is in question."""
        differences = {
            ours.embodiment: ours.differences(spec.bounded_as(ours)) for ours in self.specs
        }
        equal = [name for name, found in differences.items() if not found]
        if spec.embodiment in equal or len(equal) == 1:
            return self.names.index(spec.embodiment if spec.embodiment in equal else equal[0])
        if equal:
            raise UserError(
                f"{complaint}: it does not name its robot, which may be {' or '.join(equal)}{advice}"
            )
        if not any(_fields(found) == "embodiment" for found in differences.values()):
            advice = ""
        alike = self.names[0] if len(self.names) == 1 else spec.embodiment
        if alike in differences:
            mend = _recording_flags(self.specs[self.names.index(alike)], spec)
            known = f"known: {', '.join(self.names)}"
            raise UserError(f"{complaint} ({'; '.join(differences[alike])}); {known}{mend}{advice}")
        told = [f"{name} (not the same: {_fields(found)})" for name, found in differences.items()]
        raise UserError(f"{complaint} ({spec.embodiment}); known: {', '.join(told)}{advice}")

    def _cameras_in(self, number: int) -> dict[str, tuple[int, int]]:
        """ "camera C of E" to its size, for the cameras in a slot."""
        found = {
            spec.embodiment: list(spec.cameras.items())[number : number + 1] for spec in self.specs
        }
        return {
            f"camera {name!r} of {body}": size
            for body, items in found.items()
            for name, size in items
        }


def _recording_flags(ours: Spec, theirs: Spec) -> str:
    """The flags of `collect` that record the cameras we know; empty where these are the same, or of
    several sizes."""
    sides = {side for size in ours.cameras.values() for side in size}
    if dict(ours.cameras) == dict(theirs.cameras) or len(sides) != 1:
        return ""
    flags = (
        ""
        if ours.cameras.keys() == theirs.cameras.keys()
        else f" --cameras {' '.join(ours.cameras)}"
    )
    flags += (
        ""
        if sides == {side for size in theirs.cameras.values() for side in size}
        else f" --image-size {min(sides)}"
    )
    return f"; `manyparts collect` records the cameras of {ours.embodiment} with{flags}"


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]} pixels"


def _fields(differences: list[str]) -> str:
    return ", ".join(text.partition(":")[0] for text in differences)
