"""What an array of an HDF5 file with a row per step holds, and the rows of its images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from manyparts.data.formats.arrays import colour
from manyparts.data.formats.encoded_images import decode_images, decoded_image_info, encoding_of
from manyparts.data.formats.hdf5 import Hdf5File
from manyparts.data.formats.hdf5_nodes import Array, holds_bytes
from manyparts.data.formats.kinds import ArrayInfo


def row_info(file: Hdf5File, array: Array, length: int) -> ArrayInfo | str:
    """Shape and dtype per step of an array, or why it cannot be read.

    Args:
        file: the opened file.
        array: an array of it.
        length: the number of steps; the array may have one row more.
    """
    if array.external:
        return array.external
    if not array.shape:
        return "a single value"
    extra_rows = array.shape[0] - length
    if extra_rows not in (0, 1):
        return f"{array.shape[0]} rows for {length} actions"
    if holds_bytes(array) and encoding_of(content := file.blobs(array, slice(0, 1))[0]):
        info = decoded_image_info(content)
        return info if isinstance(info, str) else replace(info, extra_rows=extra_rows)
    return ArrayInfo(array.shape[1:], array.dtype, extra_rows)


def read_images(file: Hdf5File, array: Array, rows: np.ndarray) -> np.ndarray:
    """Read images, raw or encoded.

    Args:
        file: the opened file.
        array: an array of images of it.
        rows: (n,), ascending.

    Returns:
        uint8 (n, h, w, 3).

    Raises:
        UserError: naming the step with a torn image.
    """
    if holds_bytes(array):
        return decode_images(file.blobs(array, rows), rows, f"{file.path}: {array.name.strip('/')}")
    return colour(file.read(array, rows))
