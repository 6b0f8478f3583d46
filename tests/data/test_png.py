"""Pictures survive PNG; torn ones are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyparts.data.png import decode_png, encode_png


@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    seed=st.integers(0, 99),
    step=st.sampled_from([1, 2, -1]),
)
def test_images_are_decoded_exactly(height: int, width: int, seed: int, step: int) -> None:
    whole = np.random.default_rng(seed).integers(0, 256, (height, 2 * width, 3), dtype=np.uint8)
    frame = whole[:, ::step]
    np.testing.assert_array_equal(decode_png(encode_png(frame)), frame)
    assert encode_png(frame) == encode_png(frame.copy())


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.9])
def test_torn_images_are_refused(fraction: float) -> None:
    content = encode_png(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    with pytest.raises((OSError, ValueError, SyntaxError)):
        decode_png(content[: int(len(content) * fraction)])


def test_a_flipped_bit_is_refused() -> None:
    content = bytearray(
        encode_png(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    )
    content[1000] ^= 8
    with pytest.raises((OSError, ValueError, SyntaxError)):
        decode_png(bytes(content))
