"""Reads or edits mutated copies of a small dataset in a process with bounded memory; anything but
a UserError ends it.

python fuzzing.py FORMAT CASES SEED FOLDER
"""

from __future__ import annotations

import faulthandler
import random
import resource
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from data.formats import bag_sets, foreign, lerobot_texts, zarr_sets
from data.formats.aloha_files import aloha
from data.formats.end_to_end_files import d4rl, ogbench
from data.formats.libero_files import libero
from data.synthetic import make_episode, write
from data.tools.editing.sets import rich

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools.editing.commands import Destination, delete, relabel

MEMORY_BYTES, SECONDS = 8 * 2**30, 60


def folder_at(path: Path) -> Path:
    path.mkdir()
    return path


WRITERS: dict[str, Callable[[Path], Path]] = {
    "robomimic": lambda path: foreign.robomimic(path.with_suffix(".hdf5")),
    "npz": foreign.npz,
    "aloha": lambda path: aloha(path, jpeg="bgr", lengths=(3, 2), mobile=True),
    "libero": libero,
    "d4rl": lambda path: d4rl(path.with_suffix(".hdf5")),
    "ogbench": lambda path: ogbench(path, "visual"),
    "ogbench-numbers": lambda path: ogbench(path, "compact"),
    "minari": lambda path: foreign.minari(path, jpeg=True),
    "minari-arrow": lambda path: foreign.minari_arrow(path, "arrow"),
    "minari-parquet": lambda path: foreign.minari_arrow(path, "parquet", jpeg=True),
    "rlds": foreign.rlds,
    "lerobot-2.0": lambda path: foreign.lerobot_v2(path, "v2.0"),
    "lerobot-2.1": lambda path: foreign.lerobot_v2(path, "v2.1"),
    "lerobot-3.0": lambda path: write(path, [make_episode(seed, 4) for seed in range(2)]).path,
    "lerobot-texts": lerobot_texts.write_all_forms,
    "zarr": lambda path: zarr_sets.write_pusht(path / "pusht.zarr"),
    "zarr-3": lambda path: zarr_sets.write_pusht(path / "p.zarr", version=3, codec={"id": "zstd"}),
    "umi": lambda path: zarr_sets.write_umi(folder_at(path) / "dataset.zarr.zip"),
    "zarr-video": lambda path: zarr_sets.write_real(path),
    "bag-sqlite3": lambda path: bag_sets.write_recording(path, "sqlite3", episodes=1),
    "bag-mcap": lambda path: bag_sets.write_recording(path, "file", episodes=1),
    "lerobot-video": lambda path: (
        write(path, [make_episode(seed, 4) for seed in range(2)], images="video").path
    ),
    "editing": lambda path: (
        write(path, [make_episode(seed, 4) for seed in range(3)], images="video").path
    ),
    "editing-foreign": rich,
}


def mutate(content: bytes, generator: random.Random) -> bytes:
    """Some flipped bits, other bytes, parts cut out, doubled or blank, a torn end, digits
    changed."""
    data = bytearray(content)
    for _ in range(generator.choice((1, 1, 2, 4, 16))):
        if not data:
            break
        position = generator.randrange(len(data))
        size = min(generator.choice((1, 2, 4, 8, 64)), len(data) - position)
        kind = generator.randrange(7)
        if kind == 0:
            data[position] ^= 1 << generator.randrange(8)
        elif kind == 1:
            data[position : position + size] = generator.randbytes(size)
        elif kind == 2:
            del data[position : position + size]
        elif kind == 3:
            data[position:position] = data[position : position + size]
        elif kind == 4:
            data[position : position + size] = bytes([generator.choice((0, 255))]) * size
        elif kind == 5:
            del data[position:]
        else:
            digits = [index for index, octet in enumerate(data) if 48 <= octet <= 57]
            if digits:
                data[generator.choice(digits)] = generator.choice(b"0123456789-e.")
    return bytes(data)


def edit(path: Path) -> None:
    """Without its first episode, and with another instruction."""
    output = path.with_name("whole-edited")
    try:
        delete(path, Destination(output), episodes=["0"])
        read_all(output)
        shutil.rmtree(output)
        relabel(path, Destination(output), texts="wave")
    finally:
        shutil.rmtree(output, ignore_errors=True)


def convert_rows(path: Path) -> None:
    """Under a mapping."""
    read_episodes(bag_sets.opened(path))


def read_all(path: Path) -> None:
    read_episodes(EpisodeDataset.open(path))


def read_episodes(dataset: EpisodeDataset) -> None:
    for index in range(min(dataset.num_episodes, 8)):
        dataset.episode(index)
        for column in dataset.reader.contents.text_columns:
            dataset.texts(index, column)


ACTS = dict.fromkeys(("editing", "editing-foreign"), edit)
ACTS |= dict.fromkeys(("bag-sqlite3", "bag-mcap"), convert_rows)


def main() -> None:
    name, cases, seed, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    act = ACTS.get(name, read_all)
    whole = WRITERS[name](folder / "whole")
    act(whole)
    files = (
        [whole] if whole.is_file() else sorted(file for file in whole.rglob("*") if file.is_file())
    )
    originals = {file: file.read_bytes() for file in files}
    refused = read = 0
    slowest = 0.0
    for case in range(cases):
        generator = random.Random(f"{seed} {case}")
        file = generator.choice(files)
        file.write_bytes(mutate(originals[file], generator))
        shutil.copy(file, folder / "last-case")
        (folder / "last-case.txt").write_text(
            f"{name}, seed {seed}, case {case}: {file.relative_to(folder)}"
        )
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        began = time.monotonic()
        try:
            act(whole)
            read += 1
        except UserError as error:
            assert "\n" not in str(error), error
            refused += 1
        faulthandler.cancel_dump_traceback_later()
        slowest = max(slowest, time.monotonic() - began)
        file.write_bytes(originals[file])
    outside = [
        path
        for path in folder.iterdir()
        if path.name not in ("last-case", "last-case.txt") and path != whole
    ]
    assert not [path for path in outside if not str(whole).startswith(str(path))], outside
    print(f"{name}: {refused} refused, {read} read, slowest {slowest:.2f} s")


if __name__ == "__main__":
    main()
