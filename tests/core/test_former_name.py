"""What was written while the project was called understudy reads, goes on and compares as before.

`former/understudy-0.1.tar.xz` holds what its last commit of that name wrote: a dataset in three
formats, runs, results, and a recording and a run that were killed.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from manyparts.cli import main
from manyparts.core.naming import FORMER_NAME, NAME, VERSION
from manyparts.core.storage.caches import cache_root
from manyparts.data.dataset import EpisodeDataset, append
from manyparts.data.tools.check import check
from manyparts.evaluation.results import Result, compare, provenance_mismatches
from manyparts.models.checkpoint import load_info, resolve

ARCHIVE = Path(__file__).parent / "former" / "understudy-0.1.tar.xz"
TINY = [
    "--model.width",
    "8",
    "--model.layers",
    "1",
    "--model.heads",
    "2",
    "--model.encoder.width",
    "8",
]
TINY += [
    "--model.prompt.text.width",
    "8",
    "--model.prompt.text.layers",
    "1",
    "--model.prompt.text.heads",
    "2",
]
TINY += ["--model.prompt.text.vocabulary", "64"]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("former")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def former(unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to work in, which is the current folder: its runs name each other by relative
    paths."""
    shutil.copytree(unpacked, tmp_path / "work", symlinks=True)
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def test_the_files_carry_the_former_name(former: Path) -> None:
    for file in (
        "data/meta/info.json",
        "minari/data/metadata.json",
        "phase2/evaluation/results.json",
    ):
        assert (
            f'"{FORMER_NAME}"' in Path(file).read_text() and NAME not in Path(file).read_text()
        ), file


@pytest.mark.parametrize("name", ["data", "minari", "robomimic.hdf5"])
def test_former_datasets_are_read(former: Path, name: str) -> None:
    dataset = EpisodeDataset.open(name)
    assert [task.name for task in dataset.tasks] == ["pointmass/reach"]
    assert dataset.spec.embodiment == "pointmass" and not dataset.spec.action.measured
    assert dataset.environment["image_size"] == 16
    np.testing.assert_allclose(
        dataset.episode(0).action, EpisodeDataset.open("data").episode(0).action, atol=1e-6
    )


def test_expert_actions_get_todays_column(former: Path) -> None:
    assert '"action.expert"' in Path("data/meta/info.json").read_text()
    info = load_info(resolve("phase2"))
    for columns in (
        EpisodeDataset.open("data").columns(0),
        info.embodiments[0].statistics.features,
    ):
        assert "expert_action" in columns and "action.expert" not in columns
    assert check("data") == []
    shipped = load_info(resolve("manyparts/metaworld45-small")).embodiments[0].statistics.features
    assert "expert_action" in shipped and "action.expert" not in shipped


def test_fingerprints_of_datasets_stay(former: Path) -> None:
    trained_on = load_info(resolve("phase2")).provenance["dataset_fingerprint"]
    assert EpisodeDataset.open("data").fingerprint == trained_on


def test_appending_writes_todays_name_only(former: Path) -> None:
    dataset = EpisodeDataset.open("data")
    with append(
        "data", dataset.spec, fps=dataset.fps, tasks=dataset.tasks, environment=dataset.environment
    ) as writer:
        writer.add(dataset.episode(0))
    info = json.loads(Path("data/meta/info.json").read_text())
    assert NAME in info and FORMER_NAME not in info
    assert EpisodeDataset.open("data").num_episodes == 3


def test_minari_datasets_get_todays_name(former: Path) -> None:
    assert main(["data", "convert", "minari", "again", "--format", "minari"]) == 0
    assert NAME in json.loads(Path("again/data/metadata.json").read_text())
    assert EpisodeDataset.open("again").spec == EpisodeDataset.open("minari").spec


def test_a_killed_recording_continues(former: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "collect",
        "pointmass/reach",
        "--episodes",
        "9",
        "--image-size",
        "16",
        "--workers",
        "1",
    ]
    assert main([*command, "--output", "begun"]) == 0
    assert EpisodeDataset.open("begun").num_episodes == 9


def test_a_killed_run_continues(former: Path) -> None:
    again = ["--data", "data", "--from", "phase1", "--output", "unfinished", "--steps", "120"]
    settings = [*again, "--checkpoint-every-steps", "40", *TINY]
    assert main(["train", "dualmind/phase2-debug", *settings, "--resume"]) == 0
    assert (Path("unfinished/checkpoints/last").resolve()).name == "000120"
    assert (
        FORMER_NAME in load_info(resolve("unfinished")).provenance["versions"]
    )  # of where it began
    assert (
        main(["train", "dualmind/phase2-debug", *settings[:5], "new", "--steps", "2", *TINY]) == 0
    )
    info = load_info(resolve("new"))
    assert (
        NAME in info.provenance["versions"]
        and FORMER_NAME in info.provenance["start_from"]["versions"]
    )


@pytest.mark.slow
def test_results_of_both_names_are_compared(former: Path) -> None:
    before = Result.load(Path("phase2/evaluation"))
    assert main(["evaluate", "phase2", "--episodes", "2", "--output", "again"]) == 0
    after = Result.load(Path("again"))
    assert FORMER_NAME in before.provenance["versions"] and NAME in after.provenance["versions"]
    mine = {
        key: value for key, value in before.provenance["versions"].items() if key != FORMER_NAME
    }
    if mine == {key: value for key, value in after.provenance["versions"].items() if key != NAME}:
        of_versions = [f"versions.{NAME}: 0.1.0, {VERSION}"]  # which a user reads
        assert provenance_mismatches(before.provenance, after.provenance) == of_versions
        # Another processor rounds in another way than the one that made the archive.
        for old, new in zip(before.episodes, after.episodes, strict=True):
            assert old.return_ == pytest.approx(new.return_, rel=1e-5)
            assert replace(old, return_=new.return_) == new
    other = after.provenance | {"versions": after.provenance["versions"] | {NAME: "9"}}
    assert any(
        text.startswith(f"versions.{NAME}")
        for text in provenance_mismatches(before.provenance, other)
    )
    assert compare(before, before).mismatches == ()


def test_old_reports_give_old_commands(former: Path) -> None:
    assert main(["report", "phase2"]) == 0
    page = Path("phase2/report.html").read_text()
    assert "still called understudy" in page and "understudy train dualmind/phase2-debug" in page
    assert "trained from Python" not in page and "pointmass/reach" in page


def test_shipped_agents_keep_their_former_name() -> None:
    assert resolve("understudy/metaworld45-small") == resolve("manyparts/metaworld45-small")


@pytest.mark.parametrize(
    ("variables", "folders", "expected"),
    [
        ({"MANYPARTS_CACHE": "new", "UNDERSTUDY_CACHE": "old"}, (), "new"),
        ({"UNDERSTUDY_CACHE": "old"}, (), "old"),
        ({}, (), "home/.cache/manyparts"),
        ({}, ("understudy",), "home/.cache/understudy"),
        ({}, ("understudy", "manyparts"), "home/.cache/manyparts"),
    ],
)
def test_the_former_cache_is_still_used(
    variables: dict[str, str],
    folders: tuple[str, ...],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("MANYPARTS_CACHE", "UNDERSTUDY_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    for folder in folders:
        (tmp_path / "home" / ".cache" / folder).mkdir(parents=True)
    assert cache_root() == tmp_path / expected
