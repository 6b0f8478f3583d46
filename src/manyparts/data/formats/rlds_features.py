"""What features.json says of an RLDS dataset: its leaves by their paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from manyparts.data.formats.errors import format_errors, read_json

FEATURES = "features.json"
STEPS = "steps/"
_NUMBERS = {"bool": "?", "bfloat16": "f4", "float16": "f2", "float32": "f4", "float64": "f8"} | {
    f"{sign}int{bits}": f"{'u' if sign else 'i'}{bits // 8}"
    for sign in ("", "u")
    for bits in (8, 16, 32, 64)
}


@dataclass(frozen=True)
class Feature:
    """One leaf. shape: per step, or of an episode's value; sides that vary are -1. dtype: as it was
    before it was written. why_not: why it is not read, "" where it may be."""

    kind: Literal["numbers", "image", "text", "other"]
    shape: tuple[int, ...] = ()
    dtype: np.dtype = np.dtype("O")
    why_not: str = ""


def read_features(folder: Path) -> dict[str, Feature]:
    """The leaves by their paths, such as "steps/observation/image". Raises UserError if the file is
    not as RLDS has it."""
    where = folder / FEATURES
    with format_errors(where, "RLDS"):
        return dict(_leaves(read_json(where), ""))


def _leaves(values: Mapping[str, Any], path: str) -> Iterator[tuple[str, Feature]]:
    name = path.rstrip("/")
    if "featuresDict" in values:
        for key, child in values["featuresDict"]["features"].items():
            yield from _leaves(child, f"{path}{key}/")
    elif "sequence" in values and "feature" in values["sequence"]:
        inner, length = (
            _leaves(values["sequence"]["feature"], path),
            int(values["sequence"].get("length", -1)),
        )
        yield from (
            inner
            if path == STEPS
            else _in_a_sequence(inner, length, of_steps=path.startswith(STEPS))
        )
    else:
        yield name, _leaf(values)


def _in_a_sequence(
    leaves: Iterator[tuple[str, Feature]], length: int, *, of_steps: bool
) -> Iterator[tuple[str, Feature]]:
    """Of a sequence that has `length` items, or as many as it likes, -1, in each step or else in
    each episode."""
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
        kind = np.dtype(_NUMBERS.get(dtype, "O"))
        deep = (
            ""
            if kind == np.uint8
            else f"an image of {dtype}" + (", such as depth" if kind.kind in "uif" else "")
        )
        return Feature("image", _shape(values["image"]), kind, deep)
    if "tensor" in values:
        dtype, encoding = (
            str(values["tensor"].get("dtype")),
            str(values["tensor"].get("encoding", "none")).lower(),
        )
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
