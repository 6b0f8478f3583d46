"""Whether datasets can be merged: one rate, one robot, the same features with the same meaning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from manyparts.core.errors import UserError
from manyparts.core.naming import NAME
from manyparts.core.printing import first_of
from manyparts.core.serialisation import flatten
from manyparts.core.spec import SHOWN_DIFFERENCES, Spec
from manyparts.data.formats.lerobot.features import (
    IMAGE_TYPES,
    channels_of,
    has_size,
    names_of,
    size_of,
)
from manyparts.data.tools.editing.source import Source

_MEANING = ("dtype", "shape", "names")
_MAX_SHOWN = 3


def require_agreement(sources: Sequence[Source], *, embodiment: str | None) -> None:
    """Raise UserError if datasets differ in rate, robot, features or tasks.

    Args:
        sources: the datasets.
        embodiment: the robot's name of the merged dataset; None: all have one name.
    """
    first = sources[0]
    for other in sources[1:]:
        if (first.own is None) != (other.own is None):
            own, foreign = (first, other) if other.own is None else (other, first)
            raise UserError(
                f"{own.name} was written by {NAME}, which knows what its actions mean, and "
                f"{foreign.name} by another program; `manyparts train --data {first.name} "
                f"{other.name}` takes both without merging"
            )
        differences = list(_differences(first, other, embodiment))
        if differences:
            shown = first_of(differences, SHOWN_DIFFERENCES, separator="; ")
            raise UserError(f"{first.name} and {other.name} cannot be merged: {shown}")


def agreed_features(sources: Sequence[Source]) -> tuple[dict[str, Any], list[str]]:
    """The features of datasets that agree.

    Details such as a video's codec may differ, since each video stays a file of its own.

    Returns:
        The features of the first dataset without such details, and the names of these.
    """
    first, *others = [source.info["features"] for source in sources]
    agreed: dict[str, Any] = {}
    left_out: list[str] = []
    for name, item in first.items():
        kept: dict[str, Any] = {}
        for key, value in item.items():
            values = [other[name].get(key) for other in others]
            if key in _MEANING or all(each == value for each in values):
                kept[key] = value
                continue
            if isinstance(value, Mapping):
                kept[key] = {
                    entry: detail
                    for entry, detail in value.items()
                    if all(
                        isinstance(each, Mapping) and each.get(entry) == detail for each in values
                    )
                }
                left_out += [f"{name} {entry}" for entry in value if entry not in kept[key]]
            else:
                left_out.append(f"{name} {key}")
        agreed[name] = kept
    return agreed, left_out


def _differences(first: Source, other: Source, embodiment: str | None) -> Iterator[str]:
    """What differs and cannot be in one dataset."""
    if first.metadata.fps != other.metadata.fps:
        yield f"fps: {first.metadata.fps:g}, {other.metadata.fps:g}"
    robots = [source.info.get("robot_type") for source in (first, other)]
    if robots[0] != robots[1] and embodiment is None:
        yield (
            f"robot_type: {robots[0]}, {robots[1]}, if they are the same robot, "
            "name it with --embodiment NAME"
        )
    for one, two in ((first, other), (other, first)):
        only = [name for name in one.features if name not in two.features]
        if only:
            yield f"only {one.name} has {first_of(only, _MAX_SHOWN)}"
    for name, item in first.features.items():
        if name in other.features:
            yield from _differences_of_feature(name, item, other.features[name])
    if first.own is not None and other.own is not None:
        yield from _differences_of_own(first, first.own, other, other.own)


def _differences_of_feature(
    name: str, one: Mapping[str, Any], two: Mapping[str, Any]
) -> Iterator[str]:
    if one.get("dtype") != two.get("dtype"):
        yield f"{name} is {one.get('dtype')}, {two.get('dtype')}"
    elif one.get("dtype") in IMAGE_TYPES:
        if _image_size(one) != _image_size(two):
            yield f"{name} has the shape {one['shape']}, {two['shape']}"
        if _is_depth(one) != _is_depth(two):
            yield f"{name} is depth in one of them only"
    elif one["shape"] != two["shape"]:
        yield f"{name} has the shape {one['shape']}, {two['shape']}"
    elif names_of(one, "") != names_of(two, ""):
        pairs = zip(names_of(one, ""), names_of(two, ""), strict=True)
        number, (mine, theirs) = next(
            (number, pair) for number, pair in enumerate(pairs) if pair[0] != pair[1]
        )
        yield f"number {number} of {name} is {_name(mine)}, {_name(theirs)}"


def _differences_of_own(
    first: Source, own: Mapping[str, Any], other: Source, others: Mapping[str, Any]
) -> Iterator[str]:
    """What differs between datasets that manyparts wrote."""
    spec, second = Spec.from_dict(own["spec"]), Spec.from_dict(others["spec"])
    yield from spec.differences(second.bounded_as(spec).called_as(spec))
    mine, theirs = flatten(own["environment"]), flatten(others["environment"])
    for key in mine.keys() | theirs.keys():
        if mine.get(key) != theirs.get(key):
            yield f"environment.{key}: {mine.get(key)}, {theirs.get(key)}"
    task_of = {task.name: task for task in first.metadata.tasks.entries}
    for task in other.metadata.tasks.entries:
        if task_of.get(task.name, task) != task:
            yield f"the instructions of {task.name}, which `manyparts data relabel` changes"


def _image_size(feature: Mapping[str, Any]) -> tuple[Any, ...]:
    """Height, width and channels; the shape itself if it is not set."""
    if len(feature["shape"]) != 3 or not has_size(feature):
        return tuple(feature["shape"])
    return (*size_of(feature), channels_of(feature))


def _is_depth(feature: Mapping[str, Any]) -> bool:
    info = feature.get("info")
    flags = [feature, info if isinstance(info, Mapping) else {}]
    return any(
        bool(each.get(key)) for each in flags for key in ("is_depth_map", "video.is_depth_map")
    )


def _name(name: str) -> str:
    """A dimension's name; one that is only its number has none."""
    return "without a name" if name.startswith("_") and name[1:].isdigit() else repr(name)
