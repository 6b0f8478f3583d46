"""`understudy quickstart`: the main job from an empty folder to a report, each stage an ordinary command."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from understudy import cli
from understudy.cli.parsing import parse

TASKS = tuple(
    f"metaworld/{name}"
    for name in ("reach", "button-press-topdown", "drawer-close", "drawer-open", "window-open", "door-open")
)


@dataclass(frozen=True)
class Options:
    """Collect six Meta-World tasks, train both phases, evaluate on goals never seen, write the report.

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
    """One command of the job. finished: whether what it makes is already there."""

    title: str
    arguments: Sequence[str | Path]
    finished: Callable[[], bool]


def main(arguments: Sequence[str]) -> int:
    options = parse(Options, arguments, command="quickstart")
    began, times = time.monotonic(), []
    todo = stages(options)
    for number, stage in enumerate(todo, start=1):
        command = [str(word) for word in stage.arguments]
        print(f"[{number}/{len(todo)}] {stage.title}\n    $ {shlex.join(['understudy', *command])}", file=sys.stderr)
        start = time.monotonic()
        if stage.finished():
            print("    done before", file=sys.stderr)
        else:
            cli.run_command(command)
        times.append(f"{stage.title} {time.monotonic() - start:.0f} s")
    print(f"{', '.join(times)}; {time.monotonic() - began:.0f} s in all")
    return 0


def stages(options: Options) -> list[Stage]:
    """The commands in their order."""
    data, first, second = (options.output / name for name in ("data", "phase1", "phase2"))
    workers = [] if options.workers is None else ["--workers", str(options.workers)]
    seed = ["--seed", str(options.seed)]
    collect = ["collect", *options.tasks, "--episodes", str(options.demonstrations), "--output", data]
    training = {
        folder: ["train", f"dualmind/{folder.name}-{options.preset}", "--data", data, "--output", folder]
        for folder in (first, second)
    }
    evaluate = ["evaluate", second, "--episodes", str(options.episodes), "--videos", str(options.videos)]
    return [
        Stage("collect", [*collect, *workers, *seed], data.exists),
        Stage("phase I", [*training[first], *seed, *_resume(first)], lambda: False),
        Stage("phase II", [*training[second], "--from", first, *seed, *_resume(second)], lambda: False),
        Stage("evaluate", [*evaluate, *workers, *seed], lambda: False),
        Stage("report", ["report", second], lambda: False),
    ]


def _resume(run: Path) -> list[str]:
    """A run that was begun is resumed; one that is complete then has nothing left to do."""
    return ["--resume"] if (run / "config.json").exists() else []
