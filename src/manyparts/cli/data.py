"""`manyparts data`: look at a dataset, check it, convert it, edit it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from manyparts.cli import data_editing
from manyparts.cli.parsing import parse
from manyparts.cli.views import views_of
from manyparts.core.errors import UserError, closest
from manyparts.core.printing import say
from manyparts.embodiment.views.view import View

if TYPE_CHECKING:
    from manyparts.data.tools.check import Finding

ACTIONS = {
    "info": "what is in a dataset: tasks, episodes, frames, embodiment, fingerprint",
    "check": "find what is wrong with a dataset, and write a repaired copy",
    "convert": "write a dataset in another format",
    "merge": "write several datasets as one",
    "split": "write parts of a dataset, each as a dataset of its own",
    "delete": "write a dataset without some episodes, or take them out of it",
    "relabel": "give episodes or tasks other instructions",
    "export": "write the replay of a run that learned by acting as a dataset",
    "view": "write a page with its episodes, actions and states, for a browser",
}


DatasetPath = Positional[Annotated[str, arg(metavar="PATH")]]


@dataclass(frozen=True)
class InfoOptions:
    """Print what is in a dataset: tasks, episodes, frames, embodiment, statistics, fingerprint."""

    path: DatasetPath
    """The dataset's folder or file, hf://owner/name@revision, or a URL such as s3://bucket/set."""

    quality: bool = False
    """Measure how good each demonstration is to learn from. divergence: how differently other
    demonstrations act in the same states (1 is chance). diversity: how new its transitions are.
    idle: fraction of steps in which nothing moves. extraneous: fraction of steps that lead back to
    an earlier state. `manyparts train --curation.drop 0.1` leaves the worst out."""

    view_file: Annotated[Path | None, arg(name="view", metavar="FILE")] = None
    """A JSON file that says what a model sees of the data, with the fields of the flags
    --view.*."""

    view: View = field(default_factory=View)
    """What a model sees of the data."""

    json: bool = False
    """Print the summary as JSON."""


@dataclass(frozen=True)
class ConvertOptions:
    """Write a dataset in another format.

    Sources may be LeRobotDataset 2.0, 2.1 and 3.0, HDF5 of robomimic, LIBERO, ALOHA and D4RL,
    Minari, RLDS, OGBench's .npz, replay buffers in zarr, folders of .npz files, and with a mapping
    ROS recordings. If the command is killed, call it again: it continues where it stopped. The
    target appears when it is complete.
    """

    source: Positional[Annotated[str, arg(metavar="SOURCE")]]
    """A dataset's folder or file, hf://owner/name@revision, or a URL such as s3://bucket/set."""

    target: Positional[Annotated[Path, arg(metavar="TARGET")]]
    """What is written, which must not exist: a folder, or for robomimic an .hdf5 file."""

    format: Literal["lerobot", "robomimic", "minari"] = "lerobot"
    """Format of the target. lerobot: LeRobotDataset v3.0. robomimic: one HDF5 file. minari: HDF5
    storage with uncompressed images."""

    images: Literal["png", "video"] = "png"
    """How lerobot stores images. png: without loss. video: as small AV1 files, with some loss."""

    embodiment: str | None = None
    """The robot's name to write; if left out, the source's own. A folder of .npz files has none."""

    view_file: Annotated[Path | None, arg(name="view", metavar="FILE")] = None
    """A JSON file that says what to keep of the data, with the fields of the flags --view.*."""

    view: View = field(default_factory=View)
    """What to keep of the data."""

    actions: Literal["executed", "expert"] = "executed"
    """What the column `action` holds. executed: the action that was taken; the expert's own is in
    `expert_action`. expert: the expert's action before noise was added, for programs that imitate
    `action`."""

    mapping: Path | None = None
    """For a ROS recording (rosbag2, MCAP, or a folder of bags, one per episode): the JSON file that
    says how its topics become rows. Without it, the topics and an example are shown."""


@dataclass(frozen=True)
class ExportOptions:
    """Write the replay of a run that learned by acting as a dataset in the LeRobotDataset v3.0
    layout."""

    replay: Positional[Annotated[Path, arg(metavar="RUN/replay")]]
    """The replay's folder."""

    target: Positional[Annotated[Path, arg(metavar="TARGET")]]
    """The folder to write, which must not exist."""

    images: Literal["png", "video"] = "png"
    """How images are stored. png: without loss. video: as small AV1 files, with some loss."""


@dataclass(frozen=True)
class CheckOptions:
    """Find what is wrong with a dataset.

    Checks find torn files, counts and indices that disagree, times that do not fit the frame rate,
    statistics that do not fit the rows, actions beyond their bounds, actions in another row than
    the motion they cause, NaN, numbers that never change, single actions far from all others,
    angles that jump, instructions that are empty or only names, and empty or repeated episodes.

    Exit code 1 if there is an error, 0 if there are only warnings or nothing.
    """

    path: DatasetPath
    """A dataset's folder or file, hf://owner/name@revision, or a URL such as s3://bucket/set."""

    all_frames: bool = False
    """Decode every image, instead of up to eight per episode and camera."""

    fix: Path | None = None
    """Write a repaired copy to this folder: without torn or repeated episodes, with counts and
    statistics computed again. The dataset itself is never changed."""

    json: bool = False
    """Print the findings as JSON."""


@dataclass(frozen=True)
class ViewOptions:
    """Write a page on which you can look at episodes in a browser.

    It has images to scrub through, curves of actions and states, and histograms of actions, by task
    and success. It is one file, which needs no network. With a view, it shows what a model sees.
    """

    path: DatasetPath
    """A dataset's folder or file, hf://owner/name@revision, or a URL such as s3://bucket/set."""

    output: Path | None = None
    """The page to write; if left out, NAME.html in the current folder."""

    rerun: Path | None = None
    """Instead of a page, write a recording of each episode to this folder, for the Rerun viewer:
    `rerun FOLDER/*.rrd`."""

    episodes: int = 24
    """Number of episodes to show, equally many of each task. A page of 24 has some megabytes."""

    only: tuple[int, ...] = ()
    """Show these episodes instead, by index."""

    tasks: tuple[str, ...] = ()
    """Show only episodes of these tasks, by name or instruction."""

    view_file: Annotated[Path | None, arg(name="view", metavar="FILE")] = None
    """A JSON file that says what a model sees of the data, with the fields of the flags
    --view.*."""

    view: View = field(default_factory=View)
    """What a model sees of the data."""


def main(arguments: Sequence[str]) -> int:
    """Run `manyparts data`, and return its exit code."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: manyparts data ACTION [FLAGS]\n\nactions:")
        for name, text in ACTIONS.items():
            print(f"  {name:8} {text}")
        print("\n`manyparts data ACTION --help` documents every flag.")
        return 0
    action, *rest = arguments
    if action not in ACTIONS:
        raise UserError(
            f"unknown action {action!r} of `manyparts data`; {closest(action, ACTIONS)}"
        )
    runs = {
        "info": _info,
        "check": _check,
        "convert": _convert,
        "merge": data_editing.merge,
        "split": data_editing.split,
        "delete": data_editing.delete,
        "relabel": data_editing.relabel,
        "export": _export,
        "view": _view,
    }
    return runs[action](rest)


def _info(arguments: Sequence[str]) -> int:
    options = parse(InfoOptions, arguments, command="data info")
    from manyparts.data.dataset import EpisodeDataset

    dataset = EpisodeDataset.open(options.path, _view_of(options))
    summary = dataset.summary()
    if options.quality:
        from manyparts.data.tools.quality import quality_table

        summary["quality"] = quality_table(dataset)
    if options.json:
        print(json.dumps(summary, indent=2))
    else:
        _print_summary(summary)
    return 0


def _check(arguments: Sequence[str]) -> int:
    options = parse(CheckOptions, arguments, command="data check")
    from manyparts.data.tools.check import check, repair, require_free

    if options.fix is not None:
        require_free(options.fix)
    findings = check(options.path, every_frame=options.all_frames)
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    elif findings:
        _print_findings(findings)
    else:
        say(f"{options.path}: nothing is wrong")
    if options.fix is not None:
        left_out = repair(options.path, options.fix)
        without = f", without episodes {', '.join(left_out)}" if left_out else ""
        say(f"wrote {options.fix}{without}", error=True)
    return int(any(finding.severity == "error" for finding in findings))


def _print_findings(findings: Sequence[Finding]) -> None:
    from rich.text import Text

    from manyparts.cli.console import print_table

    rows = []
    for finding in findings:
        mark = Text(finding.severity, "red" if finding.severity == "error" else "yellow")
        rows.append((mark, finding.check, finding.where, finding.what, finding.remedy))
    print_table(("", "check", "where", "what", "what to do"), rows, names=2)


def _convert(arguments: Sequence[str]) -> int:
    options = parse(ConvertOptions, arguments, command="data convert")
    from manyparts.data.tools.convert import convert

    convert(
        options.source,
        options.target,
        format=options.format,
        images=options.images,
        embodiment=options.embodiment,
        actions=options.actions,
        mapping=options.mapping,
        view=_view_of(options),
    )
    return 0


def _view_of(options: InfoOptions | ConvertOptions | ViewOptions) -> View | None:
    """The view of its file and flags; None if there are none."""
    views = views_of([] if options.view_file is None else [options.view_file], options.view)
    return views[0] if views else None


def _export(arguments: Sequence[str]) -> int:
    options = parse(ExportOptions, arguments, command="data export")
    from manyparts.data.tools.export import export

    export(options.replay, options.target, images=options.images)
    return 0


def _view(arguments: Sequence[str]) -> int:
    options = parse(ViewOptions, arguments, command="data view")
    from manyparts.data.dataset import EpisodeDataset

    dataset = EpisodeDataset.open(options.path, _view_of(options))
    if options.rerun is not None:
        from manyparts.data.tools.rerun_export import export_rerun

        folder = export_rerun(
            dataset,
            options.rerun,
            episodes=options.episodes,
            only=options.only,
            tasks=options.tasks,
        )
        say(f"open with `rerun {folder}/*.rrd`")
        return 0
    from manyparts.data.locations import short_name
    from manyparts.data.tools.view import view

    page = view(
        dataset,
        options.output or Path(f"{short_name(options.path)}.html"),
        episodes=options.episodes,
        only=options.only,
        tasks=options.tasks,
    )
    say(f"open {page} in a browser")
    return 0


def _print_summary(summary: Mapping[str, Any]) -> None:
    """Print facts as a list, then each list of records as a table."""
    from manyparts.cli.console import print_facts, print_table
    from manyparts.core.serialisation import flatten

    tables = {
        key: value
        for key, value in summary.items()
        if isinstance(value, list) and value and _is_record(value[0])
    }
    facts = flatten({key: value for key, value in summary.items() if key not in tables})
    print_facts((key.replace("_", " "), _text(value)) for key, value in facts.items())
    for rows in tables.values():
        heads = [key.replace("_", " ") for key in rows[0]]
        print_table(heads, [[_cell(value) for value in row.values()] for row in rows])


def _is_record(value: Any) -> bool:
    return isinstance(value, Mapping)


def _cell(value: Any) -> str:
    return "unknown" if value is None else _text(value)


def _text(value: Any) -> str:
    from manyparts.cli.console import significant

    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "none"
    return significant(value, 4) if isinstance(value, float) else str(value)
