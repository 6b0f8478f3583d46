"""Runs vla-eval 0.8.0 on a server; prints its episodes as JSON. usage: URL FOLDER CAMERA"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from vla_eval import api
from vla_eval.benchmarks.base import StepBenchmark, StepResult
from vla_eval.specs import IMAGE_RGB, LANGUAGE, RAW

STEPS = 4


class Made(StepBenchmark):
    """Two tasks with made-up images; a success if every action is within [-1, 1]."""

    def __init__(self, camera: str) -> None:
        super().__init__()
        self.camera, self.steps, self.good = camera, 0, True

    def get_tasks(self) -> list[dict]:
        return [{"name": "red", "suite": "made"}, {"name": "blue", "suite": "made"}]

    def reset(self, task: dict) -> int:
        self.steps, self.good = 0, True
        return 0

    def step(self, action: dict) -> StepResult:
        actions = np.atleast_2d(np.asarray(action["actions"]))
        self.good &= actions.shape[-1] == 2 and bool((np.abs(actions) <= 1).all())
        self.steps += 1
        return StepResult(obs=self.steps, reward=0.0, done=self.steps >= STEPS, info={})

    def make_obs(self, raw: int, task: dict) -> dict:
        generator = np.random.default_rng(raw)
        return {
            "images": {self.camera: generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)},
            "states": generator.uniform(-0.5, 0.5, 2).astype(np.float32),
            "task_description": f"reach the {task['name']} target",
        }

    def get_step_result(self, result: StepResult) -> dict:
        return {"success": self.good}

    def get_action_spec(self) -> dict:
        return {"action": RAW}

    def get_observation_spec(self) -> dict:
        return {"image": IMAGE_RGB, "language": LANGUAGE, "state": RAW}


def main(url: str, folder: str, camera: str) -> None:
    benchmark = {
        "benchmark": "vla_eval_program:Made",
        "episodes_per_task": 2,
        "max_steps": STEPS,
        "params": {"camera": camera},
    }
    config = {"server": {"url": url}, "benchmarks": [benchmark], "output_dir": folder}
    results = api.run(config, docker=False, no_save=True)
    episodes = [e for result in results for task in result["tasks"] for e in task["episodes"]]
    outcomes = [bool(e["metrics"]["success"]) for e in episodes]
    reasons = [e.get("failure_reason") for e in episodes]
    Path(folder, "outcomes.json").write_text(json.dumps({"success": outcomes, "failed": reasons}))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main(*sys.argv[1:])
