"""Read meta/episodes of a LeRobotDataset v3.0: one row per episode."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa

from manyparts.core.errors import UserError
from manyparts.data.formats.errors import parquet_errors
from manyparts.data.formats.files import open_parquet
from manyparts.data.formats.lerobot import layout

STATISTICS = "stats/"


def episode_table(path: Path, *, statistics: Collection[str] | None = None) -> pa.Table:
    """Read all rows of meta/episodes.

    Args:
        path: the dataset's folder.
        statistics: the columns of statistics that are read; None: all of them.

    Returns:
        The rows in order of episode_index.

    Raises:
        UserError: naming the file that is missing or torn.
    """
    files = sorted((path / layout.EPISODES_FOLDER).glob("*/[!.]*.parquet"))
    if not files:
        raise UserError(f"{path / layout.EPISODES_FOLDER} holds no parquet file")
    tables = []
    for file in files:
        with parquet_errors(file):
            opened = open_parquet(file)
            names = opened.schema_arrow.names
            if statistics is not None:
                names = [
                    name for name in names if not name.startswith(STATISTICS) or name in statistics
                ]
            tables.append(opened.read(columns=names, use_threads=False))
    return pa.concat_tables(tables, promote_options="permissive").sort_by("episode_index")
