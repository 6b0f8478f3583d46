"""Several embodiments in one batch: padded states and actions, and slots for cameras."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.printing import first_of
from manyparts.core.spec import SHOWN_DIFFERENCES, Spec

_SHOWN_NAMES = 5  # of embodiments, in an error


@dataclass(frozen=True)
class EmbodimentSet:
    """The embodiments of one agent.

    States and actions are padded to the largest embodiment. The i-th camera of every embodiment is
    in slot i, and all images of a slot have one size. The slots of a single embodiment are its
    cameras.

    Raises:
        UserError: two embodiments have one name, or two cameras of a slot different sizes.
    """

    specs: tuple[Spec, ...]
    """Their specs. A row of a batch names its embodiment by its index here."""

    def __post_init__(self) -> None:
        names = self.names
        if len(set(names)) < len(names):
            raise UserError(f"two embodiments have one name among {', '.join(names)}")
        for number in range(max(len(spec.cameras) for spec in self.specs)):
            sizes = self._cameras_in(number)
            first, size = next(iter(sizes.items()))
            for other, other_size in sizes.items():
                if other_size != size:
                    raise UserError(
                        f"{first} and {other} share an image encoder, but have {_pixels(size)} and "
                        f"{_pixels(other_size)}; collect both at one image size"
                    )

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the embodiments, in the order of `specs`."""
        return tuple(spec.embodiment for spec in self.specs)

    @cached_property
    def slots(self) -> dict[str, tuple[int, int]]:
        """Slot to the (height, width) of its images in pixels."""
        if len(self.specs) == 1:
            return dict(self.specs[0].cameras)
        largest = max(self.specs, key=lambda spec: len(spec.cameras))
        return {f"slot{number}": size for number, size in enumerate(largest.cameras.values())}

    @property
    def state_dimension(self) -> int:
        """The largest number of state dimensions, to which all are padded."""
        return max(spec.state_dimension for spec in self.specs)

    @property
    def action_dimension(self) -> int:
        """The largest number of action dimensions, to which all are padded."""
        return max(spec.action.dimension for spec in self.specs)

    @cached_property
    def present(self) -> np.ndarray:
        """bool (embodiments, slots + 1): the camera slots that each embodiment has, and in the last
        column whether it has a state.

        A single embodiment has all of them: an empty state is then a token that is always the same.
        """
        if len(self.specs) == 1:
            return np.ones((1, len(self.slots) + 1), bool)
        present = np.zeros((len(self.specs), len(self.slots) + 1), bool)
        for row, spec in enumerate(self.specs):
            present[row, : len(spec.cameras)] = True
            present[row, -1] = spec.state_dimension > 0
        return present

    def slot_of(self, spec: Spec) -> dict[str, str]:
        """Camera to slot, in the order of the cameras. spec: one of these embodiments."""
        return dict(zip(spec.cameras, self.slots, strict=False))

    def index(self, spec: Spec, complaint: str, *, advice: str = "") -> int:
        """The index of an embodiment in `specs`.

        Bounds of actions that were only measured may differ, and so may a name that is only a
        guess.

        Args:
            spec: of a dataset or an environment.
            complaint: the start of the error's message.
            advice: the end of the error's message if only the name is in question.

        Raises:
            UserError: it is none of these embodiments, and the message says in what it differs from
                them; or it has no name, and may be several of them.
        """
        differences = {own.embodiment: own.differences(spec.bounded_as(own)) for own in self.specs}
        equal = [name for name, different in differences.items() if not different]
        if spec.embodiment in equal:
            return self.names.index(spec.embodiment)
        if len(equal) == 1:
            return self.names.index(equal[0])
        if equal:
            raise UserError(
                f"{complaint}: it does not name its robot, which may be "
                f"{' or '.join(equal)}{advice}"
            )
        if not any(_fields(different) == "embodiment" for different in differences.values()):
            advice = ""
        # The embodiment that is meant: the only one, or the one of this name.
        meant = self.names[0] if len(self.names) == 1 else spec.embodiment
        if meant in differences:
            remedy = _recording_flags(self.specs[self.names.index(meant)], spec)
            raise UserError(
                f"{complaint} ({first_of(differences[meant], SHOWN_DIFFERENCES, separator='; ')}); "
                f"known: {first_of(self.names, _SHOWN_NAMES)}{remedy}{advice}"
            )
        choices = [
            f"{name} (not the same: {_fields(different)})"
            for name, different in differences.items()
        ]
        known = first_of(choices, _SHOWN_NAMES)
        raise UserError(f"{complaint} ({spec.embodiment}); known: {known}{advice}")

    def _cameras_in(self, number: int) -> dict[str, tuple[int, int]]:
        """ "camera NAME of EMBODIMENT" to its (height, width), for the cameras in slot `number`."""
        sizes = {}
        for spec in self.specs:
            for name, size in list(spec.cameras.items())[number : number + 1]:
                sizes[f"camera {name!r} of {spec.embodiment}"] = size
        return sizes


def _recording_flags(wanted: Spec, recorded: Spec) -> str:
    """How to record the wanted cameras with `collect`, as the end of a message; empty if they were
    recorded, or have several sizes, which `collect` does not offer."""
    sides = _sides(wanted)
    if dict(wanted.cameras) == dict(recorded.cameras) or len(sides) != 1:
        return ""
    flags = ""
    if wanted.cameras.keys() != recorded.cameras.keys():
        flags += f" --cameras {' '.join(wanted.cameras)}"
    if sides != _sides(recorded):
        flags += f" --image-size {min(sides)}"
    return f"; `manyparts collect` records the cameras of {wanted.embodiment} with{flags}"


def _sides(spec: Spec) -> set[int]:
    """The heights and widths of all cameras, in pixels."""
    return set(chain.from_iterable(spec.cameras.values()))


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]} pixels"


def _fields(differences: list[str]) -> str:
    """The names of the fields that differ, from texts such as "cameras: a, b"."""
    return first_of([text.partition(":")[0] for text in differences], SHOWN_DIFFERENCES)
