"""What tests of several formats share."""

from __future__ import annotations

import pytest


@pytest.fixture
def no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read HDF5 files without a process each, which would take most of the time.

    Files of these tests are not torn; tests of the probe call it themselves.
    """
    monkeypatch.setattr("manyparts.data.formats.hdf5.faults_of", lambda _: {})
