"""`manyparts quickstart`: the whole way from an empty folder to a report, each stage an ordinary
command."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from manyparts import cli
from manyparts.cli.parsing import parse
from manyparts.core.arguments import whole
from manyparts.core.errors import UserError
from manyparts.core.printing import say

TASKS = tuple(
    f"metaworld/{name}"
    for name in (
        "reach",
        "button-press-topdown",
        "drawer-close",
        "drawer-open",
        "window-open",
        "door-open",
    )
)


@dataclass(frozen=True)
class Options:
    """Collect demonstrations of six Meta-World tasks, train both phases, evaluate on goals that
    training never saw, and write the report.

    If the command is killed, call it again: it continues where it stopped.
    """

    output: Path = Path("runs/quickstart")
    """Folder of the dataset, the two runs and the report."""

    tasks: tuple[str, ...] = TASKS
    """Tasks to learn; `manyparts list tasks` shows all."""

    preset: Literal["debug", "laptop", "base"] = "laptop"
    """Size of the model and length of training. debug: seconds, learns nothing. laptop: two cores.
    base: a GPU."""

    demonstrations: int = 50
    """Demonstrations per task."""

    episodes: int = 20
    """Evaluated episodes per task, each with a goal that training never saw."""

    videos: int = 2
    """Number of successes, and as many failures, that are filmed per task."""

    workers: int | None = None
    """Simulator processes; if left out, one per core."""

    seed: int = 0
    """Seed of data, training and evaluation."""


@dataclass(frozen=True)
class Stage:
    """One command of the quickstart."""

    title: str
    """What it does, in a word or two."""

    arguments: Sequence[str]
    """The words after `manyparts`."""

    finished: bool = False
    """Whether its result is there already."""


def main(arguments: Sequence[str]) -> int:
    """Run `manyparts quickstart`, and return its exit code."""
    options = parse(Options, arguments, command="quickstart")
    # Before anything is recorded: the last of these commands comes minutes after the first.
    for name in ("demonstrations", "episodes"):
        whole(name, getattr(options, name), minimum=1)
    whole("videos", options.videos, minimum=0)
    began, times = time.monotonic(), []
    todo = stages(options)
    for number, stage in enumerate(todo, start=1):
        command = shlex.join(["manyparts", *stage.arguments])
        say(f"[{number}/{len(todo)}] {stage.title}", error=True)
        say(f"    $ {command}", error=True)
        start = time.monotonic()
        if stage.finished:
            print("    done before", file=sys.stderr)
        else:
            cli.run_command(stage.arguments)
        times.append(f"{stage.title} {time.monotonic() - start:.0f} s")
    print(f"{', '.join(times)}; {time.monotonic() - began:.0f} s in all")
    return 0


def stages(options: Options) -> list[Stage]:
    """The commands in their order.

    Raises:
        UserError: the output folder has a dataset of other settings.
    """
    data, first, second = (str(options.output / name) for name in ("data", "phase1", "phase2"))
    seed = ["--seed", str(options.seed)]
    workers = [] if options.workers is None else ["--workers", str(options.workers)]
    collect = [
        "collect",
        *options.tasks,
        "--episodes",
        str(options.demonstrations),
        "--output",
        data,
    ]
    phase1 = ["train", f"dualmind/phase1-{options.preset}", "--data", data, "--output", first]
    phase2 = [
        "train",
        f"dualmind/phase2-{options.preset}",
        "--data",
        data,
        "--from",
        first,
        "--output",
        second,
    ]
    evaluate = [
        "evaluate",
        second,
        "--episodes",
        str(options.episodes),
        "--videos",
        str(options.videos),
    ]
    return [
        Stage("collect", [*collect, *workers, *seed], finished=_is_collected(Path(data), options)),
        Stage("phase I", [*phase1, *seed, *_resume(first)]),
        Stage("phase II", [*phase2, *seed, *_resume(second)]),
        Stage("evaluate", [*evaluate, *workers, *seed]),
        Stage("report", ["report", second]),
    ]


def _is_collected(data: Path, options: Options) -> bool:
    """Whether the dataset is there, with these settings."""
    if not data.exists():
        return False
    from manyparts.envs import registry

    path = data / "meta" / "collection.json"
    try:
        collection = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{data} exists and was not collected by a quickstart ({error}); choose another "
            "--output"
        ) from None
    wanted = {
        "tasks": registry.expand(options.tasks),
        "episodes": options.demonstrations,
        "seed": options.seed,
    }
    different = [
        f"{key} was {collection.get(key)}, is {value}"
        for key, value in wanted.items()
        if collection.get(key) != value
    ]
    if different:
        raise UserError(
            f"{data} was collected with other settings ({'; '.join(different)}); choose another "
            "--output"
        )
    return True


def _resume(run: str) -> list[str]:
    """The flag that resumes a run, if there is one; if it is complete, there is nothing to do."""
    return ["--resume"] if (Path(run) / "config.json").exists() else []
