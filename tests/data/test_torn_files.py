"""Datasets that are torn, incomplete or of another version give one line that names the file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data.synthetic import make_episode, write

from manyparts.core.errors import DatasetWarning, UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.frames import FrameCache

INFO, DATA = "meta/info.json", "data/chunk-000/file-000.parquet"
META = [INFO, "meta/stats.json", "meta/tasks.parquet", "meta/episodes/chunk-000/file-000.parquet"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(
        tmp_path_factory.mktemp("whole") / "set", [make_episode(seed, 6) for seed in range(3)]
    ).path


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "set"))


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        EpisodeDataset.open(folder)
    message = str(caught.value)
    assert "\n" not in message and str(folder) in message
    return message


@pytest.mark.parametrize("name", [INFO, META[3], DATA])
@pytest.mark.parametrize("fraction", [0, 0.5, 0.99])
def test_a_truncated_file_is_named(folder: Path, name: str, fraction: float) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(len(content) * fraction)])
    assert name in refusal(folder)


@pytest.mark.parametrize("name", [INFO, META[3], DATA])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert name.rsplit("/", 2)[0] in refusal(folder)


@pytest.mark.parametrize("content", [None, b"", b'{"action'])
def test_statistics_that_are_lost_are_computed(
    folder: Path, whole: Path, content: bytes | None
) -> None:
    (folder / "meta/stats.json").unlink()
    if content is not None:
        (folder / "meta/stats.json").write_bytes(content)
    with pytest.warns(
        DatasetWarning, match=r"meta/stats.json is (torn|missing); the statistics were computed"
    ):
        statistics = EpisodeDataset.open(folder).statistics["action"]
    np.testing.assert_allclose(
        statistics.mean, EpisodeDataset.open(whole).statistics["action"].mean, rtol=1e-6
    )


def test_no_dataset_at_all(tmp_path: Path) -> None:
    assert "no dataset at" in refusal(tmp_path / "nowhere")
    assert INFO in refusal(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("codebase_version", "v1.6", "v1.6; can be read: v2.0, v2.1, v3.0"),
        ("total_episodes", 4, "counts 4 episodes"),
        ("total_frames", 17, "counts 17 frames"),
    ],
)
def test_information_that_disagrees(folder: Path, key: str, value: object, message: str) -> None:
    info = json.loads((folder / INFO).read_text())
    (folder / INFO).write_text(json.dumps(info | {key: value}))
    assert message in refusal(folder)


@pytest.mark.parametrize("key", ["fps", "features", "total_frames", "data_path"])
def test_information_that_is_missing(folder: Path, key: str) -> None:
    info = json.loads((folder / INFO).read_text())
    del info[key]
    (folder / INFO).write_text(json.dumps(info))
    assert key in refusal(folder)


def test_episode_with_missing_rows_left_out(folder: Path) -> None:
    table = pq.read_table(folder / DATA)
    pq.write_table(table.slice(0, 17), folder / DATA)
    with pytest.warns(
        DatasetWarning, match=r"left out episodes 2 \(it has 5 rows; meta/episodes counts 6\)"
    ):
        assert EpisodeDataset.open(folder).num_episodes == 2


def test_torn_image_leaves_no_cache(folder: Path, tmp_path: Path) -> None:
    table = pq.read_table(folder / DATA)
    images = table["observation.images.front"].to_pylist()
    images[8]["bytes"] = images[8]["bytes"][:60]
    column_index = table.schema.get_field_index("observation.images.front")
    torn = table.set_column(
        column_index,
        table.schema.field(column_index),
        pa.array(images, table.schema.field(column_index).type),
    )
    pq.write_table(torn, folder / DATA)
    dataset = EpisodeDataset.open(folder)
    dataset.episode(0)
    with pytest.raises(
        UserError, match=r"file-000.parquet: episode 1, frame 2, observation.images.front"
    ) as caught:
        dataset.episode(1)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="episode 1, frame 2"):
        FrameCache.open(dataset, tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_corrupt_bytes_inside_file_are_named(folder: Path) -> None:
    content = bytearray((folder / DATA).read_bytes())
    content[200:3000] = bytes(2800)
    (folder / DATA).write_bytes(content)
    dataset = EpisodeDataset.open(folder)
    with pytest.raises(UserError, match=r"file-000.parquet"):
        dataset.episode(0)
