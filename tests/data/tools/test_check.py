"""The doctor: each planted fault is found and mended, and a sound dataset has none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data.formats.lerobot_sets import feature, write_v3, write_v21
from data.synthetic import make_episode, make_spec, write

from manyparts.cli import run_command
from manyparts.core.errors import UserError
from manyparts.core.spec import ActionContract
from manyparts.data.dataset import DatasetWriter, EpisodeDataset
from manyparts.data.tools.bounds import require_learnable
from manyparts.data.tools.check import check, repair
from manyparts.envs.base import EnvConfig
from manyparts.rollout.collect import collect

DATA, INFO, STATS = "data/chunk-000/file-000.parquet", "meta/info.json", "meta/stats.json"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real dataset."""
    output = tmp_path_factory.mktemp("sound") / "data"
    collect(
        ["pointmass/reach-red", "pointmass/reach-blue"],
        episodes=8,
        output=output,
        config=EnvConfig(image_size=16),
    )
    return output


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "data"))


def change(folder: Path, column: str, put: Callable[[np.ndarray], Any], name: str = DATA) -> None:
    """Rewrite one column of a parquet file."""
    table = pq.read_table(folder / name)
    position = table.schema.get_field_index(column)
    values = table[column].combine_chunks()
    fixed = pa.types.is_fixed_size_list(values.type)
    flat = values.flatten().to_numpy() if fixed else values.to_numpy(zero_copy_only=False)
    array = np.array(flat.reshape(len(values), -1) if fixed else flat)
    changed = put(array)
    flat = pa.array(
        np.ravel(array if changed is None else changed),
        values.type.value_type if fixed else values.type,
    )
    column_values = pa.FixedSizeListArray.from_arrays(flat, type=values.type) if fixed else flat
    pq.write_table(
        table.set_column(position, table.schema.field(position), column_values), folder / name
    )


def put(array: np.ndarray, index: Any, value: Any) -> None:
    array[index] = value


def alter(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def stale_statistics(folder: Path) -> None:
    stats = json.loads((folder / STATS).read_text())
    stats["action"]["mean"] = [value + 1 for value in stats["action"]["mean"]]
    (folder / STATS).write_text(json.dumps(stats))


def shift_actions(folder: Path, by: int) -> None:
    dataset = EpisodeDataset.open(folder)

    def move(actions: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [np.roll(part, by, axis=0) for part in np.split(actions, dataset.starts[1:-1])]
        )

    change(folder, "action", move)


def tear_image(folder: Path) -> None:
    table = pq.read_table(folder / DATA)
    name = next(name for name in table.column_names if name.startswith("observation.images"))
    cells = table[name].to_pylist()
    cells[0]["bytes"] = cells[0]["bytes"][:40]
    position = table.schema.get_field_index(name)
    torn = table.set_column(
        position, table.schema.field(position), pa.array(cells, table.schema.field(position).type)
    )
    pq.write_table(torn, folder / DATA)


def empty_episode(folder: Path) -> None:
    table = pq.read_table(folder / EPISODES)
    rows = table.to_pydict()
    rows["length"][1] = 0
    pq.write_table(pa.Table.from_pydict(rows, table.schema), folder / EPISODES)


def change_feature(folder: Path, name: str, **changes: Any) -> None:
    info = json.loads((folder / INFO).read_text())
    info["features"][name] |= changes
    (folder / INFO).write_text(json.dumps(info))


FAULTS: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "fps": (
        lambda folder: alter(folder / INFO, fps=7),
        "timestamps",
        "timestamps are not frame_index / fps",
    ),
    "timestamp": (
        lambda f: change(f, "timestamp", lambda v: put(v, 9, 99)),
        "timestamps",
        "timestamps are not",
    ),
    "index": (
        lambda f: change(f, "index", lambda v: put(v, 9, 99)),
        "indices",
        "index does not count",
    ),
    "task": (lambda f: change(f, "task_index", lambda v: put(v, 9, 1)), "indices", "task_index"),
    "count": (lambda folder: alter(folder / INFO, total_frames=3), "metadata", "counts 3 frames"),
    "statistics": (stale_statistics, "statistics", "stored mean are not"),
    "bounds": (
        lambda f: change(f, "action", lambda v: put(v, (9, 0), 55)),
        "action bounds",
        "leaves",
    ),
    "nan": (
        lambda f: change(f, "observation.state", lambda v: put(v, (9, 0), np.nan)),
        "not a number",
        "state",
    ),
    "constant": (
        lambda f: change(f, "observation.state", lambda v: put(v, (slice(None), 0), 1)),
        "constants",
        "never",
    ),
    "picture": (tear_image, "images", "not a readable image"),
    "width": (lambda f: change_feature(f, "action", shape=[3]), "notes", "its first row has 2"),
    "dtype": (lambda f: change_feature(f, "next.reward", dtype="int64"), "schema", "says 1 int64"),
    "size": (
        lambda f: change_feature(f, "observation.images.top", shape=[9, 9, 3]),
        "notes",
        "first image is 16x16",
    ),
    "empty": (empty_episode, "episode", "no frames"),
    "late": (lambda folder: shift_actions(folder, 2), "alignment", "before the action of its row"),
    "early": (lambda folder: shift_actions(folder, -2), "alignment", "steps after the action"),
}


def test_a_sound_dataset_has_no_findings(sound: Path) -> None:
    assert check(sound, every_frame=True) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str, folder: Path) -> None:
    plant, name, words = FAULTS[fault]
    plant(folder)
    findings = [finding for finding in check(folder) if finding.check == name]
    assert findings and words in findings[0].what and findings[0].remedy, check(folder)


def test_duplicate_episode_is_left_out(sound: Path, tmp_path: Path) -> None:
    dataset = EpisodeDataset.open(sound)
    settings = {"fps": dataset.fps, "tasks": dataset.tasks, "environment": dataset.environment}
    with DatasetWriter(tmp_path / "twice", dataset.spec, **settings) as writer:
        for index in (0, 1, 0, 2, 0):
            writer.add(dataset.episode(index))
    (finding,) = check(tmp_path / "twice")
    assert (finding.check, finding.where, finding.severity) == (
        "duplicates",
        "episodes 2, 4",
        "warning",
    )
    assert repair(tmp_path / "twice", tmp_path / "mended") == ["2", "4"]
    assert check(tmp_path / "mended") == []


@pytest.mark.parametrize(
    "fault", ["timestamp", "index", "count", "statistics", "bounds", "nan", "picture"]
)
def test_repaired_copy_is_sound_source_untouched(fault: str, folder: Path, tmp_path: Path) -> None:
    FAULTS[fault][0](folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    left_out = repair(folder, tmp_path / "mended")
    assert left_out == (["0"] if fault in ("nan", "picture") else [])
    assert check(tmp_path / "mended", every_frame=True) == []
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_left_out_episode_excuses_statistics(tmp_path: Path) -> None:
    folder = write_v21(tmp_path / "set")
    (folder / "data/chunk-000/episode_000001.parquet").unlink()
    assert {finding.check for finding in check(folder)} == {"episode"}
    stored = folder / "meta/episodes_stats.jsonl"
    stored.write_text(stored.read_text().replace("203.5", "3.5"))  # less than rows that are there
    (finding,) = [finding for finding in check(folder) if finding.check == "statistics"]
    assert (finding.where, finding.what) == ("action", "stored max are not those of the rows")


def test_measured_bounds_clip_nothing(tmp_path: Path) -> None:
    wanted = {"expert_action": lambda episode, row: [900.0 + episode, -900.0 - row]}
    folder = write_v3(
        tmp_path / "set", features={"expert_action": feature("float32", 2)}, columns=wanted
    )
    dataset = EpisodeDataset.open(folder)
    assert (dataset.spec.action.low, dataset.spec.action.high) == ((0.5, -905.0), (902.0, 203.5))
    assert {finding.check for finding in check(folder)} <= {"notes"}
    assert repair(folder, tmp_path / "copy") == []
    for copied, original in zip(EpisodeDataset.open(tmp_path / "copy"), dataset, strict=True):
        np.testing.assert_array_equal(copied.expert_action, original.expert_action)
    assert EpisodeDataset.open(tmp_path / "copy").spec.action == dataset.spec.action
    assert check(tmp_path / "copy") == []


def test_exceeded_measured_bounds_are_measured_again(tmp_path: Path) -> None:
    narrow = replace(make_spec().action, low=(-0.1, -0.1), high=(0.1, 0.1), measured=True)
    write(
        tmp_path / "set",
        [make_episode(number, 12) for number in range(3)],
        replace(make_spec(), action=narrow),
    )
    findings = [finding for finding in check(tmp_path / "set") if finding.check == "action bounds"]
    assert {(each.severity, each.what.split()[0]) for each in findings} == {
        ("error", "action"),
        ("warning", "expert_action"),
    }
    assert repair(tmp_path / "set", tmp_path / "copy") == []
    copy = EpisodeDataset.open(tmp_path / "copy")
    assert copy.spec.action.high[0] > 0.9 and check(tmp_path / "copy") == []
    np.testing.assert_array_equal(copy[0].action, EpisodeDataset.open(tmp_path / "set")[0].action)


@pytest.mark.parametrize("value", [3.0, -1.0, 0.5])
def test_unknown_choice_left_out_in_formats(value: float, tmp_path: Path) -> None:
    contract = ActionContract.discrete(("left", "right", "wait"), frame="body", control_rate_hz=10)
    spec = replace(make_spec(), action=contract)
    episodes = [make_episode(number, 6, spec) for number in range(3)]
    episodes = [
        replace(each, action=np.ones((6, 1), np.float32), expert_action=np.zeros((6, 1)))
        for each in episodes
    ]
    episodes[1].action[4] = value
    folder = write(tmp_path / "set", episodes, spec).path
    (finding,) = [finding for finding in check(folder) if finding.severity == "error"]
    assert finding.what == f"action is {value:g} in row 4, which is none of the choices 0 to 2"
    with pytest.raises(UserError, match="which is none of the choices 0 to 2"):
        require_learnable(EpisodeDataset.open(folder), dynamics=False)
    assert repair(folder, tmp_path / "copy") == ["1"]


def test_existing_output_is_refused_first(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(
        "manyparts.data.tools.check.check", lambda *_, **__: pytest.fail("it looked")
    )
    (tmp_path / "file").write_text("")
    for output, words in (
        (folder, "exists; choose another"),
        (tmp_path / "file" / "copy", "cannot write"),
    ):
        with pytest.raises(UserError, match=words):
            run_command(["data", "check", str(folder), "--fix", str(output)])


def test_json_findings_with_fix_stay_json(folder: Path, tmp_path: Path, capsys: Any) -> None:
    assert (
        run_command(["data", "check", str(folder), "--json", "--fix", str(tmp_path / "copy")]) == 0
    )
    assert json.loads(capsys.readouterr().out) == [] and (tmp_path / "copy").is_dir()


def test_a_torn_file_and_no_dataset(folder: Path, tmp_path: Path) -> None:
    (folder / DATA).write_bytes((folder / DATA).read_bytes()[:-100])
    (finding,) = check(folder)
    assert finding.check == "open" and finding.severity == "error" and DATA in finding.what
    with pytest.raises(UserError, match="no dataset at"):
        check(tmp_path / "nowhere")
    with pytest.raises(UserError, match="cannot be repaired"):
        repair(folder, tmp_path / "mended")
