"""Names made of content: what has its default value can be left out of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from manyparts.serialisation import content_hash, to_jsonable


def _named(kind: type) -> type:
    """The class under the name that an earlier version of it had."""
    kind.__name__ = "Config"
    return kind


@_named
@dataclass(frozen=True)
class Before:
    steps: int
    rate: float = 0.1


@_named
@dataclass(frozen=True)
class After:
    steps: int
    rate: float = 0.1
    names: tuple[str, ...] = field(default_factory=tuple)


def test_an_option_that_comes_later_leaves_names_as_they_are() -> None:
    for before, after in [(Before(3), After(3)), ([Before(3, 0.2)], [After(3, 0.2)])]:
        assert content_hash(before, defaults=False) == content_hash(after, defaults=False)
        assert content_hash(before) != content_hash(after)


def test_what_is_not_the_default_counts() -> None:
    names = [content_hash(each, defaults=False) for each in (After(3), After(4), After(3, 0.2), After(3, names=("a",)))]
    assert len(set(names)) == 4
    assert to_jsonable({"one": After(3, 0.2)}, defaults=False) == {"one": {"type": "Config", "steps": 3, "rate": 0.2}}
