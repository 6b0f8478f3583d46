"""Names made of content: what has its default value can be left out of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from manyparts.core import naming
from manyparts.core.errors import UserError
from manyparts.core.serialisation import content_hash, from_jsonable, to_jsonable


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
    std: float = 0.4
    share: float = 0.5


@dataclass(frozen=True)
class Disturbance:
    """`Noise` under another name, with a field under another name."""

    std: float = 0.4
    share: float = 0.5


@dataclass(frozen=True)
class Old:
    noise: Noise | None


@dataclass(frozen=True)
class New:
    noise: Disturbance | None


@pytest.fixture
def renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naming, "FORMER_CLASSES", {"Disturbance": "Noise", "New": "Old"})
    monkeypatch.setattr(naming, "FORMER_FIELDS", {"Disturbance": {"std": "std"}})


@pytest.mark.usefixtures("renamed")
@pytest.mark.parametrize("noise", [(), (0.2,), (0.2, 0.1), None])
def test_new_names_rename_no_content(noise: tuple[float, ...] | None) -> None:
    old = Old(None if noise is None else Noise(*noise))
    new = New(None if noise is None else Disturbance(*noise))
    for defaults in (True, False):
        assert content_hash(new, defaults=defaults) == content_hash(old, defaults=defaults)
        for written in (to_jsonable(old, defaults=defaults), to_jsonable(new, defaults=defaults)):
            assert from_jsonable(New, written) == new
    assert "std" not in str(to_jsonable(new)) and "Noise" not in str(to_jsonable(new))


@pytest.mark.usefixtures("renamed")
def test_errors_name_what_there_is_today() -> None:
    with pytest.raises(UserError, match="no such key; known: share, std"):
        from_jsonable(Disturbance, {"sigma": 0.2})
