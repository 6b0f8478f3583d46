"""The card of an agent: what it does, how well, how to run it, and what it cannot do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from manyparts.core.naming import NAME, VERSION
from manyparts.core.printing import first_of
from manyparts.embodiment.embodiment import Embodiment
from manyparts.evaluation.results import Result
from manyparts.models.checkpoint import CheckpointInfo

_SHOWN = 60  # tasks in a table


def model_card(
    repository: str, info: CheckpointInfo, results: Result | None, *, license: str
) -> str:
    """Return the text of an agent's README.md.

    Args:
        repository: "owner/name".
        info: The agent's description.
        results: Of its evaluation; None: nothing is said of how well it acts.
        license: Of the weights, a name of the Hub's.
    """
    from huggingface_hub import EvalResult, ModelCardData

    evaluations = [] if results is None else _evaluations(results, EvalResult)
    data = ModelCardData(
        library_name=NAME,
        pipeline_tag="robotics",
        license=license,
        tags=[NAME, "robotics", "imitation-learning", *_methods(info)],
        model_name=repository.partition("/")[2],
        eval_results=evaluations or None,
    )
    parts = [
        f"---\n{data.to_yaml()}\n---",
        f"# {repository.partition('/')[2]}",
        _introduction(repository, info),
        "## How well it acts",
        _table(results),
        "## What it acts for",
        *(_embodiment(each) for each in info.trained),
        "## What it cannot do",
        _limits(info),
        "## Where it comes from",
        _origin(info),
    ]
    return "\n\n".join(parts) + "\n"


def _introduction(repository: str, info: CheckpointInfo) -> str:
    tasks = [task.name for task in info.tasks]
    model = str(info.model.get("type", "model")).removesuffix("Config")
    return f"""An agent of {NAME} {VERSION}, a \
{model} that was trained on {first_of(tasks, 5) or "data of its own"}.

```bash
manyparts evaluate hf://{repository} --episodes 20
manyparts serve hf://{repository}
```

```python
import manyparts

agent = manyparts.load("hf://{repository}")
```"""


def _table(results: Result | None) -> str:
    if results is None:
        return "It was not evaluated before it was shared."
    heads, rows, mean = results.table()
    rows = [*rows[:_SHOWN], *([] if mean is None else [mean])]
    lines = [heads, ["---"] * len(heads), *rows]
    table = "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
    provenance = results.provenance
    return f"""{table}

Success is the fraction of solved episodes with a 95 % interval. Goals are of the split \
{provenance.get("split", "evaluation")}, seed {provenance.get("seeds", {}).get("evaluation")}, \
{provenance.get("episodes")} episodes per task. {len(results.tasks)} tasks."""


def _embodiment(embodiment: Embodiment) -> str:
    spec, action = embodiment.spec, embodiment.spec.action
    robot = embodiment.sources[0].spec if embodiment.sources else spec
    cameras = ", ".join(f"{name} {h}x{w}" for name, (h, w) in robot.cameras.items()) or "none"
    rows = [
        ("robot", spec.embodiment),
        ("cameras", cameras),
        ("state", ", ".join(robot.state_names) or "none"),
        ("actions", ", ".join(robot.action.names)),
        ("what they are", f"{action.representation} in the frame {action.frame}"),
        ("rate", f"{robot.action.control_rate_hz:g} Hz"),
    ]
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in rows)


def _limits(info: CheckpointInfo) -> str:
    robots = first_of([each.spec.embodiment for each in info.trained], 5)
    return f"""- It acts for {robots} alone: other cameras, states or actions are refused.
- It knows the tasks that it was trained on. Others are asked for in vain.
- It was measured in simulation. On a robot, bound its actions: `manyparts serve --max-change`."""


def _origin(info: CheckpointInfo) -> str:
    known = {
        "commit": info.provenance.get("commit"),
        "seed": info.provenance.get("seed"),
        "optimiser steps": info.provenance.get("step"),
        "dataset fingerprint": info.provenance.get("dataset_fingerprint"),
    }
    rows = [f"| {name} | {value} |" for name, value in known.items() if value is not None]
    return "| | |\n|---|---|\n" + "\n".join(rows) if rows else "Nothing was recorded."


def _methods(info: CheckpointInfo) -> list[str]:
    method = info.provenance.get("method")
    return [str(method)] if method else []


def _evaluations(results: Result, kind: Any) -> list[Any]:
    """The success of each task, as the Hub lists it."""
    listed = []
    for task, measures in results.per_task.items():
        interval = measures.get("success_any")
        if interval is None:
            continue
        suite = task.partition("/")[0]
        text = f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
        listed.append(
            kind(
                task_type="robotics",
                dataset_type=suite,
                dataset_name=task,
                metric_type="success_rate",
                metric_name=f"success, 95 % interval {text}",
                metric_value=round(float(interval.mean), 4),
            )
        )
    return listed


def evaluated(run: Path) -> Result | None:
    """Return the results that lie in a run's folder, if there are any.

    Args:
        run: The run's folder.
    """
    folder = run / "evaluation"
    return Result.load(folder) if (folder / "results.json").is_file() else None
