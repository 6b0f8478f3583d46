"""Read features.json of an RLDS dataset: its features by their paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from manyparts.data.formats.errors import format_errors, read_json

FEATURES = "features.json"
STEPS = "steps/"
# numpy's dtypes by TensorFlow's names.
_NUMBERS = {"bool": "?", "bfloat16": "f4", "float16": "f2", "float32": "f4", "float64": "f8"}
for _bits in (8, 16, 32, 64):
    _NUMBERS |= {f"int{_bits}": f"i{_bits // 8}", f"uint{_bits}": f"u{_bits // 8}"}


@dataclass(frozen=True)
class Feature:
    """One feature of each step, or of an episode."""

    kind: Literal["numbers", "image", "text", "other"]
    """What it holds."""
    shape: tuple[int, ...] = ()
    """Shape per step, or of an episode's value; -1 for sides that vary."""
    dtype: np.dtype = np.dtype("O")
    """The dtype before it was written."""
    why_not: str = ""
    """Why it is not read; "" if it may be."""


def read_features(folder: Path) -> dict[str, Feature]:
    """Read the features by their paths, such as "steps/observation/image".

    Raises:
        UserError: if the file does not follow RLDS.
    """
    where = folder / FEATURES
    with format_errors(where, "RLDS"):
        return dict(_leaves(read_json(where), ""))


def _leaves(values: Mapping[str, Any], path: str) -> Iterator[tuple[str, Feature]]:
    name = path.rstrip("/")
    if "featuresDict" in values:
        for key, child in values["featuresDict"]["features"].items():
            yield from _leaves(child, f"{path}{key}/")
    elif "sequence" in values and "feature" in values["sequence"]:
        items = _leaves(values["sequence"]["feature"], path)
        length = int(values["sequence"].get("length", -1))
        if path == STEPS:
            yield from items
        else:
            yield from _in_sequence(items, length, of_steps=path.startswith(STEPS))
    else:
        yield name, _leaf(values)


def _in_sequence(
    leaves: Iterator[tuple[str, Feature]], length: int, *, of_steps: bool
) -> Iterator[tuple[str, Feature]]:
    """The features of a sequence.

    Args:
        leaves: the features of one item.
        length: number of items; -1: it varies.
        of_steps: whether each step has such a sequence, or else each episode.
    """
    for name, leaf in leaves:
        if leaf.kind == "text" and not of_steps:
            yield name, leaf
        elif length < 0 or leaf.kind != "numbers":
            yield name, Feature("other", why_not="a sequence inside of each step")
        else:
            yield name, Feature(leaf.kind, (length, *leaf.shape), leaf.dtype, leaf.why_not)


def _leaf(values: Mapping[str, Any]) -> Feature:
    if "text" in values:
        return Feature("text")
    if "image" in values:
        dtype = str(values["image"].get("dtype") or "uint8")
        kind, why_not = np.dtype(_NUMBERS.get(dtype, "O")), ""
        if kind != np.uint8:
            why_not = f"an image of {dtype}" + (", such as depth" if kind.kind in "uif" else "")
        return Feature("image", _shape(values["image"]), kind, why_not)
    if "tensor" in values:
        dtype = str(values["tensor"].get("dtype"))
        encoding = str(values["tensor"].get("encoding", "none")).lower()
        if dtype in ("string", "object"):
            return Feature("text")
        if dtype not in _NUMBERS:
            return Feature("other", why_not=f"numbers of kind {dtype}")
        packed = "" if encoding in ("none", "0") else f"numbers packed as {encoding}"
        return Feature("numbers", _shape(values["tensor"]), np.dtype(_NUMBERS[dtype]), packed)
    kinds = [key for key in values if key != "pythonClassName"]
    return Feature("other", why_not=f"a feature of kind {kinds[0] if kinds else 'unknown'}")


def _shape(values: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(int(side) for side in values.get("shape", {}).get("dimensions", ()))
