"""Permutations without a table are permutations."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from manyparts.core.randomness import mix, mix_one, permute


@given(size=st.integers(1, 3000), key=st.integers(0, 2**64 - 1))
def test_every_index_is_hit_exactly_once(size: int, key: int) -> None:
    assert np.array_equal(np.sort(permute(np.arange(size), size, key)), np.arange(size))


@given(size=st.integers(2, 10**12), key=st.integers(0, 2**64 - 1), data=st.data())
def test_indices_are_permuted_independently(size: int, key: int, data: st.DataObject) -> None:
    indices = np.asarray(
        data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=20, unique=True))
    )
    together = permute(indices, size, key)
    assert len(set(together.tolist())) == len(indices)
    assert together.min() >= 0 and together.max() < size
    assert together.tolist() == [
        int(permute(np.asarray([index]), size, key)[0]) for index in indices
    ]


def test_neighbours_are_scattered_and_keys_differ() -> None:
    size = 100_000
    one, other = permute(np.arange(size), size, 1), permute(np.arange(size), size, 2)
    assert (one == other).mean() < 0.001
    for order in (one, other):
        assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.02
        assert abs(np.corrcoef(np.arange(size), order)[0, 1]) < 0.02


def test_mixed_numbers_are_evenly_spread() -> None:
    counts = np.bincount((mix(np.arange(60_000), 7) % np.uint64(6)).astype(int), minlength=6)
    assert counts.min() > 9_600 and counts.max() < 10_400


@given(st.integers(0, 2**63), st.integers(0, 2**64))
def test_one_number_is_mixed_alike(value: int, key: int) -> None:
    assert mix_one(value, key) == mix(np.asarray([value], np.uint64), key)[0]
