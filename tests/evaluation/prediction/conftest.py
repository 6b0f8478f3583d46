"""A small dataset for tests of dynamics models."""

from __future__ import annotations

import pytest
from evaluation.prediction.small_data import collected

from manyparts.data.dataset import EpisodeDataset


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> EpisodeDataset:
    return collected(tmp_path_factory.mktemp("data") / "few", 8)
