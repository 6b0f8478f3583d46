"""Seeds, permutations and pseudo-random numbers as pure functions of their purpose.

So no result depends on which process computes it, or in which order.
"""

from __future__ import annotations

import hashlib

import numpy as np

_FEISTEL_ROUNDS = 6


def derive_seed(*purpose: str | int) -> int:
    """Derive a seed from words and numbers that say what it is for.

    Args:
        purpose: Such as "collect", seed, task, number. The words are data: another word gives
            another seed.

    Returns:
        A seed in [0, 2^31); equal words give the equal seed.
    """
    text = "/".join(map(str, purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def permute(indices: np.ndarray, size: int, key: int) -> np.ndarray:
    """Map indices by a pseudo-random permutation of range(size), without making the permutation.

    A Feistel network permutes the next even power of two; what falls outside of range(size) is
    permuted again until it falls inside ("cycle walking", Black and Rogaway 2002).

    Args:
        indices: Integers in [0, size), of any shape.
        size: The number of elements that are permuted.
        key: Which permutation.

    Returns:
        int64 of the same shape.
    """
    assert size > 0 and (indices.size == 0 or (indices.min() >= 0 and indices.max() < size)), size
    # Each value is split into two halves of so many bits.
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    keys = mix(np.arange(_FEISTEL_ROUNDS), key)
    values = _feistel(indices.astype(np.uint64), np.uint64(half), keys)
    outside = values >= size
    while outside.any():
        values[outside] = _feistel(values[outside], np.uint64(half), keys)
        outside = values >= size
    return values.astype(np.int64)


def mix(values: np.ndarray, key: int) -> np.ndarray:
    """Hash integers with a key to pseudo-random numbers.

    Applies the finaliser of SplitMix64 (Steele et al. 2014) twice.

    Args:
        values: Integers of any shape.
        key: Which hash; it is taken modulo 2^64.

    Returns:
        uint64 of the same shape.
    """
    mixed_values = _finalise(np.asarray(values).astype(np.uint64))
    mixed_key = _finalise(np.asarray([key % 2**64], np.uint64))
    return _finalise(mixed_values ^ mixed_key)


def mix_one(value: int, key: int) -> int:
    """Hash one integer as `mix` does, in a tenth of the time.

    Args:
        value: An integer of at least 0.
        key: As in `mix`.
    """
    return _finalise_one(_finalise_one(value) ^ _finalise_one(key % 2**64))


def _feistel(values: np.ndarray, half: np.uint64, keys: np.ndarray) -> np.ndarray:
    """Permute uint64 of 2 * half bits, one round per key."""
    low_bits = (np.uint64(1) << half) - np.uint64(1)
    left, right = values >> half, values & low_bits
    for key in keys:
        left, right = right, left ^ (_finalise(right + key) & low_bits)
    return (left << half) | right


def _finalise_one(value: int) -> int:
    """Apply SplitMix64's finaliser to one integer."""
    value = (value + 0x9E3779B97F4A7C15) % 2**64
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
    return value ^ (value >> 31)


def _finalise(values: np.ndarray) -> np.ndarray:
    """Apply SplitMix64's finaliser; the products wrap modulo 2^64."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
