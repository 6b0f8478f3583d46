"""Seeds, goals and walkers that were ever used, and plans that use them again.

python scripts/plans/used_seeds.py

It refuses plans that use something again, or writes docs/results/plans/used-seeds.json.

A goal follows from the task, the split and the seed of the evaluation, so that an evaluation's seed
stands for its goals.
"""

from __future__ import annotations

import json
import re
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from manyparts.core.storage.atomic import write_atomically
from manyparts.envs.suites.walkers import TASKS
from manyparts.methods import preset, preset_names
from manyparts.studies.engine.stages import DESCRIPTION

ROOT = Path(__file__).resolve().parents[2]
PLANS = ROOT / "docs" / "results" / "plans"
FILE = PLANS / "used-seeds.json"
PURPOSES = ("training", "data", "evaluation")
FOLDERS = ("docs", "examples", "benchmarks", "scripts", "src", "tests")
PLANNED = (PLANS, Path(__file__).parent)  # what stands here is planned, not used
_NUMBERS = re.compile(
    r"seeds?[\"'`]?(?:\s*[=:]\s*|\s+|\()(\d[\d_]*(?:(?:, and |, | and | to )\d[\d_]*)*)"
)
_COUNTS = re.compile(r"(?:--seeds |seeds? in range\()(\d[\d_]*)\b")
_BEGUN = re.compile(r"\bbegin\((\d[\d_]*)\)")
_WALKER = re.compile(r"\b(?:train|validation|test)-(?:planar|free)-\d{4,}\b")


def used() -> dict[str, Any]:
    """Return what was used, by source: archives, presets, and all text and code."""
    before = recorded() if FILE.exists() else {"plans": {}, "text": {}}
    planned = {
        number
        for plan in before["plans"].values()
        for numbers in plan["seeds"].values()
        for number in numbers
    }
    walkers_planned = {walker for plan in before["plans"].values() for walker in plan["walkers"]}
    seeds, walkers = of_text(texts())
    seeds = (seeds - planned) | numbers_of(before["text"].get("seeds", []))
    walkers = (walkers - walkers_planned) | set(before["text"].get("walkers", []))
    return {
        "archives": of_archives(),
        "presets": {"training": sorted({preset(name).seed for name in preset_names()})},
        "text": {"seeds": ranges_of(seeds), "walkers": sorted(walkers)},
        "suites": {"walkers": sorted(TASKS)},
        "plans": {},
    }


def recorded() -> dict[str, Any]:
    """Return the file's content."""
    return json.loads(FILE.read_text())


def of_archives() -> dict[str, Any]:
    """Return archive to its seeds of training and data, its goals, and its walkers."""
    return {path.name: of_archive(path) for path in sorted((ROOT / "docs/evidence").glob("*.xz"))}


def of_archive(path: Path) -> dict[str, Any]:
    """Return what the stages of an archive used; goals as task to seeds of evaluations."""
    training, data, walkers = set[int](), set[int](), set[str]()
    goals: dict[str, set[int]] = {}
    for kind, stage in _described(path):
        for part in _parts(stage):
            tasks = part.get("tasks", ())
            walkers |= {task.partition("/")[2] for task in tasks if task.startswith("walkers/")}
            if "config" in part:
                training.add(part["config"].get("seed", 0))
        if kind == "collect":
            data.add(stage.get("seed", 0))
        if kind in ("evaluate", "reference"):
            for task in stage["tasks"]:
                goals.setdefault(task, set()).add(stage.get("seed", 0))
    return {
        "training": sorted(training),
        "data": sorted(data),
        "evaluation": {task: sorted(seeds) for task, seeds in sorted(goals.items())},
        "walkers": sorted(walkers),
    }


def _described(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the kind and the description of every stage of an archive."""
    with tarfile.open(path) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.name.endswith(DESCRIPTION) else None
            if content is not None:
                kind = Path(member.name).parent.name.partition("-")[0]
                yield kind, json.loads(content.read())


def _parts(stage: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a stage and all that it holds."""
    yield stage
    for name in ("run", "data", "start_from"):
        if isinstance(stage.get(name), dict):
            yield from _parts(stage[name])


def texts() -> Iterator[str]:
    """Yield the text of README, documentation and code, but for plans, their studies and tests."""
    own = {"test_plans.py"} | {f"{path.stem.replace('-', '_')}.py" for path in PLANS.glob("*.md")}
    yield (ROOT / "README.md").read_text(encoding="utf-8")
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            planned = any(path.is_relative_to(planned_path) for planned_path in PLANNED)
            if path.suffix in (".md", ".py") and not planned and path.name not in own:
                yield path.read_text(encoding="utf-8")


def of_text(pages: Iterable[str]) -> tuple[set[int], set[str]]:
    """Return the numbers that follow the word seed, and the walkers that are named.

    Too many rather than too few: "5 of 8 seeds" is not read, "seeds 5" is.
    """
    seeds, walkers = set[int](), set[str]()
    for page in pages:
        walkers |= set(_WALKER.findall(page))
        for match in _COUNTS.finditer(page):
            seeds |= set(range(int(match[1])))
        for match in _BEGUN.finditer(page):
            seeds.add(int(match[1]))
        for match in _NUMBERS.finditer(page):
            for part in re.split(r", and |, | and ", match[1]):
                ends = [int(number) for number in part.split(" to ")]
                seeds |= set(range(ends[0], ends[-1] + 1)) | set(ends)
    return seeds, walkers


def ranges_of(seeds: Iterable[int]) -> list[list[int]]:
    """Return seeds as [first, last] pairs."""
    ranges: list[list[int]] = []
    for seed in sorted(seeds):
        if ranges and seed == ranges[-1][1] + 1:
            ranges[-1][1] = seed
        else:
            ranges.append([seed, seed])
    return ranges


def numbers_of(ranges: Iterable[Iterable[int]]) -> set[int]:
    """Return the seeds of [first, last] pairs."""
    seeds = set[int]()
    for first, last in ranges:
        seeds |= set(range(first, last + 1))
    return seeds


def problems(head: Mapping[str, Any], record: Mapping[str, Any]) -> list[str]:
    """Return why a plan is refused: a line for each seed or walker that was used before.

    A seed may have been used for anything: a number that trained an agent draws no goals.

    Args:
        head: The plan's head.
        record: What was used. What belongs to the plan's own study does not count.
    """
    by_seed, by_walker = _by_source(record, head["study"])
    used_before = [
        f"{purpose} seed {seed} was used: {by_seed[seed]}"
        for purpose in PURPOSES
        for seed in head["seeds"][purpose]
        if seed in by_seed
    ]
    return used_before + [
        f"walker {walker} was used: {by_walker[walker]}"
        for walker in head["walkers"]
        if walker in by_walker
    ]


def _by_source(record: Mapping[str, Any], study: str) -> tuple[dict[int, str], dict[str, str]]:
    """Return used seeds and used walkers, each to where; without those of this study."""
    sources: list[tuple[str, set[int], Iterable[str]]] = [
        ("text", numbers_of(record["text"]["seeds"]), record["text"]["walkers"]),
        ("presets", set(record["presets"]["training"]), ()),
        ("the suite's tasks", set(), record["suites"]["walkers"]),
    ]
    for name, archive in record["archives"].items():
        if not name.startswith(f"{study}-"):
            goals = {seed for seeds in archive["evaluation"].values() for seed in seeds}
            seeds = {*archive["training"], *archive["data"], *goals}
            sources.append((name, seeds, archive["walkers"]))
    for name, plan in record["plans"].items():
        if name != study:
            seeds = {seed for numbers in plan["seeds"].values() for seed in numbers}
            sources.append((f"the plan {name}", seeds, plan["walkers"]))
    by_seed: dict[int, str] = {}
    by_walker: dict[str, str] = {}
    for name, seeds, walkers in sources:
        by_seed |= dict.fromkeys(seeds, name)
        by_walker |= dict.fromkeys(walkers, name)
    return by_seed, by_walker


def main() -> int:
    from heads import heads

    record, refused = used(), False
    before = recorded()["plans"] if FILE.exists() else {}
    for name, head in heads().items():
        for problem in problems(head, record | {"plans": before | record["plans"]}):
            print(f"{name}: {problem}", file=sys.stderr)
            refused = True
        record["plans"][name] = {"seeds": head["seeds"], "walkers": head["walkers"]}
    if refused:
        return 1
    text = json.dumps(record, indent=1)
    # Lists of numbers or names on one line each.
    text = re.sub(r"\[[^\[\]{}]*\]", lambda match: " ".join(match[0].split()), text)
    write_atomically(FILE, (text + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
