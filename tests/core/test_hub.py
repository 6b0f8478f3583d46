"""Addresses of the Hub, which lose a slash as paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from manyparts.core.hub import shown


@pytest.mark.parametrize(
    ("location", "text"),
    [
        ("hf://me/agent", "hf://me/agent"),
        (Path("hf://me/agent@main"), "hf://me/agent@main"),
        (Path("runs/hf"), "runs/hf"),
        ("/data/hf:/x", "/data/hf:/x"),
    ],
)
def test_an_address_is_shown_with_both_slashes(location: str | Path, text: str) -> None:
    assert shown(location) == text
