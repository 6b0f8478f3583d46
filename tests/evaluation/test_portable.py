"""Episodes as jobs for other machines: JSON values in and out, and the same records."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from cli.running import one_line, run
from evaluation.evaluating import CONFIG, TASKS, make_run

from manyparts.core.errors import UserError
from manyparts.envs.registry import make
from manyparts.evaluation.episodes import (
    EvaluationConfig,
    EvaluationJob,
    portable_episodes,
    run_episode,
    run_portable_episode,
)
from manyparts.evaluation.protocol import evaluate
from manyparts.models.checkpoint import resolve
from manyparts.planners import CemConfig


def config_of(agent: Any) -> EvaluationConfig:
    return EvaluationConfig(agent, {"pointmass": CONFIG}, 3, "evaluation", "instruction", "cpu")


@pytest.mark.parametrize("agent", ["expert", "random", "run"])
def test_records_are_the_same(tmp_path: Path, agent: str) -> None:
    config = config_of(resolve(make_run(tmp_path / "run")) if agent == "run" else agent)
    job = EvaluationJob(TASKS[1], 2, tmp_path / "videos")
    wanted = run_episode(config, replace(job, video=None))
    portable = portable_episodes(config)
    assert portable.function.endswith(":run_portable_episode")
    shared, values = json.loads(json.dumps([portable.shared, portable.write(job)]))
    got = json.loads(json.dumps(run_portable_episode(shared, values)))
    assert portable.read(got) == wanted
    assert len(list((tmp_path / "videos").rglob("*.mp4"))) == 1


def test_planners_and_settings_arrive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = replace(config_of(Path("run")), planner=CemConfig(), until_success=True)
    seen: list[EvaluationConfig] = []

    def note(config: EvaluationConfig, job: EvaluationJob) -> Any:
        seen.append(config)
        return run_episode(config_of("random"), job)

    monkeypatch.setattr("manyparts.evaluation.episodes.run_episode", note)
    portable = portable_episodes(config)
    run_portable_episode(portable.shared, portable.write(EvaluationJob(TASKS[0], 0)))
    assert seen == [replace(config, agent=tmp_path / "run")], "nodes work in other folders"


def test_own_environments_stay_in_this_process() -> None:
    env = make(TASKS[0], CONFIG, split="evaluation")
    with pytest.raises(UserError, match="executor is 'ray://head:6379', and env is evaluated in"):
        evaluate(cast(Any, object()), env=env, executor="ray://head:6379")


def test_served_agents_act_for_this_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ("--output", tmp_path / "evaluation")
    assert run("evaluate", "ws://127.0.0.1:1", *output, "--executor", "slurm") == 2
    assert "simulators for ws://127.0.0.1:1 run on this machine: --executor" in one_line(capsys)
