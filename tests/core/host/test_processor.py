"""What the processor is."""

from __future__ import annotations

from pathlib import Path

import pytest

from manyparts.core.host.processor import is_of_amd


@pytest.mark.parametrize(("vendor", "expected"), [("AuthenticAMD", True), ("GenuineIntel", False)])
def test_vendor_is_read(tmp_path: Path, vendor: str, expected: bool) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(f"processor\t: 0\nvendor_id\t: {vendor}\n")
    assert is_of_amd(tmp_path) is expected


def test_systems_without_cpuinfo_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "AMD64 Family 25 Model 97 Stepping 2, AuthenticAMD"
    monkeypatch.setattr("platform.processor", lambda: name)
    assert is_of_amd(tmp_path)
    monkeypatch.setattr("platform.processor", lambda: "arm")
    assert not is_of_amd(tmp_path)
