"""Where saved episodes go: refused before anybody acted, not after."""

from __future__ import annotations

from pathlib import Path

import pytest

from manyparts.core.errors import UserError
from manyparts.playing.casting import Wanted, cast_of
from manyparts.playing.session import Session

POINT = ("pointmass/reach",)


def saved(output: Path, size: int = 16) -> None:
    """Record three steps of nobody in particular."""
    cast, _ = cast_of(Wanted("random", POINT, {"image_size": size}, output=output))
    session = Session(cast)
    for _ in range(3):
        session.step()
    session.save(None)
    session.close()
    assert cast.recorder is not None
    cast.recorder.close()


def test_one_program_adds_at_a_time(tmp_path: Path) -> None:
    output = tmp_path / "data"
    saved(output)
    cast, _ = cast_of(Wanted("hand", POINT, {"image_size": 16}, output=output))
    with pytest.raises(UserError, match=r"--output .*data is in use by another process"):
        cast_of(Wanted("hand", POINT, {"image_size": 16}, output=output))
    assert cast.recorder is not None
    cast.recorder.close()
    saved(output)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_episodes_of_another_robot_are_refused_at_the_start(tmp_path: Path) -> None:
    saved(tmp_path / "data")
    with pytest.raises(UserError, match="holds episodes of another robot or of other settings"):
        cast_of(Wanted("hand", POINT, {"image_size": 32}, output=tmp_path / "data"))
    saved(tmp_path / "data")


def test_a_folder_that_cannot_be_made_is_refused_at_the_start() -> None:
    with pytest.raises(UserError, match="cannot write /proc/nowhere"):
        cast_of(Wanted("hand", POINT, output=Path("/proc/nowhere/data")))


def test_flags_of_agents_are_refused_for_hands() -> None:
    with pytest.raises(UserError, match="hand computes nothing, so --device and --precision"):
        cast_of(Wanted("hand", POINT, device="cuda"))
