"""Parts of arrays in .npz files are those that numpy reads, in any order and by several threads."""

from __future__ import annotations

import pickle
import random
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from manyparts.core.errors import UserError
from manyparts.data.formats import npz_members
from manyparts.data.formats.npz_members import NpzMember
from manyparts.data.formats.row_arrays import BufferedRows, NpzRows

ROWS = 5000


@pytest.fixture(params=["deflated", "stored"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    arrays = {
        "noise": generator.integers(0, 255, (ROWS, 8, 5), dtype=np.uint8),
        "numbers": np.repeat(generator.normal(size=(ROWS // 10, 3)), 10, axis=0),
        "flags": np.arange(ROWS) % 7 == 0,
    }
    write = np.savez_compressed if request.param == "deflated" else np.savez
    write(tmp_path / "set.npz", **arrays)  # pyright: ignore
    return tmp_path / "set.npz"


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes at which even these small files have many pieces and kept states."""
    monkeypatch.setattr(npz_members, "_MIN_BETWEEN_BYTES", 1000)
    monkeypatch.setattr(npz_members, "_PIECE_BYTES", 700)
    monkeypatch.setattr(npz_members, "_BLOCK_BYTES", 300)


def ranges(count: int) -> list[tuple[int, int]]:
    generator = random.Random(0)
    pairs = [sorted(generator.choices(range(ROWS + 1), k=2)) for _ in range(count)]
    return [(0, ROWS), (0, 0), (ROWS, ROWS), *((start, stop) for start, stop in pairs)]


def require_equal(rows: NpzRows | BufferedRows, file: Path, count: int) -> None:
    with np.load(file) as whole:
        arrays = {name: whole[name] for name in whole.files}
    for start, stop in ranges(count):
        for name, values in arrays.items():
            read = rows.read(name, start, stop)
            assert read.dtype == values.dtype
            np.testing.assert_array_equal(read, values[start:stop])


def test_any_rows_are_those_of_numpy(file: Path) -> None:
    rows = NpzRows(file)
    require_equal(rows, file, 60)
    require_equal(pickle.loads(pickle.dumps(rows)), file, 5)
    for name in rows.infos:
        rows.verify(name)


def test_buffered_rows_are_those_of_numpy(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manyparts.data.formats.row_arrays._BLOCK_ROWS", 64)
    require_equal(BufferedRows(NpzRows(file)), file, 60)
    monkeypatch.setattr("manyparts.data.formats.row_arrays._BLOCK_BYTES", 64 * 30)
    require_equal(BufferedRows(NpzRows(file)), file, 10)


def test_threads_read_what_they_ask_for(file: Path) -> None:
    rows = NpzRows(file)
    with np.load(file) as whole:
        noise = whole["noise"]
    with ThreadPoolExecutor(4) as threads:
        jobs = {
            (start, stop): threads.submit(rows.read, "noise", start, stop)
            for start, stop in ranges(40)
        }
        for (start, stop), job in jobs.items():
            np.testing.assert_array_equal(job.result(), noise[start:stop])


def test_arrays_larger_than_memory_have_few_states(tmp_path: Path) -> None:
    member = zipfile.ZipInfo("a.npy")
    member.file_size = 2**40
    assert NpzMember(tmp_path / "a.npz", member)._between == 2**30


def spoilt(file: Path, change) -> NpzRows:
    rows = NpzRows(file)
    content = bytearray(file.read_bytes())
    change(content)
    file.write_bytes(content)
    return rows


def test_changed_bytes_fail_the_checksum(file: Path) -> None:
    def change(content: bytearray) -> None:
        content[20_000] ^= 1

    rows = spoilt(file, change)
    with pytest.raises(UserError, match=r"set.npz cannot be read as .npz"):
        rows.verify("noise")


def test_torn_member_ends_in_an_error(file: Path) -> None:
    def cut(content: bytearray) -> None:
        del content[30_000:]

    rows = spoilt(file, cut)
    rows.read("noise", 0, 100)
    with pytest.raises(UserError, match=r"noise.npy ends early"):
        rows.read("noise", 0, ROWS)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused(method: int, tmp_path: Path) -> None:
    np.savez(tmp_path / "plain.npz", a=np.arange(9))
    with (
        zipfile.ZipFile(tmp_path / "plain.npz") as plain,
        zipfile.ZipFile(tmp_path / "set.npz", "w", method) as archive,
    ):
        archive.writestr("a.npy", plain.read("a.npy"))
    with pytest.raises(UserError, match=r"a.npy is compressed by another method than deflate"):
        NpzRows(tmp_path / "set.npz").read("a", 0, 2)
