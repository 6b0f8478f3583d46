"""`manyparts quickstart`: the main job from an empty folder to a report, each stage an ordinary
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
    """Collect six Meta-World tasks, train both phases, evaluate on goals never seen, write the
    report.

    A second call after a kill goes on where the first one stopped and skips what is finished.
    """

    output: Path = Path("runs/quickstart")
    """Folder of the data, the two runs and the report."""

    tasks: tuple[str, ...] = TASKS
    """Tasks to learn."""

    preset: Literal["debug", "laptop", "base"] = "laptop"
    """Size of the model and length of training."""

    demonstrations: int = 50
    """Demonstrations a task."""

    episodes: int = 20
    """Evaluated episodes a task, each with a goal that training never saw."""

    videos: int = 2
    """Videos a task to keep of successes, and as many of failures."""

    workers: int | None = None
    """Simulator processes; None: one a core."""

    seed: int = 0
    """Seed of everything."""


@dataclass(frozen=True)
class Stage:
    """One command of the job. finished: what it makes is already there."""

    title: str
    arguments: Sequence[str]
    finished: bool = False


def main(arguments: Sequence[str]) -> int:
    options = parse(Options, arguments, command="quickstart")
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
    """The commands in their order. Raises UserError if the output folder holds the data of other
    settings."""
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
    if not data.exists():
        return False
    from manyparts.envs import registry

    path = data / "meta" / "collection.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{data} exists and is not what a quickstart collected ({error}); choose another --output"
        ) from None
    wanted = {
        "tasks": registry.expand(options.tasks),
        "episodes": options.demonstrations,
        "seed": options.seed,
    }
    different = [
        f"{key} was {found.get(key)}, is {value}"
        for key, value in wanted.items()
        if found.get(key) != value
    ]
    if different:
        raise UserError(
            f"{data} was collected otherwise ({'; '.join(different)}); choose another --output"
        )
    return True


def _resume(run: str) -> list[str]:
    """A run that was begun is resumed; one that is complete then has nothing left to do."""
    return ["--resume"] if (Path(run) / "config.json").exists() else []
