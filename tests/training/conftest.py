"""One small dataset and one finished phase I for all tests of training."""

from __future__ import annotations

from pathlib import Path

import pytest
from training.runs import first, write_dataset

from manyparts.training.train import train


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("training") / "data"
    write_dataset(path)
    return path


@pytest.fixture(scope="session")
def first_run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(
        first(), data=data, output=tmp_path_factory.mktemp("training") / "first", device="cpu"
    )
