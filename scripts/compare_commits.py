"""Check that the working tree learns, draws, acts and scores as an earlier commit, to the bit.

    python scripts/compare_commits.py [CASE...] [--base COMMIT] [--keep FOLDER]

Checks out the commit in another folder and runs the same commands in both trees, with one thread
each: collect, 50 steps of every debug preset, some of them again in two processes, resumed,
streamed and on a mixture, and 4 evaluated episodes of all that act. Compares every loss, every
weight and every episode. Exits 1 if one differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BASE = "783005d"  # closed the issue "a name of its own, and nothing silently wrong"
HERE = Path(__file__).resolve().parent.parent
STEPS = 50
IGNORED = ("samples_per_second", "frames_per_second", "seconds")
RENAMED = {"share/": "fraction/", "target_deviation": "target_std"}  # in metrics, since 0.1


@dataclass(frozen=True)
class Case:
    """One run."""

    preset: str
    """The training preset."""
    data: tuple[str, ...]
    """Names of `DATA`."""
    start: str | None = None
    """The case that gives the initial weights."""
    flags: tuple[str, ...] = ()
    """Further flags of `train`."""
    acts: tuple[str, ...] | None = None
    """Flags of `evaluate`; None if it does not act."""
    resumed: bool = False
    """Whether it is interrupted and resumed."""


DATA = {
    "pixels": ["pointmass/reach", "--episodes", "8", "--image-size", "16"],
    "more": ["pointmass/reach", "--episodes", "6", "--image-size", "16", "--seed", "7"],
    "states": ["pointmass/reach", "--episodes", "8", "--image-size", "16", "--state", "full"],
}
PLANNED = ("--planner", "mppi")
PRETRAINED = (
    "inverse-dynamics",
    "inverse-dynamics-far",
    "cloning",
    "forward-pixels",
    "forward-contrastive",
    "forward-contrastive-tuned",
    "static-contrastive",
    "static-contrastive-tuned",
)
FEW = ("dualmind/phase1-debug", "dynamics/parallel-debug", "inverse_dynamics/forward-pixels-debug")


def cases() -> dict[str, Case]:
    """Return all cases by name, each after the one that it starts from."""
    every = {
        "phase1": Case("dualmind/phase1-debug", ("pixels",)),
        "phase2": Case("dualmind/phase2-debug", ("pixels",), start="phase1", acts=()),
        "phase2-prompts": Case(
            "dualmind/phase2-prompts-debug", ("pixels",), start="phase1", acts=()
        ),
        "tune": Case("dualmind/tune-debug", ("more",), start="phase2", acts=()),
    }
    for name in PRETRAINED:
        every[name] = Case(f"inverse_dynamics/{name}-debug", ("pixels",))
    every["finetune"] = Case(
        "inverse_dynamics/finetune-debug", ("pixels",), start="inverse-dynamics", acts=()
    )
    for name in ("finetune-states", "scratch"):
        every[name] = Case(f"inverse_dynamics/{name}-debug", ("pixels",), acts=())
    for name in ("parallel", "sequential", "mlp", "ensemble", "recurrent", "generalist"):
        every[f"dynamics-{name}"] = Case(f"dynamics/{name}-debug", ("states",), acts=PLANNED)
    for preset in FEW:
        data = "states" if preset.startswith("dynamics") else "pixels"
        every[f"{preset} in two processes"] = Case(preset, (data,), flags=("--processes", "2"))
        every[f"{preset} resumed"] = Case(preset, (data,), resumed=True)
        every[f"{preset} streamed"] = Case(preset, (data,), flags=("--buffer-frames", "200"))
    for preset in FEW[::2]:
        every[f"{preset} on a mixture"] = Case(
            preset, ("pixels", "more"), flags=("--weights", "1", "3")
        )
    return every


@dataclass
class Tree:
    """A checkout, and the folder in which its commands work."""

    name: str
    source: Path
    folder: Path
    python: str

    @property
    def package(self) -> str:
        """Return its import name, which was another before November 2026."""
        return next(path.parent.name for path in sorted(self.source.glob("src/*/__main__.py")))

    def command(self, *words: str) -> None:
        """Run a command of the command line.

        Raises:
            CalledProcessError: It fails.
        """
        environment = os.environ | {
            "PYTHONPATH": str(self.source / "src"),
            "OMP_NUM_THREADS": "1",
            f"{self.package.upper()}_CACHE": str(self.folder / "cache"),
        }
        subprocess.run(
            [self.python, "-m", self.package, *words],
            cwd=self.folder,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )

    def run(self, name: str, case: Case) -> None:
        """Train a case and evaluate it."""
        output = folder_of(name)
        words = [
            "train",
            case.preset,
            "--output",
            output,
            "--device",
            "cpu",
            "--log-every-steps",
            "1",
        ]
        words += ["--data", *case.data, *case.flags]
        if case.start is not None:
            words += ["--from", folder_of(case.start)]
        steps = ["--steps", str(STEPS)]
        if case.resumed:
            self.interrupted(words, output)
            self.command(*words, *steps, "--checkpoint-every-steps", str(STEPS // 2), "--resume")
        else:
            self.command(*words, *steps)
        if case.acts is not None:
            self.command(
                *("evaluate", output, "--episodes", "4", "--workers", "1", "--max-steps", "20"),
                *("--output", f"{output}-evaluated", *case.acts),
            )

    def interrupted(self, words: list[str], output: str) -> None:
        """Train, then remove what came after the first checkpoint, as if it was killed there."""
        self.command(*words, "--steps", str(STEPS), "--checkpoint-every-steps", str(STEPS // 2))
        last = self.folder / output / "checkpoints"
        for step in last.glob(f"{STEPS:06d}"):
            for file in step.iterdir():
                file.unlink()
            step.rmdir()
        (last / "last").unlink()
        (last / "last").symlink_to(f"{STEPS // 2:06d}")
        metrics = self.folder / output / "metrics.jsonl"
        kept = [
            line
            for line in metrics.read_text().splitlines()
            if json.loads(line)["step"] <= STEPS // 2
        ]
        metrics.write_text("".join(f"{line}\n" for line in kept))


def folder_of(name: str) -> str:
    return name.replace("/", "-").replace(" ", "-")


def losses(folder: Path) -> dict[str, float]:
    values = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        for key, value in row.items():
            for former, name in RENAMED.items():
                key = key.replace(former, name)
            if key not in IGNORED:
                values[f"step {row['step']} {key}"] = value
    return values


def weights(folder: Path) -> dict[str, str]:
    from safetensors.numpy import load_file

    tensors = load_file(folder / "checkpoints/last/model.safetensors")
    return {
        name: hashlib.sha256(f"{value.dtype}{value.shape}".encode() + value.tobytes()).hexdigest()
        for name, value in tensors.items()
    }


def episodes(folder: Path) -> dict[str, object]:
    file = folder / "episodes.jsonl"
    lines = file.read_text().splitlines() if file.is_file() else []
    return {f"episode {number}": json.loads(line) for number, line in enumerate(lines)}


def differences(name: str, case: Case, one: Tree, other: Tree) -> Iterator[str]:
    """Yield what is not equal to the bit, and where nothing was compared."""
    run = folder_of(name)
    parts = [(losses, run), (weights, run)]
    if case.acts is not None:
        parts.append((episodes, f"{run}-evaluated"))
    for read, folder in parts:
        first, second = read(one.folder / folder), read(other.folder / folder)
        if not first:
            yield f"no {read.__name__}"
        unequal = [key for key in {**first, **second} if first.get(key) != second.get(key)]
        if unequal:
            yield f"{len(unequal)} of {len(first)} {read.__name__}, such as {unequal[0]}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", help="names of cases, by default all")
    parser.add_argument(
        "--base", default=BASE, help=f"the commit to compare with, by default {BASE}"
    )
    parser.add_argument("--keep", type=Path, help="the folder to work in, which is kept")
    parser.add_argument(
        "--base-python", default=sys.executable, help="the interpreter of the earlier commit"
    )
    arguments = parser.parse_args()
    every = cases()
    if unknown := [name for name in arguments.cases if name not in every]:
        parser.error(f"unknown case {unknown[0]!r}; choices: {', '.join(every)}")
    with tempfile.TemporaryDirectory() as temporary:
        work = (arguments.keep or Path(temporary)).resolve()
        base = work / "base"
        if not base.exists():
            subprocess.run(["git", "-C", str(HERE), "worktree", "prune"], check=True)
            subprocess.run(
                ["git", "-C", str(HERE), "worktree", "add", "--detach", str(base), arguments.base],
                check=True,
            )
        try:
            trees = [
                Tree("base", base, work / "of-base", arguments.base_python),
                Tree("working tree", HERE, work / "of-tree", sys.executable),
            ]
            return compare(trees, every, arguments.cases)
        finally:
            if arguments.keep is None:
                subprocess.run(
                    ["git", "-C", str(HERE), "worktree", "remove", "--force", str(base)],
                    check=False,
                )


def compare(trees: list[Tree], every: dict[str, Case], names: list[str]) -> int:
    """Run cases in both trees and print how they compare; return the exit code."""
    for tree in trees:
        tree.folder.mkdir(parents=True, exist_ok=True)
        for name, words in DATA.items():
            if not (tree.folder / name).exists():
                tree.command("collect", *words, "--workers", "1", "--output", name)
    failures = 0
    wanted = needed(every, names or list(every))
    for name in wanted:
        case = every[name]
        try:
            for tree in trees:
                if not (tree.folder / folder_of(name)).exists():
                    tree.run(name, case)
            problems = list(differences(name, case, *trees))
        except subprocess.CalledProcessError as error:
            last_line = error.stderr.strip().splitlines()[-1:]
            problems = [f"{' '.join(error.cmd[3:])} failed: {last_line}"]
        if problems:
            failures += 1
            print(f"differs  {name}: {'; '.join(problems)}", flush=True)
        else:
            print(f"equal    {name}", flush=True)
    print(f"{len(wanted) - failures} of {len(wanted)} cases are equal to the bit")
    return 1 if failures else 0


def needed(every: dict[str, Case], names: list[str]) -> list[str]:
    """Return the cases and those that they start from, in an order in which they can run."""
    wanted: dict[str, None] = {}

    def add(name: str) -> None:
        if (start := every[name].start) is not None:
            add(start)
        wanted[name] = None

    for name in names:
        add(name)
    return list(wanted)


if __name__ == "__main__":
    sys.exit(main())
