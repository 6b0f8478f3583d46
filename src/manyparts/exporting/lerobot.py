"""Write a folder that LeRobot loads as a policy, with the plug-in `lerobot_policy_manyparts`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from manyparts.agents.loading import load
from manyparts.core.arguments import path_of
from manyparts.core.errors import UserError
from manyparts.core.naming import NAME
from manyparts.core.spec import Spec
from manyparts.core.storage.atomic import new_folder
from manyparts.exporting.policies import require_policy
from manyparts.models.run_files import AGENT, CONFIG, WEIGHTS


def export_to_lerobot(
    run: str | Path, output: str | Path, *, embodiment: str | None = None
) -> Spec:
    """Write the folder. It holds the agent's checkpoint and LeRobot's descriptions.

    Args:
        run: A run or checkpoint folder, or the name of an agent that comes with the package.
        output: The folder, which must not exist.
        embodiment: The robot to act for, if the agent learned several.

    Returns:
        What the policy observes and does.

    Raises:
        UserError: There is no such agent, or the folder exists; nothing is left.
    """
    output = path_of(output, "output")
    require_policy(run)
    with new_folder(output) as folder:
        agent = load(run, embodiment=embodiment)
        if agent.origin is None or not (agent.origin.checkpoint / WEIGHTS).is_file():
            raise UserError(f"{run} is an exported policy; LeRobot gets the run it was made of")
        (folder / AGENT).mkdir()
        for name in (CONFIG, WEIGHTS):
            shutil.copyfile(agent.origin.checkpoint / name, folder / AGENT / name)
        for name, values in _descriptions(agent.spec, embodiment).items():
            (folder / name).write_text(json.dumps(values, indent=2), encoding="utf-8")
        (folder / "README.md").write_text(_readme(run, agent.prompted), encoding="utf-8")
    return agent.spec


def _descriptions(spec: Spec, embodiment: str | None) -> dict[str, Any]:
    """LeRobot's files by name: of the policy, and of what is done before and after it."""
    inputs: dict[str, Any] = {
        f"observation.images.{name}": {"type": "VISUAL", "shape": [3, *size]}
        for name, size in spec.cameras.items()
    }
    if spec.state_names:
        inputs["observation.state"] = {"type": "STATE", "shape": [spec.state_dimension]}
    outputs = {"action": {"type": "ACTION", "shape": [spec.action.dimension]}}
    before = [
        _step("rename_observations_processor", rename_map={}),
        _step("to_batch_processor"),
        _step("device_processor", device="cpu", float_dtype=None),
    ]
    after = [_step("device_processor", device="cpu", float_dtype=None)]
    return {
        "config.json": {
            "type": NAME,
            "n_obs_steps": 1,
            "input_features": inputs,
            "output_features": outputs,
            "device": "cpu",
            "agent": AGENT,
            "embodiment": embodiment,
        },
        "policy_preprocessor.json": {"name": "policy_preprocessor", "steps": before},
        "policy_postprocessor.json": {"name": "policy_postprocessor", "steps": after},
    }


def _step(name: str, **config: Any) -> dict[str, Any]:
    return {"registry_name": name, "config": config}


def _readme(run: str | Path, prompted: bool) -> str:
    said = ' --dataset.single_task="open the drawer"' if prompted else ""
    return f"""# A policy of {NAME} for LeRobot

`{NAME} export {run} --format lerobot` wrote this folder. LeRobot loads it with the package
`lerobot_policy_{NAME}`, which is in `plugins/lerobot` of {NAME}.

```bash
lerobot-eval --policy.path=THIS_FOLDER --env.type={NAME} --env.run=THIS_FOLDER --env.task=SUITE/TASK
lerobot-record --policy.path=THIS_FOLDER{said} --robot.type=YOURS --dataset.repo_id=YOU/eval_set
```
"""
