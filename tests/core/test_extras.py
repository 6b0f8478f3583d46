"""Optional packages: missing, or installed and broken, each with the command that mends it."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest

from manyparts import cli
from manyparts.core.errors import SurroundingsWarning
from manyparts.core.extras import PackageError, load_package
from manyparts.evaluation.prediction.chart import write_chart


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, r"^a film needs projector: pip install projector$"),
        (
            "raise TypeError('Descriptors\\ncannot')",
            r"does not load \(TypeError: Descriptors\); install it again: pip",
        ),
        ("import nothing_of_the_kind", r"installed but does not load \(ModuleNotFoundError"),
        ("from os import nothing_of_the_kind", r"installed but does not load \(ImportError"),
    ],
    ids=["missing", "broken", "a part is missing", "a part is too old"],
)
def test_package_that_fails_is_named(
    tmp_path: Path, monkeypatch, source: str | None, message: str
) -> None:
    if source is not None:
        (tmp_path / "projector.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PackageError, match=message):
        load_package("projector", "a film", "pip install projector")


def test_without_matplotlib_numbers_are_written_alone(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.warns(
        SurroundingsWarning, match=r"chart\.svg is not drawn: .*pip install matplotlib"
    ):
        assert not write_chart(tmp_path / "chart.svg", lambda: b"")
    assert list(tmp_path.iterdir()) == []


def test_own_warnings_are_one_line(capsys) -> None:
    with warnings.catch_warnings():
        cli._print_own_warnings_as_lines()
        warnings.simplefilter("always")
        warnings.warn("caches go\n elsewhere", SurroundingsWarning, stacklevel=1)
    assert capsys.readouterr().err == "warning: caches go elsewhere\n"
