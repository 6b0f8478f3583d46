"""Evaluation: the same result however it is run, unseen goals, and nothing mixed up when it is
resumed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evaluation.evaluating import CONFIG, TASKS, evaluate_small, make_run
from factories import make_agent
from rollout.collecting import digest

from manyparts import cli
from manyparts.agents.loading import load
from manyparts.core.errors import UserError
from manyparts.core.records import Prompt
from manyparts.envs.base import EnvConfig
from manyparts.envs.registry import instructions, make
from manyparts.evaluation.attention import Attention
from manyparts.evaluation.episodes import video_name
from manyparts.evaluation.protocol import evaluate, evaluate_reference
from manyparts.evaluation.results import Result, compare
from manyparts.rollout.loop import rollout


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"), seed=3)


@pytest.fixture(scope="module")
def reference(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one undisturbed worker finds."""
    folder = tmp_path_factory.mktemp("reference") / "evaluation"
    evaluate_small(run, folder, workers=1, videos=1)
    return folder


def test_evaluated_episodes_equal_the_rollout(run: Path, reference: Path) -> None:
    result = Result.load(reference)
    assert result.tasks == TASKS
    assert [record.index for record in result.episodes] == [0, 1, 2, 3] * 2
    assert len({(record.task, record.seed) for record in result.episodes}) == 8
    agent = load(run)
    for record in result.episodes[::3]:
        env = make(record.task, CONFIG, split="evaluation")
        assert record.prompt == instructions(record.task).instruction
        alone = rollout(env, agent, seed=record.seed, prompt=Prompt(record.prompt), explore=False)
        assert (alone.success_any, alone.success_last) == (record.success_any, record.success_last)
        assert alone.length == record.length == 30
        assert alone.return_ == pytest.approx(record.return_, rel=1e-5)


@pytest.mark.slow
def test_loaded_agent_equals_its_folder(run: Path, reference: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"episodes": 4, "seed": 3, "workers": 1}
    result = evaluate(load(run), output=tmp_path / "agent", **settings)
    assert result == evaluate(str(run), output=tmp_path / "folder", **settings)
    assert result.episodes == Result.load(reference).episodes
    alone = evaluate(load(run), tasks=TASKS[1], output=tmp_path / "alone", **settings)
    assert alone.tasks == TASKS[1:]


def test_agents_workers_cannot_load_are_refused(run: Path, tmp_path: Path) -> None:
    changed, made = load(run), make_agent()
    with torch.no_grad():
        next(iter(changed.system.parameters())).add_(1)
    for agent, says in (
        (changed, "weights are no longer those of"),
        (made, "was not loaded from a folder"),
    ):
        with pytest.raises(UserError, match=rf"{says}.*rollout\(env, agent"):
            evaluate(agent, output=tmp_path / "evaluation")
    assert not (tmp_path / "evaluation").exists()


@pytest.mark.slow
def test_own_instruction_applies_to_all_tasks(run: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"episodes": 1, "workers": 1, "max_steps": 3}
    instructed = evaluate(
        run, prompts="go to the left, please", output=tmp_path / "one", **settings
    )
    assert {record.prompt for record in instructed.episodes} == {"go to the left, please"}
    assert instructed.provenance["prompts"] == "go to the left, please"
    same = evaluate(
        run, prompts=Prompt("go to the left, please"), output=tmp_path / "one", **settings
    )
    assert same.episodes == instructed.episodes
    with pytest.raises(UserError, match="prompts"):
        compare(instructed, evaluate(run, output=tmp_path / "usual", **settings))


@pytest.mark.slow
def test_results_folder_ignores_worker_count(run: Path, reference: Path, tmp_path: Path) -> None:
    evaluate_small(run, tmp_path / "evaluation", workers=2, videos=1)
    assert contents(tmp_path / "evaluation") == contents(reference)


@pytest.mark.slow
def test_torn_line_is_run_again(run: Path, reference: Path, tmp_path: Path) -> None:
    folder = tmp_path / "evaluation"
    folder.mkdir()
    (folder / "manifest.json").write_text((reference / "manifest.json").read_text())
    lines = (reference / "episodes.jsonl").read_text().splitlines(keepends=True)
    (folder / "episodes.jsonl").write_text("".join(lines[2:5]) + lines[5][:40])
    evaluate_small(run, folder, workers=1, videos=1)
    assert contents(folder) == contents(reference)


@pytest.mark.slow
def test_killed_evaluation_gives_same_result(run: Path, reference: Path, tmp_path: Path) -> None:
    assert kill_until_done(run, tmp_path / "evaluation", kills=1, seed=0, episodes=4) == 1
    assert contents(tmp_path / "evaluation") == contents(reference)


@pytest.mark.slow
def test_twenty_kills_give_same_result(run: Path, tmp_path: Path) -> None:
    evaluate_small(run, tmp_path / "whole", episodes=60, videos=1)
    assert kill_until_done(run, tmp_path / "evaluation", kills=20, seed=1, episodes=60) == 20
    assert contents(tmp_path / "evaluation") == contents(tmp_path / "whole")


@pytest.mark.slow
def test_evaluations_do_not_mix(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "evaluation"
    evaluate(run, episodes=1, seed=3, workers=1, output=folder)
    with pytest.raises(
        UserError, match=r"was begun with other settings \(seeds.evaluation was 3, is 4\)"
    ):
        evaluate(run, episodes=1, seed=4, workers=1, output=folder)
    other = make_run(tmp_path / "other", seed=2)
    with pytest.raises(UserError, match=r"was begun with other settings .*weights"):
        evaluate(other, episodes=1, seed=3, workers=1, output=folder)
    again = evaluate(other, episodes=1, seed=3, workers=1, output=folder, overwrite=True)
    assert len(again.episodes) == 2


def test_first_successes_and_failures_are_filmed(reference: Path) -> None:
    result = Result.load(reference)
    expected = set()
    for task in TASKS:
        for outcome in (True, False):
            records = [r for r in result.episodes if r.task == task and r.success_any == outcome][
                :1
            ]
            name = "success" if outcome else "failure"
            stems = [f"videos/{task.replace('/', '_')}/{name}-{record.seed}" for record in records]
            expected |= {f"{stem}.{kind}" for stem in stems for kind in ("mp4", "npz")}
    files = {str(path.relative_to(reference)) for path in reference.glob("videos/*/*")}
    assert files == expected
    assert {Path(name).name.partition("-")[0] for name in files} == {"success", "failure"}
    assert all(path.stat().st_size < 50_000 for path in reference.glob("videos/*/*"))


def test_video_comes_with_its_attention(run: Path, reference: Path) -> None:
    agent = load(run)
    for record in Result.load(reference).episodes:
        path = (reference / "videos" / video_name(record)).with_suffix(".npz")
        if path.exists():
            recorded = Attention.load(path)
            env = make(record.task, CONFIG, split="evaluation")
            (camera,), first = env.embodiment_spec.cameras, env.reset(seed=record.seed)[0]["images"]
            np.testing.assert_array_equal(recorded.frames[camera][0], first[camera])
            np.testing.assert_allclose(
                recorded.maps[camera], agent.attention(recorded.frames)[camera], atol=1e-5
            )
            assert recorded.steps[0] == 0 and (recorded.steps % agent.window.chunk == 0).all()
            assert len(recorded.steps) == 6 or record.success_any


@pytest.mark.slow
def test_video_without_attention_is_filmed_again(
    run: Path, reference: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "evaluation"
    shutil.copytree(reference, folder)
    next(folder.glob("videos/*/*.npz")).unlink()
    evaluate_small(run, folder, workers=1, videos=1)
    assert contents(folder) == contents(reference)


@pytest.mark.slow
def test_held_out_prompts_and_max_steps(run: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "tasks": TASKS[:1],
        "episodes": 3,
        "workers": 1,
        "output": tmp_path / "evaluation",
    }
    result = evaluate(run, prompts="held_out", max_steps=7, **options)
    wording = instructions(TASKS[0])
    prompts = [record.prompt for record in result.episodes]
    assert prompts == [wording.held_out[index % len(wording.held_out)] for index in range(3)]
    assert not set(prompts) & {wording.instruction, *wording.paraphrases}
    assert {record.length for record in result.episodes} == {7}
    assert (result.provenance["prompts"], result.provenance["max_steps"]) == ("held_out", 7)


@pytest.mark.slow
def test_until_success_changes_no_success(run: Path, reference: Path, tmp_path: Path) -> None:
    whole = Result.load(reference)
    short = evaluate(
        run, episodes=4, seed=3, workers=1, until_success=True, output=tmp_path / "evaluation"
    )
    assert [record.success_any for record in short.episodes] == [
        record.success_any for record in whole.episodes
    ]
    lengths = {record.success_any: record.length for record in short.episodes}
    assert lengths[True] < lengths[False] == 30
    with pytest.raises(UserError, match="until_success"):
        compare(reference, tmp_path / "evaluation")


@pytest.mark.slow
def test_agent_acts_in_bf16(run: Path, reference: Path, tmp_path: Path) -> None:
    rounded, exact = (
        evaluate(run, episodes=1, seed=3, precision="bf16", output=tmp_path / "rounded"),
        Result.load(reference),
    )
    assert rounded.provenance["precision"] == "bf16" and exact.provenance["precision"] == "fp32"
    of_rounded, of_exact = (
        {(r.task, r.index): r.return_ for r in each.episodes} for each in (rounded, exact)
    )
    assert all(
        of_rounded[key] == pytest.approx(of_exact[key], rel=0.1)
        and of_rounded[key] != of_exact[key]
        for key in of_rounded
    )


def test_provenance_of_a_result(run: Path, reference: Path) -> None:
    provenance = json.loads((reference / "results.json").read_text())["provenance"]
    assert provenance["config_hash"] == "config-3"
    assert provenance["dataset_fingerprint"] == "data"
    assert provenance["seeds"] == {"evaluation": 3, "training": 3}
    assert provenance["versions"]["torch"]
    assert provenance["simulators"]["pointmass"]["numpy"] == np.__version__
    assert (provenance["split"], provenance["prompts"], provenance["max_steps"]) == (
        "evaluation",
        "instruction",
        30,
    )
    assert {
        "commit",
        "renderer",
        "weights",
        "environment",
        "tasks",
        "episodes",
    } <= provenance.keys()


@pytest.mark.slow
def test_two_runs_meet_same_goals(reference: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", seed=2)
    evaluate_small(other, tmp_path / "evaluation", workers=1)
    a, b = Result.load(reference), Result.load(tmp_path / "evaluation")
    assert [record.seed for record in a.episodes] == [record.seed for record in b.episodes]
    assert [record.return_ for record in a.episodes] != [record.return_ for record in b.episodes]
    assert compare(a, b).mismatches == ()


def test_agent_of_another_embodiment_is_refused(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "other" / "checkpoints" / "last"
    folder.mkdir(parents=True)
    source = run / "checkpoints" / "last"
    (folder / "model.safetensors").write_bytes((source / "model.safetensors").read_bytes())
    info = json.loads((source / "config.json").read_text())
    info["embodiments"][0]["spec"]["action"]["control_rate_hz"] = 5.0
    (folder / "config.json").write_text(json.dumps(info))
    with pytest.raises(
        UserError,
        match=r"pointmass/\S+ has another embodiment than the agent .*control_rate_hz: 5.0",
    ):
        evaluate_small(tmp_path / "other", tmp_path / "evaluation", workers=1)
    assert not (tmp_path / "evaluation").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": ["pointmass/moon"]}, "pointmass/moon"),
        ({"episodes": 0}, "episodes is 0; expected at least 1"),
        ({"videos": -1}, "videos is -1; expected at least 0"),
        ({"max_steps": 0}, "max_steps is 0; expected at least 1"),
        ({"workers": 0}, "workers is 0"),
        ({"device": "abacus"}, "device 'abacus' is not there"),
    ],
)
def test_bad_input_leaves_nothing(
    run: Path, changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as refused:
        evaluate(run, output=tmp_path / "evaluation", **changes)  # type: ignore[arg-type]
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def contents(folder: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """All that an evaluation left, but for the commit, which changes when somebody works on the
    code meanwhile."""
    files = digest(folder)
    del files["results.json"]
    result = json.loads((folder / "results.json").read_text())
    del result["provenance"]["commit"]
    return files, result


def kill_until_done(run: Path, output: Path, *, kills: int, seed: int, episodes: int) -> int:
    """Start evaluating, kill it after some more episodes, and so on, then let it finish. Returns
    the kills that hit."""
    script = Path(__file__).with_name("evaluating.py")
    command = [sys.executable, str(script), str(run), str(output), str(episodes), "1"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    generator = random.Random(seed)
    hit = 0
    for kill in range(kills):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment)
        fraction = 0.8 * (kill + generator.random()) / kills
        wait_for_episodes(output / "episodes.jsonl", int(fraction * episodes * len(TASKS)), process)
        time.sleep(generator.random() * 0.02)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            hit += 1
        process.wait()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, env=environment)
    return hit


def wait_for_episodes(
    path: Path, count: int, process: subprocess.Popen[bytes], timeout_seconds: float = 900
) -> None:
    deadline = time.monotonic() + timeout_seconds
    while (
        not (path.exists() and path.read_bytes().count(b"\n") >= count) and process.poll() is None
    ):
        assert time.monotonic() < deadline, f"{count} episodes in {path} never came"
        time.sleep(0.002)


@pytest.mark.slow
def test_references_are_ceiling_and_floor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = {}
    for agent in ("expert", "random"):
        asked = ["--tasks", "pointmass/reach-red", "--episodes", "3", "--max-steps", "60"]
        assert cli.main(["evaluate", agent, *asked, "--output", str(tmp_path / agent)]) == 0
        results[agent] = Result.load(tmp_path / agent)
    assert (
        results["expert"].aggregate["success_any"].mean
        == 1
        > results["random"].aggregate["success_any"].mean
    )
    assert results["expert"].provenance["agent"] == "expert"
    assert [each.seed for each in results["expert"].episodes] == [
        each.seed for each in results["random"].episodes
    ]
    assert cli.main(["evaluate", "expert", "--episodes", "1"]) == 2
    assert "expert is no run: it needs --tasks and --output" in capsys.readouterr().err
    asked = [
        "--tasks",
        "pointmass/reach-red",
        "--output",
        str(tmp_path / "none"),
        "--device",
        "cuda",
        "--planner",
        "cem",
    ]
    assert cli.main(["evaluate", "expert", *asked]) == 2 and not (tmp_path / "none").exists()
    assert "expert learned nothing: --device, --planner are not for it" in capsys.readouterr().err


@pytest.mark.slow
def test_reference_keeps_horizon_and_videos(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "output": tmp_path,
        "episodes": 2,
        "environment": EnvConfig(image_size=16, max_steps=7),
    }
    first = evaluate_reference("random", ["pointmass/reach-red"], videos=1, workers=1, **settings)
    assert [each.length for each in first.episodes] == [7, 7]
    films = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.mp4")}
    assert (
        films
        and evaluate_reference("random", ["pointmass/reach-red"], videos=1, workers=1, **settings)
        == first
    )
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.mp4")} == films, (
        "filmed once"
    )
