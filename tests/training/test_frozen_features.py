"""Tokens on disk are those that frozen encoders compute, named by what they depend on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from factories import make_system
from training.runs import rows, second, weights

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.frames import FrameCache
from manyparts.objectives.system import System
from manyparts.training.config import AugmentationConfig
from manyparts.training.frozen_features import encoder_hash, frozen_features
from manyparts.training.optimizer import train_only
from manyparts.training.train import train

FROZEN = ("objectives.*", "model.blocks.*")


@pytest.fixture
def system() -> System:
    made = make_system()
    train_only(made, FROZEN)
    return made


def compute(system: System, data: Path, tmp_path: Path, encoder: str = "conv") -> np.ndarray:
    dataset = EpisodeDataset.open(data)
    cache = FrameCache.open(dataset)
    return frozen_features(system, dataset, cache, encoder=encoder, cache_dir=tmp_path)["front"]


def test_features_are_tokens_of_every_frame(system, data, tmp_path):
    features = compute(system, data, tmp_path)
    cache = FrameCache.open(EpisodeDataset.open(data))
    assert (
        isinstance(features, np.memmap)
        and features.dtype == np.float16
        and len(features) == cache.num_frames
    )
    frames = torch.from_numpy(cache.frames("front", 0, cache.num_frames))
    with torch.no_grad():
        tokens = system.eval().model.visual_features(frames, "front")
    torch.testing.assert_close(
        torch.from_numpy(features.astype(np.float32)), tokens, rtol=1e-3, atol=1e-3
    )


def test_features_are_computed_only_once(system, data, tmp_path):
    first = compute(system, data, tmp_path)
    (folder,) = (tmp_path / "features").iterdir()
    written = (folder / "0.npy").stat().st_mtime_ns
    assert (compute(system, data, tmp_path) == first).all()
    assert (folder / "0.npy").stat().st_mtime_ns == written
    assert [path.name for path in (tmp_path / "features").iterdir()] == [folder.name]


def test_only_encoders_decide_the_hash(system):
    before = encoder_hash(system, "conv", "fp32")
    with torch.no_grad():
        system.model.blocks[0].attention.query.weight += 1
    assert encoder_hash(system, "conv", "fp32") == before
    assert (
        encoder_hash(system, "vit", "fp32") != before
        and encoder_hash(system, "conv", "bf16") != before
    )
    with torch.no_grad():
        system.model.embedding.projections["front"].bias[0] += 1e-6
    assert encoder_hash(system, "conv", "fp32") != before


def test_encoders_that_train_have_no_features(data, tmp_path):
    with pytest.raises(
        UserError,
        match=r"cache_features needs frozen encoders, but model\.embedding\.\S+ is trained",
    ):
        compute(make_system(), data, tmp_path)


def test_tokens_beyond_float16_are_refused(system, data, tmp_path):
    with torch.no_grad():
        system.model.embedding.projections["front"].bias += 1e6
    with pytest.raises(UserError, match="camera front, frames 0 to 255, do not fit float16"):
        compute(system, data, tmp_path)
    assert not list((tmp_path / "features").iterdir())


def test_features_train_as_images_do(first_run, data, tmp_path):
    runs = [
        train(
            second(cache_features=cached),
            data=data,
            output=tmp_path / str(cached),
            start_from=first_run,
            device="cpu",
        )
        for cached in (True, False)
    ]
    cached, images = (np.asarray([row["loss"] for row in rows(run)]) for run in runs)
    np.testing.assert_allclose(cached, images, rtol=2e-3)
    assert weights(runs[0]).keys() == weights(runs[1]).keys()


def test_disabled_augmentation_is_printed(first_run, data, tmp_path, capsys):
    plain = train(
        second(), data=data, output=tmp_path / "plain", start_from=first_run, device="cpu"
    )
    assert "augmentation of images is off" not in capsys.readouterr().err
    config = second(augmentation=AugmentationConfig(brightness=0.5))
    run = train(config, data=data, output=tmp_path / "run", start_from=first_run, device="cpu")
    assert "cache_features: augmentation of images is off" in capsys.readouterr().err
    assert rows(run) == rows(plain)
