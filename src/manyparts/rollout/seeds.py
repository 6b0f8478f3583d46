"""Seeds that are pure functions of what they are for, so that no result depends on who computes it, or when."""

from __future__ import annotations

import hashlib


def derive_seed(*purpose: str | int) -> int:
    """A seed in [0, 2^31) from words and numbers that say what it is for; equal words, equal seed."""
    text = "/".join(map(str, purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
