"""How far success follows the prompt: every kind of prompt, and every task's prompt in every task's
scenes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from manyparts.core.errors import UserError
from manyparts.core.serialisation import from_jsonable, to_jsonable
from manyparts.core.storage.atomic import write_atomically
from manyparts.data.sampling.config import WindowConfig
from manyparts.envs import registry
from manyparts.evaluation.conditions import trained_tasks
from manyparts.evaluation.prompt_kinds import Prompts, kinds_for
from manyparts.evaluation.prompt_results import PROMPTS, PromptStudy
from manyparts.evaluation.protocol import evaluate
from manyparts.evaluation.record import UNKNOWN
from manyparts.evaluation.results import Result
from manyparts.models.checkpoint import load_info
from manyparts.models.run_files import resolve, results_folder


def study_prompts(
    run: str | Path,
    *,
    tasks: Sequence[str] | None = None,
    episodes: int = 10,
    matrix_with: Prompts = "instruction",
    seed: int = 0,
    workers: int | None = None,
    max_steps: int | None = None,
    overwrite: bool = False,
) -> PromptStudy:
    """Evaluate an agent under every kind of prompt that it was trained for, and under every task's
    prompt.

    Results are those of `evaluate` on the evaluation split, in RUN/prompts, with the summary in
    prompts.json. A second call does only what is missing.

    Args:
        run: a run or checkpoint folder.
        tasks: names or splits; None: the tasks the agent was trained on.
        episodes: episodes per task and prompt.
        matrix_with: the kind of prompt in the matrix.
        seed: seed of the goals.
        workers: simulator processes; None: one per core.
        max_steps: steps per episode; None: the suite's horizon.
        overwrite: see `evaluate`.

    Raises:
        UserError: see `evaluate`.
    """
    info = load_info(resolve(run))
    chosen = tuple(dict.fromkeys(registry.expand(tasks or trained_tasks(info, run))))
    folder = results_folder(run, "prompts")

    def evaluated(name: str, prompts: Prompts, prompt_task: str | None = None) -> Result:
        result = evaluate(
            run,
            tasks=chosen,
            episodes=episodes,
            seed=seed,
            workers=workers,
            prompts=prompts,
            prompt_task=prompt_task,
            max_steps=max_steps,
            until_success=True,
            output=folder / name.replace("/", "-"),
            overwrite=overwrite,
        )
        if result.known != result.tasks:
            unknown = next(task for task in result.tasks if task not in result.known)
            raise UserError(
                f"success of {unknown} is {UNKNOWN}, so nothing says how far it follows the prompt"
            )
        return result

    kinds = {
        kind: evaluated(kind, kind).aggregate["success_any"]
        for kind in kinds_for(from_jsonable(WindowConfig, info.window))
    }
    matrix = {}
    for task in chosen:
        result = evaluated(f"{matrix_with} of {task}", matrix_with, task)
        matrix[task] = {scene: row["success_any"] for scene, row in result.per_task.items()}
    study = PromptStudy(episodes, matrix_with, kinds, matrix, seed, max_steps)
    write_atomically(folder / PROMPTS, json.dumps(to_jsonable(study), indent=1).encode())
    return study
