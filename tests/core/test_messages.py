"""Messages of strangers: both dialects come back whole, and else only a MessageError comes out."""

from __future__ import annotations

import io
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from manyparts.core.messages import Limits, MessageError, pack, unpack

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
NUMBERS = arrays.arrays(
    st.sampled_from(("<f4", "<f8", "<i8", "|u1", "|b1", ">i4", "<f2")),
    arrays.array_shapes(min_dims=0, max_dims=4, max_side=4),
)
MARKED = st.fixed_dictionaries(
    dict.fromkeys(("dtype", "shape", "data"), PLAIN) | {"__ndarray__": PLAIN}
)


def packed(value: Any) -> bytes:
    return msgpack.packb(value, use_bin_type=True)


def image_of(pixels: np.ndarray, kind: str) -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=kind)
    return {"__image__": True, "format": kind, "data": buffer.getvalue(), "shape": pixels.shape}


@given(array=NUMBERS, dialect=st.sampled_from(("openpi", "vla-eval")))
def test_arrays_come_back_in_both_dialects(array: np.ndarray, dialect: Any) -> None:
    back = unpack(pack({"a": [array]}, dialect))["a"][0]
    np.testing.assert_array_equal(back, array)
    assert back.dtype == array.dtype.newbyteorder("=")


def test_single_numbers_come_back() -> None:
    assert unpack(pack({"a": np.float32(0.5)}, "openpi")) == {"a": np.float32(0.5)}
    assert unpack(pack({"a": np.int64(3)}, "vla-eval")) == {"a": 3}


@given(data=st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        unpack(data)
    except MessageError as error:
        assert "\n" not in str(error)


@given(value=PLAIN | MARKED)
def test_any_values_are_read_or_refused(value: Any) -> None:
    try:
        unpack(packed(value))
    except MessageError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_images_are_decoded(kind: str) -> None:
    pixels = np.full((6, 4, 3), 90, np.uint8)
    back = unpack(packed(image_of(pixels, kind)))
    assert back.shape == (6, 4, 3) and np.abs(back.astype(int) - 90).max() <= 2


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (
            {"__ndarray__": True, "dtype": "|O", "shape": [1], "data": b"12345678"},
            "which is not read",
        ),
        (
            {"__ndarray__": True, "dtype": "<c8", "shape": [1], "data": b"12345678"},
            "which is not read",
        ),
        ({"__ndarray__": True, "dtype": "<f4", "shape": [2], "data": b"1234"}, "expected 8"),
        ({"__ndarray__": True, "dtype": "<f4", "shape": [-1], "data": b"1234"}, "the shape"),
        ({"__ndarray__": True, "dtype": "<f4", "shape": [1] * 9, "data": b"1234"}, "the shape"),
        (
            {b"__ndarray__": True, b"dtype": "<f4", b"shape": [1], b"data": "1234"},
            "has str of data",
        ),
        ({"__image__": True, "format": "gif", "data": b"GIF89a"}, "choices: png, jpeg, raw"),
        ({"__image__": True, "format": "png", "data": b"no image"}, "cannot be decoded"),
        (msgpack.ExtType(5, b"x"), "extension of type 5"),
        (list(range(5000)), "no MessagePack that can be read"),
    ],
)
def test_what_is_no_sound_message_is_refused(value: Any, complaint: str) -> None:
    with pytest.raises(MessageError, match=complaint):
        unpack(packed(value))


def test_a_small_file_of_a_huge_image_is_refused() -> None:
    huge = image_of(np.zeros((3000, 3000), np.uint8), "png")
    assert len(huge["data"]) < 100_000
    with pytest.raises(MessageError, match="more than 1000000 bytes"):
        unpack(packed(huge), Limits(decoded_bytes=1_000_000))


def test_a_message_of_deep_lists_is_refused() -> None:
    with pytest.raises(MessageError):
        unpack(b"\x91" * 100_000 + b"\xc0")


@pytest.mark.parametrize("empty", [b"\x80", b"\x90"])
def test_many_values_in_few_bytes_are_refused(empty: bytes) -> None:
    thousand = b"\xdc\x03\xe8"  # the head of a list
    with pytest.raises(MessageError, match="more than 65536 values"):
        unpack(thousand + (thousand + empty * 1000) * 1000)


def test_a_message_that_is_too_long_is_refused() -> None:
    with pytest.raises(MessageError, match="at most 10"):
        unpack(packed("a" * 20), Limits(message_bytes=10))


def test_only_plain_values_and_arrays_are_sent() -> None:
    with pytest.raises(TypeError, match="cannot be sent"):
        pack({"a": object()}, "openpi")
