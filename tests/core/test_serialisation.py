"""Content hashes and JSON: defaults can be left out, and former names are read."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from manyparts.core import naming
from manyparts.core.errors import UserError
from manyparts.core.serialisation import content_hash, flatten, from_jsonable, to_jsonable


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


def test_new_fields_keep_the_hash() -> None:
    for before, after in [(Before(3), After(3)), ([Before(3, 0.2)], [After(3, 0.2)])]:
        assert content_hash(before, defaults=False) == content_hash(after, defaults=False)
        assert content_hash(before) != content_hash(after)


def test_values_other_than_defaults_count() -> None:
    names = [
        content_hash(each, defaults=False)
        for each in (After(3), After(4), After(3, 0.2), After(3, names=("a",)))
    ]
    assert len(set(names)) == 4
    assert to_jsonable({"one": After(3, 0.2)}, defaults=False) == {
        "one": {"type": "Config", "steps": 3, "rate": 0.2}
    }


@dataclass(frozen=True)
class Noise:
    deviation: float = 0.4
    fraction: float = 0.5


@dataclass(frozen=True)
class Disturbance:
    """`Noise` under another name, with a field under another name."""

    std: float = 0.4
    fraction: float = 0.5


@dataclass(frozen=True)
class Old:
    noise: Noise | None


@dataclass(frozen=True)
class New:
    noise: Disturbance | None


@pytest.fixture
def renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naming, "FORMER_CLASSES", {"Disturbance": "Noise", "New": "Old"})
    monkeypatch.setattr(naming, "FORMER_FIELDS", {"Disturbance": {"std": "deviation"}})


@pytest.mark.usefixtures("renamed")
@pytest.mark.parametrize("noise", [(), (0.2,), (0.2, 0.1), None])
def test_renaming_classes_keeps_the_hash(noise: tuple[float, ...] | None) -> None:
    old = Old(None if noise is None else Noise(*noise))
    new = New(None if noise is None else Disturbance(*noise))
    for defaults in (True, False):
        assert content_hash(new, defaults=defaults) == content_hash(old, defaults=defaults)
        for written in (to_jsonable(old, defaults=defaults), to_jsonable(new, defaults=defaults)):
            assert from_jsonable(New, written) == new
    assert "deviation" not in str(to_jsonable(new)) and "Noise" not in str(to_jsonable(new))


@pytest.mark.usefixtures("renamed")
def test_errors_use_names_of_today() -> None:
    with pytest.raises(UserError, match="no such key; known: fraction, std"):
        from_jsonable(Disturbance, {"sigma": 0.2})


@pytest.mark.usefixtures("renamed")
def test_former_names_compare_as_equal() -> None:
    old, new = to_jsonable(Old(Noise(0.2))), to_jsonable(New(Disturbance(0.2)))
    assert old != new
    assert naming.names_of_today({"config": [old]}) == {"config": [new]}


def test_flatten_gives_dotted_keys() -> None:
    nested = {"a": 1, "b": {"c": 2, "d": {"e": [3]}}, "f": {}}
    assert flatten(nested) == {"a": 1, "b.c": 2, "b.d.e": [3]}
