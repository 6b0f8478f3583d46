"""`manyparts data`: what is in a dataset, and the same in another format."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from manyparts.cli.parsing import parse
from manyparts.core.errors import UserError, closest
from manyparts.core.printing import say

if TYPE_CHECKING:
    from manyparts.data.tools.check import Finding

ACTIONS = {
    "info": "what is in a dataset: tasks, episodes, frames, embodiment, fingerprint",
    "check": "what is wrong with a dataset, and a repaired copy",
    "convert": "write a dataset anew in another format",
    "view": "a page with its episodes, actions and states, for a browser",
}


@dataclass(frozen=True)
class InfoOptions:
    """What is in a dataset: tasks, episodes, frames, embodiment, statistics, fingerprint."""

    path: Positional[str]
    """The dataset's folder or file, hf://owner/name@revision, or a URL such as s3://bucket/set."""

    quality: bool = False
    """Measure how good each demonstration is to learn from: how differently others act in its
    places (divergence; 1 is chance), how new its transitions are (diversity), the shares of its
    steps in which nothing moves (idle) and that lead back to where it was (extraneous). `manyparts
    train --curation.drop 0.1` leaves the worst out."""

    json: bool = False
    """Print the summary as JSON."""


@dataclass(frozen=True)
class ConvertOptions:
    """Write a dataset anew in another format.

    Reads LeRobotDataset 2.0, 2.1 and 3.0, robomimic HDF5, Minari, RLDS and folders of .npz. A
    second call after a kill goes on where the first one stopped; the target appears when it is
    whole.
    """

    source: Positional[str]
    """A dataset's folder or file, hf://owner/name@revision, or a URL such as s3://bucket/set."""

    target: Positional[Path]
    """What is written; it must not exist. A folder; for robomimic an .hdf5 file."""

    format: Literal["lerobot", "robomimic", "minari"] = "lerobot"
    """lerobot: LeRobotDataset v3.0. robomimic: one HDF5 file. minari: HDF5 storage, pictures as
    they are."""

    images: Literal["png", "video"] = "png"
    """How lerobot stores pictures: png keeps every pixel, video (AV1) is small and lossy."""

    embodiment: str | None = None
    """The robot's name, which is written; None: what the source says. A folder of .npz says
    nothing."""

    actions: Literal["executed", "expert"] = "executed"
    """What `action` holds: executed: what was done, with the expert's own actions next to it, in
    `expert_action`. expert: what the expert wanted before noise was added, and nothing next to it.
    Choose it where another program is to imitate `action`."""


@dataclass(frozen=True)
class CheckOptions:
    """Look for what is wrong with a dataset.

    Torn files, counts and indices that disagree, times that are not the rate's, statistics that are
    not the rows', actions beyond their contract or in another row than what they move, NaN, what
    never changes, single actions far beyond the rest, angles that jump, instructions that are empty
    or names, episodes that are empty or there twice.

    Exit code 1 if there is an error, 0 if there are warnings alone or nothing.
    """

    path: Positional[str]
    """A dataset's folder or file, hf://owner/name@revision, or a URL such as s3://bucket/set."""

    all_frames: bool = False
    """Decode every picture, rather than up to eight an episode and camera."""

    fix: Path | None = None
    """Write a repaired copy to this folder, without spoilt or repeated episodes, numbers and
    statistics computed anew. The dataset itself is never touched."""

    json: bool = False
    """Print the findings as JSON."""


@dataclass(frozen=True)
class ViewOptions:
    """Write a page on which episodes can be looked at.

    Pictures to scrub through, action and state curves, histograms of actions, by task and success.
    One file, which needs no network.
    """

    path: Positional[str]
    """A dataset's folder or file, hf://owner/name@revision, or a URL such as s3://bucket/set."""

    output: Path | None = None
    """The page; None: NAME.html in the current folder."""

    rerun: Path | None = None
    """Instead of a page, write a recording an episode to this folder, for the Rerun viewer: `rerun
    FOLDER/*.rrd`."""

    episodes: int = 24
    """How many episodes are shown, alike of all tasks; a page of 24 has some megabytes."""

    only: tuple[int, ...] = ()
    """These episodes instead."""

    tasks: tuple[str, ...] = ()
    """Episodes of these tasks alone, by name or instruction."""


def main(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(
            "usage: manyparts data ACTION\n\n"
            + "\n".join(f"  {name:8} {text}" for name, text in ACTIONS.items())
        )
        return 0
    action, *rest = arguments
    if action not in ACTIONS:
        raise UserError(
            f"unknown action {action!r} of `manyparts data`; {closest(action, ACTIONS)}"
        )
    return {"info": _info, "check": _check, "convert": _convert, "view": _view}[action](rest)


def _info(arguments: Sequence[str]) -> int:
    options = parse(InfoOptions, arguments, command="data info")
    from manyparts.data.dataset import EpisodeDataset

    dataset = EpisodeDataset.open(options.path)
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
        say(f"{options.path}: nothing wrong was found")
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
    )
    return 0


def _view(arguments: Sequence[str]) -> int:
    options = parse(ViewOptions, arguments, command="data view")
    chosen = {"episodes": options.episodes, "only": options.only, "tasks": options.tasks}
    if options.rerun is not None:
        from manyparts.data.tools.rerun_export import export_rerun

        say(f"open with `rerun {export_rerun(options.path, options.rerun, **chosen)}/*.rrd`")
        return 0
    from manyparts.data.locations import short_name
    from manyparts.data.tools.view import view

    page = view(options.path, options.output or Path(f"{short_name(options.path)}.html"), **chosen)
    say(f"open {page} in a browser")
    return 0


def _print_summary(summary: Mapping[str, Any]) -> None:
    """Facts as a list, then each list of records as a table."""
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
        print_table(
            [key.replace("_", " ") for key in rows[0]],
            [[*map(_text, row.values())] for row in rows],
        )


def _is_record(value: Any) -> bool:
    return isinstance(value, Mapping)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
