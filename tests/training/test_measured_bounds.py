"""Two recordings of one robot with measured bounds of actions: neither reaches as far as the
other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data.synthetic import make_episode, make_spec, write
from training.runs import first, rows, second

from manyparts.core.errors import UserError
from manyparts.core.spec import Spec
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.config import WindowConfig
from manyparts.data.sampling.frames import FrameCache
from manyparts.data.sampling.stream import StreamedWindows
from manyparts.data.sampling.windows import Windows
from manyparts.evaluation.prediction.open_loop import open_loop
from manyparts.methods import preset
from manyparts.models.checkpoint import load_info, resolve
from manyparts.training.inputs import Sources
from manyparts.training.train import train

NARROW, WIDE, SMALL = (
    ((-0.5, -0.75), (0.5, 0.75)),
    ((-1.0, -0.5), (1.0, 0.5)),
    ((-0.25, -0.25), (0.25, 0.25)),
)


def measured(low: tuple[float, float], high: tuple[float, float]) -> Spec:
    spec = make_spec()
    return replace(spec, action=replace(spec.action, low=low, high=high, measured=True))


def record(path: Path, spec: Spec, *, seed: int, inside: Spec | None = None) -> EpisodeDataset:
    """Actions that fill the bounds of `inside`."""
    contract = (inside or spec).action
    drawn = [make_episode(seed + number, 12, spec) for number in range(8)]
    return write(path, [replace(each, action=each.action * contract.high) for each in drawn], spec)


@pytest.fixture
def narrow(tmp_path: Path) -> EpisodeDataset:
    return record(tmp_path / "narrow", measured(*NARROW), seed=0)


@pytest.fixture
def wide(tmp_path: Path) -> EpisodeDataset:
    return record(tmp_path / "wide", measured(*WIDE), seed=100)


def test_mixtures_have_the_bounds_of_all(narrow, wide, tmp_path):
    run = train(
        first(steps=1), data=[narrow.path, wide.path], output=tmp_path / "run", device="cpu"
    )
    (embodiment,) = load_info(resolve(run)).embodiments
    assert (embodiment.spec.action.low, embodiment.spec.action.high) == ((-1.0, -0.75), (1.0, 0.75))


def test_agents_bounds_hold_while_tuning(narrow, wide, tmp_path):
    run = train(first(steps=1), data=narrow.path, output=tmp_path / "first", device="cpu")
    tuned = train(
        second(steps=1), data=wide.path, output=tmp_path / "tuned", start_from=run, device="cpu"
    )
    (embodiment,) = load_info(resolve(tuned)).embodiments
    assert embodiment.spec == narrow.spec and embodiment.tasks == wide.tasks
    same = record(tmp_path / "same", narrow.spec, seed=100, inside=wide.spec)
    again = train(
        second(steps=1), data=same.path, output=tmp_path / "again", start_from=run, device="cpu"
    )
    assert rows(tuned)[0]["loss"] == rows(again)[0]["loss"]


def test_windows_are_scaled_by_agents_bounds(narrow, wide, tmp_path):
    (embodiment,) = Sources.open([narrow.path, wide.path]).embodiments()
    config = WindowConfig(steps=2, chunk=1)
    whole = Windows(
        wide.bounded_as(embodiment.spec), FrameCache.open(wide, tmp_path / "cache"), config, seed=0
    )
    streamed = StreamedWindows(
        str(wide.path), config, seed=0, spec=embodiment.spec, cache_dir=tmp_path / "streamed"
    )
    for windows in (whole, streamed):
        batch = windows.batch(0, 32)
        for window, action in zip(
            batch.window.tolist(), batch.action[:, 0, 0].numpy(), strict=True
        ):
            episode = int(np.searchsorted(wide.starts, window, side="right")) - 1
            raw = wide.columns(episode)["action"][window - wide.starts[episode]]
            np.testing.assert_allclose(action, raw / (1.0, 0.75), atol=1e-6)
        windows.close()


def test_dynamics_models_predict_within_own_bounds(narrow, wide, tmp_path):
    runs = [
        train(
            preset("dynamics/mlp-debug"),
            data=data.path,
            output=tmp_path / f"of-{data.path.name}",
            device="cpu",
        )
        for data in (narrow, wide)
    ]
    small = record(tmp_path / "small", measured(*SMALL), seed=100)
    forecasts = open_loop(runs, small.path, horizons=(1, 3), windows=4)
    for forecast, data in zip(forecasts, (narrow, wide), strict=True):
        same = record(tmp_path / f"as-{data.path.name}", data.spec, seed=100, inside=small.spec)
        expected = open_loop([runs[0], forecast.run], same.path, horizons=(1, 3), windows=4)[1]
        assert forecast.horizons == expected.horizons


def test_written_bounds_are_kept(narrow, tmp_path):
    spec = replace(narrow.spec, action=replace(narrow.spec.action, measured=False))
    written = record(tmp_path / "written", spec, seed=3)
    further = replace(spec, action=replace(spec.action, high=(0.5, 0.8)))
    other = record(tmp_path / "other", further, seed=4, inside=spec)
    with pytest.raises(
        UserError, match=r"both have the embodiment 'toy', but differ \(action.high"
    ):
        train(
            first(steps=1), data=[written.path, other.path], output=tmp_path / "run", device="cpu"
        )
    with pytest.raises(UserError, match=r"differ \(action.measured: True, False\)"):
        train(
            first(steps=1), data=[narrow.path, written.path], output=tmp_path / "run", device="cpu"
        )
