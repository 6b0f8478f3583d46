"""Frames of videos are those of their rows, and depth that was filmed is no camera."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from data.formats.lerobot_sets import (
    CAMERA,
    DATA,
    INFO,
    LENGTHS,
    SIZE,
    VIDEO,
    assert_own_rows,
    change_json,
    change_table,
    feature,
    film,
    image,
    rows_of,
    write_filmed,
    write_v3,
    write_v21,
)

from manyparts.core.errors import DatasetWarning, UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools.check import check, repair

ROWS, LONG = rows_of(LENGTHS), (60, 50, 40)
TICKS = [number / 10 for number in range(15)]


CLOSED_GROUPS = {"g": "12", "bf": "3", "b-adapt": "0"}


OPEN_GROUPS = {"x265-params": "log-level=none:bframes=4:keyint=12:open-gop=1:scenecut=0"}


RIGHT: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "plain": (LENGTHS, {}),
    "frames predicted from later ones": (LENGTHS, {"options": CLOSED_GROUPS}),
    "groups that lean on each other": ((8, 8, 8), {"codec": "libx265", "options": OPEN_GROUPS}),
    "an encoder's delay": (LENGTHS, {"seconds": [tick + 0.2 for tick in TICKS]}),
    "a delay that metadata knows": (
        LENGTHS,
        {"seconds": [t + 0.2 for t in TICKS], "begins": [0.2, 0.8, 1.3]},
    ),
    "2 % more time": (LENGTHS, {"seconds": [tick * 1.02 for tick in TICKS]}),
    "another order": (
        LENGTHS,
        {"shown": [*ROWS[6:11], *ROWS[:6], *ROWS[11:]], "begins": [0.5, 0, 1.1]},
    ),
    "twice the rate": (
        LENGTHS,
        {
            "shown": [which for which in ROWS for _ in range(2)],
            "seconds": [n / 20 for n in range(30)],
            "begins": [0, 0.6, 1.1],
        },
    ),
    "an episode cut out in front": (
        LENGTHS,
        {
            "shown": [*ROWS[6:11], *ROWS],
            "begins": [0.5, 1.1, 1.6],
            "seconds": [n / 10 for n in range(20)],
        },
    ),
    "full range": (LENGTHS, {"pixels": "yuvj420p"}),
    "every colour": (LENGTHS, {"pixels": "yuv444p"}),
    "grey": (LENGTHS, {"codec": "libx265", "pixels": "gray"}),
    "red, green, blue": (LENGTHS, {"codec": "libx265", "pixels": "gbrp"}),
}


@pytest.mark.parametrize("case", RIGHT)
def test_frames_are_those_of_their_rows(case: str, tmp_path: Path) -> None:
    lengths, options = RIGHT[case]
    assert_own_rows(
        EpisodeDataset.open(write_filmed(tmp_path / "set", lengths, **options)), range(3), lengths
    )


APART = "more than half a frame apart"


WRONG: dict[str, tuple[tuple[int, ...], dict[str, Any], str]] = {
    "twice the rate": (LENGTHS, {"seconds": [tick / 2 for tick in TICKS]}, APART),
    "2 % more time, for long": (LONG, {"seconds": [n * 0.102 for n in range(150)]}, APART),
    "a delay and a frame too many": (
        LENGTHS,
        {"shown": [*ROWS, (2, 4)], "seconds": [0.2 + n / 10 for n in range(16)]},
        APART,
    ),
    "the first frames lost": (
        LENGTHS,
        {"shown": [*ROWS[3:], *[(2, 4)] * 3], "seconds": [0.3 + tick for tick in TICKS]},
        APART,
    ),
    "a frame lost": (LENGTHS, {"shown": ROWS[:7] + ROWS[8:]}, "14 frames for 15 rows"),
    "a pause": (LENGTHS, {"seconds": [t + 0.2 * (t > 0.55) for t in TICKS]}, APART),
}


@pytest.mark.parametrize("case", WRONG)
def test_frames_at_other_times_are_refused(case: str, tmp_path: Path) -> None:
    lengths, options, words = WRONG[case]
    dataset = EpisodeDataset.open(write_filmed(tmp_path / "set", lengths, **options))
    with pytest.raises(UserError, match=rf"file-000.mp4: episode 2: .*{words}"):
        dataset.frames(2, "top")
    assert {finding.check for finding in check(dataset.path) if finding.severity == "error"} == {
        "images"
    }


def test_episodes_sharing_frames_are_left_out(tmp_path: Path) -> None:
    folder = write_filmed(tmp_path / "set", begins=[0, 0.3, 1.1])
    with pytest.warns(DatasetWarning, match="its frames of top are those of another episode too"):
        dataset = EpisodeDataset.open(folder)
    assert_own_rows(dataset, [2])
    assert repair(folder, tmp_path / "copy") == ["0", "1"]


def test_row_times_skip_frames_before_first(tmp_path: Path) -> None:
    """Two frames more than rows, in front: the rows' timestamps begin at 0.2 s."""
    shown = [(2, 4), (2, 4), *ROWS[:6]]
    folder = write_filmed(tmp_path / "set", (6,), shown=shown, seconds=TICKS[:8])
    change_table(
        folder / DATA.format(0),
        lambda columns: {**columns, "timestamp": [0.2 + n / 10 for n in range(6)]},
    )
    assert_own_rows(EpisodeDataset.open(folder), [0], (6,))


def test_renumbered_v2_files_are_left_out(tmp_path: Path) -> None:
    """Version 2.1: an episode was deleted, files and films renumbered, but not the rows."""
    folder = write_v21(tmp_path / "set", (5, 5, 5))
    info = json.loads((folder / INFO).read_text())
    change_json(
        folder / INFO, features={**info["features"], CAMERA: feature("video", SIZE, SIZE, 3)}
    )
    for episode in range(3):
        film(
            folder / f"videos/chunk-000/{CAMERA}/episode_{episode:06d}.mp4",
            [image(episode, 0)] * 5,
            TICKS[:5],
        )
        rows = folder / f"data/chunk-000/episode_{episode:06d}.parquet"
        number = {0: 1, 1: 0, 2: 2}[episode]
        change_table(
            rows, lambda columns, number=number: {**columns, "episode_index": [number] * 5}
        )
    with pytest.warns(
        DatasetWarning,
        match=r"0 \(its rows are in the file of another episode, episode_000001.parquet",
    ):
        assert EpisodeDataset.open(folder).num_episodes == 1
    assert repair(folder, tmp_path / "copy") == ["0", "1"]


def test_episode_without_video_is_left_out(tmp_path: Path) -> None:
    folder = write_filmed(tmp_path / "set")
    file = f"videos/{CAMERA}/file_index"
    change_table(
        folder / "meta/episodes/chunk-000/file-000.parquet",
        lambda columns: {**columns, file: [0, None, 0]},
    )
    with pytest.warns(DatasetWarning, match=r"1 \(it has no video of top\)"):
        assert EpisodeDataset.open(folder).num_episodes == 2
    change_json(folder / INFO, total_episodes=3)
    (folder / VIDEO).unlink()
    with pytest.raises(UserError, match=r"file-000.mp4 is missing"):
        EpisodeDataset.open(folder)


def test_ten_bit_colour_becomes_eight_bit(tmp_path: Path) -> None:
    folder = write_filmed(tmp_path / "set", pixels="yuv420p10le", codec="libx265")
    with pytest.warns(DatasetWarning, match="its 10 bits are read as 8"):
        assert_own_rows(EpisodeDataset.open(folder), range(3))


def test_mixed_pixel_formats_refused_when_read(tmp_path: Path) -> None:
    """Depth as 10-bit "colour" in the second file of a set that was merged."""
    second = VIDEO.replace("file-000", "file-001")
    folder = write_filmed(tmp_path / "set", (6, 5), shown=ROWS[:6], begins=[0, 0])
    film(folder / second, [image(1, row) for row in range(5)], TICKS[:5], "yuv420p10le", "libx265")
    files = {f"videos/{CAMERA}/file_index": [0, 1]}
    change_table(
        folder / "meta/episodes/chunk-000/file-000.parquet", lambda columns: {**columns, **files}
    )
    dataset = EpisodeDataset.open(folder)
    assert dataset.frames(0, "top").shape[0] == 6
    with pytest.raises(
        UserError,
        match=r"file-001.mp4: episode 1: the video is yuv420p10le with 10 bits, the first",
    ):
        dataset.frames(1, "top")
    assert repair(folder, tmp_path / "copy") == ["1"]


DEPTH_FILMS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "flag": ({}, {"info": {"is_depth_map": True}}, "a depth map"),
    "older flag": ({}, {"info": {"video.is_depth_map": True}}, "a depth map"),
    "oldest flag": ({}, {"video_info": {"video.is_depth_map": "true"}}, "a depth map"),
    "10-bit grey": ({"pixels": "gray10le", "codec": "libx265"}, {}, "10-bit video"),
    "12-bit grey": ({"pixels": "gray12le", "codec": "libx265"}, {}, "12-bit video"),
    "12-bit colour": ({"pixels": "yuv420p12le", "codec": "libx265"}, {}, "12-bit video"),
    "16-bit grey": ({"pixels": "gray16le", "codec": "ffv1"}, {}, "16-bit video"),
    "16-bit colour": ({"pixels": "gbrp16le", "codec": "ffv1"}, {}, "16-bit video"),
    "one channel of 10 bits": (
        {"pixels": "yuv420p10le", "codec": "libx265"},
        {"shape": [SIZE, SIZE, 1]},
        "10-bit video",
    ),
}


@pytest.mark.parametrize("case", DEPTH_FILMS)
def test_filmed_depth_is_no_camera(case: str, tmp_path: Path) -> None:
    options, described, words = DEPTH_FILMS[case]
    folder = write_filmed(tmp_path / "set", **options, **described)
    with pytest.warns(DatasetWarning, match=f"left out {CAMERA} .*{words}"):
        dataset = EpisodeDataset.open(folder)
    assert dataset.spec.cameras == {} and list(dataset.summary()["left_out"]) == [CAMERA]
    assert_own_rows(dataset, range(3))
    assert check(folder) == []


@pytest.mark.parametrize("info", [{"video_path": None}, {}])
def test_video_without_file_index_left_out(info: dict[str, Any], tmp_path: Path) -> None:
    described = {CAMERA: feature("video", SIZE, SIZE, 3)}
    folder = write_v3(tmp_path / "set", features=described, info=info)
    with pytest.warns(
        DatasetWarning, match=f"left out {CAMERA} .meta/ does not say in which files"
    ):
        assert_own_rows(EpisodeDataset.open(folder), range(3))


@pytest.mark.parametrize("name", ["run:1", b"caf\xe9".decode(errors="surrogateescape"), "#1?%20 é"])
def test_folders_of_any_name_are_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_filmed(Path("set")).rename(name)
    assert_own_rows(EpisodeDataset.open(name), range(3))
    assert check(name) == []


def test_v2_files_may_have_any_name(tmp_path: Path) -> None:
    folder = write_v21(tmp_path / "set", (5, 5))
    path = "data/chunk-{episode_chunk:03d}/{episode_index:06d}_rows.parquet"
    info = json.loads((folder / INFO).read_text())
    change_json(
        folder / INFO,
        features={**info["features"], CAMERA: feature("video", SIZE, SIZE, 3)},
        data_path=path,
    )
    for episode in range(2):
        old = folder / f"data/chunk-000/episode_{episode:06d}.parquet"
        old.rename(old.with_name(f"{episode:06d}_rows.parquet"))
        shown = [image(episode, row) for row in range(5)]
        film(folder / f"videos/chunk-000/{CAMERA}/episode_{episode:06d}.mp4", shown, TICKS[:5])
    assert_own_rows(EpisodeDataset.open(folder), range(2), (5, 5))
