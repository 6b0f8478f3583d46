"""Conversion: what comes out holds what went in, kills cost nothing, and nothing half-made bears
the target's name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.formats import foreign
from data.synthetic import assert_equal, make_episode, write

from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.tools import convert as conversion
from manyparts.data.tools.convert import convert

EPISODES = [make_episode(seed, 4 + seed % 3) for seed in range(7)]
FORMATS = ("lerobot", "robomimic", "minari")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("source") / "set", EPISODES).path


def named(folder: Path, format: str) -> Path:
    return folder / ("set.hdf5" if format == "robomimic" else "set")


@pytest.mark.parametrize("format", FORMATS)
def test_conversion_round_trip_is_equal(format: Any, source: Path, tmp_path: Path) -> None:
    target = named(tmp_path, format)
    convert(source, target, format=format)
    converted, expected = EpisodeDataset.open(target), EpisodeDataset.open(source)
    assert (
        converted.spec == expected.spec
        and converted.tasks == expected.tasks
        and converted.environment == expected.environment
    )
    for index, wanted in enumerate(EPISODES):
        assert_equal(converted.episode(index), wanted)
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


@pytest.mark.parametrize("format", FORMATS)
def test_unknown_success_stays_unknown(format: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "unknown", EPISODES[:2], knows_success=False)
    target = named(tmp_path, format)
    convert(source, target, format=format)
    converted = EpisodeDataset.open(target)
    assert not source.knows_success and not converted.knows_success
    assert converted.reader.contents.succeeded is None
    assert np.array_equal(converted.episode(1).action, EPISODES[1].action)


@pytest.mark.parametrize("format", FORMATS)
def test_a_stopped_conversion_goes_on(
    format: Any, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, read = named(tmp_path, format), []
    episode = EpisodeDataset.episode

    def counted(dataset: EpisodeDataset, index: int) -> Any:
        read.append(index)
        if len(read) == 5:
            raise KeyboardInterrupt
        return episode(dataset, index)

    monkeypatch.setattr(EpisodeDataset, "episode", counted)
    with pytest.raises(KeyboardInterrupt):
        convert(source, target, format=format, seal_seconds=0)
    assert not target.exists()
    convert(source, target, format=format, seal_seconds=0)
    assert read == [0, 1, 2, 3, 4, 4, 5, 6]
    monkeypatch.undo()
    whole, converted = named(tmp_path / "whole", format), EpisodeDataset.open(target)
    convert(source, whole, format=format)
    expected = EpisodeDataset.open(whole)
    assert (
        converted.statistics == expected.statistics
        and converted.starts.tolist() == expected.starts.tolist()
    )
    for index in range(len(EPISODES)):
        assert_equal(converted.episode(index), expected.episode(index))


@pytest.mark.parametrize(
    "make", [lambda path: foreign.robomimic(path.with_suffix(".hdf5")), foreign.npz, foreign.rlds]
)
def test_foreign_datasets_become_our_format(make: Any, tmp_path: Path) -> None:
    source = EpisodeDataset.open(make(tmp_path / "source"))
    convert(source.path, tmp_path / "target")
    target = EpisodeDataset.open(tmp_path / "target")
    assert target.spec == source.spec and target.fps == source.fps
    for index in range(source.num_episodes):
        assert_equal(target.episode(index), source.episode(index))
    np.testing.assert_allclose(
        target.statistics["action"].mean, source.statistics["action"].mean, atol=1e-6
    )


def test_bad_input_leaves_nothing_behind(source: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_text("")
    for arguments, message in (
        ({"source": source, "target": tmp_path / "there"}, "exists; choose another target"),
        ({"source": tmp_path / "nowhere", "target": tmp_path / "new"}, "no dataset at"),
        ({"source": source, "target": tmp_path / "file" / "new"}, "cannot write .*file"),
    ):
        with pytest.raises(UserError, match=message):
            convert(**arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "there"]


@pytest.mark.parametrize("format", FORMATS)
def test_outdated_progress_starts_again(
    format: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = foreign.npz(tmp_path / "source"), named(tmp_path, format)
    read = EpisodeDataset.columns

    def otherwise(dataset: EpisodeDataset, index: int) -> dict[str, np.ndarray]:
        if index == 1:
            raise KeyboardInterrupt
        return {name: values + 1000 for name, values in read(dataset, index).items()}

    monkeypatch.setattr(EpisodeDataset, "columns", otherwise)
    with pytest.raises(KeyboardInterrupt):
        convert(source, target, format=format, seal_seconds=0)
    monkeypatch.undo()
    manifest = tmp_path / f".{target.name}.converting" / "manifest.json"
    progress = json.loads(manifest.read_text())
    del progress["reading"]  # as versions before it was counted
    manifest.write_text(json.dumps(progress))
    capsys.readouterr()
    with pytest.raises(
        UserError, match="was begun with other settings"
    ):  # which nobody asked for here
        convert(source, target, format=format, embodiment="another")
    convert(source, target, format=format, seal_seconds=0)
    printed = capsys.readouterr().err
    assert str(manifest.parent) in printed and "another version of manyparts began it" in printed
    for converted, wanted in zip(
        EpisodeDataset.open(target), EpisodeDataset.open(source), strict=True
    ):
        np.testing.assert_array_equal(converted.state, wanted.state)


def test_changed_source_is_not_mixed(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "_write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    other = write(tmp_path / "other", EPISODES[:2]).path
    (tmp_path / ".set.converting").mkdir()
    (tmp_path / ".set.converting" / "kept").write_text("")
    for path, wanted in ((source, KeyboardInterrupt), (other, UserError)):
        with pytest.raises(wanted):
            convert(path, tmp_path / "set")
