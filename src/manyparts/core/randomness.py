"""Seeds, permutations and pseudo-random numbers that are pure functions of what they are for, so
that no result depends on who computes it, or when."""

from __future__ import annotations

import hashlib

import numpy as np

_ROUNDS = 6


def derive_seed(*purpose: str | int) -> int:
    """A seed in [0, 2^31) from words and numbers that say what it is for; equal words, equal
    seed."""
    text = "/".join(map(str, purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def permute(indices: np.ndarray, size: int, key: int) -> np.ndarray:
    """Where the `key`-th permutation of range(size) sends each of `indices`, int64 of any shape.

    A Feistel network over the next even power of two, walked until it lands inside (Black and
    Rogaway 2002).
    """
    assert size > 0 and (indices.size == 0 or (indices.min() >= 0 and indices.max() < size)), size
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    keys = mix(np.arange(_ROUNDS), key)
    values = _feistel(indices.astype(np.uint64), np.uint64(half), keys)
    outside = values >= size
    while outside.any():
        values[outside] = _feistel(values[outside], np.uint64(half), keys)
        outside = values >= size
    return values.astype(np.int64)


def mix(values: np.ndarray, key: int) -> np.ndarray:
    """Pseudo-random uint64 of integers and a key: the finaliser of SplitMix64 (Steele et al. 2014),
    twice."""
    return _finalise(
        _finalise(np.asarray(values).astype(np.uint64))
        ^ _finalise(np.asarray([key % 2**64], np.uint64))
    )


def _feistel(values: np.ndarray, half: np.uint64, keys: np.ndarray) -> np.ndarray:
    low = (np.uint64(1) << half) - np.uint64(1)
    left, right = values >> half, values & low
    for key in keys:
        left, right = right, left ^ (_finalise(right + key) & low)
    return (left << half) | right


def _finalise(values: np.ndarray) -> np.ndarray:
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
