"""Statistics gathered in blocks equal those of the whole."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyparts.core.serialisation import from_jsonable, to_jsonable
from manyparts.embodiment import statistics
from manyparts.embodiment.statistics import (
    QUANTILES,
    FeatureStatistics,
    RunningImageStatistics,
    RunningStatistics,
    Statistics,
    pooled,
    sample_rows,
)


@given(
    seed=st.integers(0, 1000),
    blocks=st.lists(st.integers(0, 40), min_size=1, max_size=8).filter(any),
)
def test_blocks_give_what_the_whole_gives(seed: int, blocks: list[int]) -> None:
    values = np.random.default_rng(seed).normal(5, 3, (sum(blocks), 3))
    running = RunningStatistics(3)
    for block in np.split(values, np.cumsum(blocks)[:-1]):
        running.update(block)
    finished = running.finish()
    assert finished.count == len(values)
    for name, expected in (
        ("min", values.min(0)),
        ("max", values.max(0)),
        ("mean", values.mean(0)),
    ):
        np.testing.assert_allclose(getattr(finished, name), expected, rtol=1e-12)
    np.testing.assert_allclose(finished.std, values.std(0), rtol=1e-9, atol=1e-12)
    for name, q in QUANTILES.items():
        np.testing.assert_allclose(getattr(finished, name), np.quantile(values, q, axis=0))


def test_memory_stays_bounded_and_quantiles_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "_SAMPLE_ROWS", 1000)
    values = np.random.default_rng(0).normal(size=(50_000, 2))
    running = RunningStatistics(2)
    for block in np.array_split(values, 333):
        running.update(block)
        assert running._sampled <= 1000
    sample = np.concatenate(running._sample)
    assert len(sample) >= 500
    np.testing.assert_array_equal(sample, values[:: running._stride])
    np.testing.assert_allclose(running.finish().q50, np.median(values, axis=0), atol=0.1)


def test_image_statistics_are_exact() -> None:
    frames = np.random.default_rng(0).integers(3, 250, (6, 9, 7, 3), dtype=np.uint8)
    running = RunningImageStatistics()
    for part in np.split(frames, 3):
        running.update(part)
    finished, flat = running.finish(), frames.reshape(-1, 3) / 255
    assert finished.count == 6
    for name, expected in (
        ("min", flat.min(0)),
        ("max", flat.max(0)),
        ("mean", flat.mean(0)),
        ("std", flat.std(0)),
    ):
        np.testing.assert_allclose(getattr(finished, name), expected, atol=1e-12)
    for name, q in QUANTILES.items():
        expected = np.quantile(flat, q, axis=0, method="inverted_cdf")
        np.testing.assert_allclose(getattr(finished, name), expected, atol=1e-12)


def test_records_survive_json_in_both_forms() -> None:
    running = RunningStatistics(3)
    running.update(np.random.default_rng(1).normal(size=(20, 3)))
    record = Statistics({"observation.images.front": running.finish(), "action": running.finish()})
    lerobot = json.loads(json.dumps(record.to_dict(image_features=["observation.images.front"])))
    assert np.shape(lerobot["observation.images.front"]["mean"]) == (3, 1, 1)
    assert np.shape(lerobot["action"]["mean"]) == (3,)
    assert Statistics.from_dict(lerobot) == record
    assert from_jsonable(Statistics, json.loads(json.dumps(to_jsonable(record)))) == record


def test_foreign_statistics_may_lack_quantiles() -> None:
    values = {"min": [0.0], "max": [1.0], "mean": [0.5], "std": [0.1], "count": [7]}
    assert FeatureStatistics.from_dict(values).q50 == ()


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 500])
def test_sampled_rows_span_the_episode(length: int) -> None:
    rows = sample_rows(length)
    assert rows[0] == 0 and rows[-1] == length - 1 and len(rows) == min(8, length)


def test_pooled_statistics_describe_all_rows() -> None:
    draw = np.random.default_rng(0)
    parts = [draw.normal(size, 1 + size, (size, 2)) for size in (3, 40, 400)]
    running_parts = [RunningStatistics(2) for _ in range(4)]
    for running, rows in zip(running_parts, [*parts, np.concatenate(parts)], strict=True):
        running.update(rows)
    *each, whole = [Statistics({"state": running.finish()}) for running in running_parts]
    together, expected = pooled(each)["state"], whole["state"]
    assert together.count == expected.count and together.q50 == ()
    for name in ("min", "max", "mean", "std"):
        np.testing.assert_allclose(getattr(together, name), getattr(expected, name))
    assert pooled(each[:1]) is each[0]


def test_samples_keep_no_blocks_in_memory() -> None:
    running = RunningStatistics(4)
    tracemalloc.start()
    try:
        for block in range(100):
            running.update(np.full((10_000, 4), block, np.float32))
        memory, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert memory < 4 * 2**20  # 65 536 rows of the sample, of a million
