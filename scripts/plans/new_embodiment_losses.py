"""Print the losses of the study `new-embodiment` by step, and the success of each task.

python scripts/plans/new_embodiment_losses.py FOLDER
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

STEPS = (100, 200, 400, 600)


def stages(folder: Path, kind: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the folder and the description of each stage of a kind."""
    for path in sorted((folder / "stages").glob(f"{kind}-*")):
        yield path, json.loads((path / "stage.json").read_text())


def main(folder: Path) -> None:
    losses: dict[tuple[str, str], list[dict[int, float]]] = defaultdict(list)
    for path, run in stages(folder, "train"):
        rows = map(json.loads, (path / "run" / "metrics.jsonl").read_text().splitlines())
        robot = "Franka" if len(run["data"]["tasks"]) > 1 else "two-joint arm"
        name = f"{robot}, {run['data']['episodes']} demonstrations"
        losses[name, _method(run)].append({row["step"]: row["loss"] for row in rows})
    for (name, method), curves in sorted(losses.items()):
        means = " | ".join(f"{mean(curve[step] for curve in curves):.3f}" for step in STEPS)
        print(f"| {name}, {method} | {means} |  ({len(curves)} seeds)")
    solved: dict[tuple[str, str], list[float]] = defaultdict(list)
    for path, stage in stages(folder, "evaluate"):
        results = json.loads((path / "evaluation" / "results.json").read_text())
        for task, scores in results["per_task"].items():
            name = f"{task}, {stage['run']['data']['episodes']} demonstrations"
            solved[name, _method(stage["run"])].append(scores["success_any"]["mean"])
    for (name, method), values in sorted(solved.items()):
        print(f"| {name}, {method} | {mean(values):.2f} |")


def _method(run: dict[str, Any]) -> str:
    return "trunk" if run.get("agent") else "scratch"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
