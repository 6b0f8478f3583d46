"""The card of an agent: what it does, how well, how to run it, and what it cannot do."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from manyparts.core.naming import NAME, VERSION
from manyparts.core.printing import first_of
from manyparts.core.provenance import file_hash
from manyparts.embodiment.embodiment import Embodiment
from manyparts.evaluation.results import Result
from manyparts.models.checkpoint import CheckpointInfo
from manyparts.models.run_files import weights_of

_SHOWN = 60  # tasks in a table

Acts = Literal["policy", "planner", "nothing"]
"""By what an agent acts."""


def model_card(
    repository: str,
    info: CheckpointInfo,
    results: Result | None,
    *,
    license: str,
    acts: Acts,
    steps: int | None,
) -> str:
    """Return the text of an agent's README.md.

    Args:
        repository: "owner/name".
        info: The agent's description.
        results: Of its evaluation; None: nothing is said of how well it acts.
        license: Of the weights, a name of the Hub's.
        acts: By what it acts.
        steps: Optimiser steps of its training; None: nobody knows.
    """
    from huggingface_hub import EvalResult, ModelCardData

    usual = results is not None and not conditions(results, info)
    evaluations = _evaluations(results, EvalResult) if results is not None and usual else []
    data = ModelCardData(
        library_name=NAME,
        pipeline_tag="robotics",
        license=license,
        tags=[NAME, "robotics", *_learning(info)],
        model_name=repository.partition("/")[2],
        eval_results=evaluations or None,
    )
    parts = [
        f"---\n{data.to_yaml()}\n---",
        f"# {repository.partition('/')[2]}",
        _introduction(repository, info, acts),
        "## How well it acts",
        _table(results, info),
        "## What it acts for",
        *(_embodiment(each) for each in info.trained),
        "## What it cannot do",
        _limits(info, is_measured=results is not None),
        "## Where it comes from",
        _origin(info, steps),
    ]
    return "\n\n".join(parts) + "\n"


def _introduction(repository: str, info: CheckpointInfo, acts: Acts) -> str:
    tasks = [task.name for task in info.tasks]
    model = str(info.model.get("type", "model")).removesuffix("Config")
    what = f"""{NAME} {VERSION}, a {model} that was trained on \
{first_of(tasks, 5) or "data of its own"}."""
    if acts == "nothing":
        return f"""A model of {what} It does not act. What acts is trained from it:

```bash
manyparts train PRESET --from hf://{repository} --data DATA --output RUN
```"""
    flags = " --planner mppi" if acts == "planner" else ""
    lines = ["import manyparts"]
    if acts == "planner":
        lines += ["from manyparts.planners import MppiConfig", "", "planner = MppiConfig()"]
    planner = ", planner=planner" if acts == "planner" else ""
    lines += ["", f'agent = manyparts.load("hf://{repository}"{planner})']
    python = "\n".join(lines)
    return f"""An agent of {what}

```bash
manyparts evaluate hf://{repository} --episodes 20{flags}
manyparts serve hf://{repository}{flags}
```

```python
{python}
```"""


def _table(results: Result | None, info: CheckpointInfo) -> str:
    if results is None:
        return "It was not evaluated before it was shared."
    heads, rows, mean = results.table()
    rows = [*rows[:_SHOWN], *([] if mean is None else [mean])]
    lines = [heads, ["---"] * len(heads), *rows]
    table = "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
    provenance, said = results.provenance, conditions(results, info)
    unusual = f" It was {'; '.join(said)}." if said else ""
    return f"""{table}

Success is the fraction of solved episodes with a 95 % interval. Goals are of the split \
{provenance.get("split", "evaluation")}, seed {provenance.get("seeds", {}).get("evaluation")}, \
{provenance.get("episodes")} episodes per task. {len(results.tasks)} tasks.{unusual}"""


def conditions(results: Result, info: CheckpointInfo) -> list[str]:
    """Return in words what was unusual in an evaluation.

    Args:
        results: Of the evaluation.
        info: The agent's description.
    """
    provenance = results.provenance
    lengths = {each.environment.get("max_steps") for each in info.trained}
    prompts, asked = provenance.get("prompts"), provenance.get("prompt_task")
    delay, most = provenance.get("control_delay"), provenance.get("max_steps")
    said = [
        prompts not in (None, "instruction") and f"asked by {prompts}",
        asked and f"asked for {asked} in every task",
        delay and f"carried out {delay} steps late",
        most and most not in lengths and f"cut after {most} steps",
        provenance.get("until_success") and "ended with the first solved step",
    ]
    return [words for words in said if words]


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


def _limits(info: CheckpointInfo, *, is_measured: bool) -> str:
    robots = first_of([each.spec.embodiment for each in info.trained], 5)
    measured = "It was measured in simulation. " if is_measured else ""
    return f"""- It is for {robots} alone: other cameras, states or actions are refused.
- It knows the tasks that it was trained on. Others are asked for in vain.
- {measured}On a robot, bound its actions: `manyparts serve --max-change`."""


def _origin(info: CheckpointInfo, steps: int | None) -> str:
    known = {
        "commit": info.provenance.get("commit"),
        "seed": info.provenance.get("seed"),
        "optimiser steps": steps,
        "dataset fingerprint": info.provenance.get("dataset_fingerprint"),
    }
    rows = [f"| {name} | {value} |" for name, value in known.items() if value is not None]
    return "| | |\n|---|---|\n" + "\n".join(rows) if rows else "Nothing was recorded."


def _learning(info: CheckpointInfo) -> list[str]:
    """The Hub's words for how a policy was learned; empty if none was."""
    kinds = {str(objective.get("type")) for objective in info.objectives.values()}
    if "ActorCriticConfig" in kinds:
        return ["reinforcement-learning"]
    return ["imitation-learning"] if any("Cloning" in kind for kind in kinds) else []


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


def evaluated(run: Path, checkpoint: Path) -> Result | None:
    """Return the results that lie in a run's folder, if they are of a checkpoint's weights.

    Args:
        run: The run's folder.
        checkpoint: One of its checkpoints.
    """
    folder = run / "evaluation"
    if not (folder / "results.json").is_file():
        return None
    results = Result.load(folder)
    own = file_hash(weights_of(checkpoint))
    return results if results.provenance.get("weights") == own else None
