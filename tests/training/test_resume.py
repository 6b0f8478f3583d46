"""A run that was killed and resumed is, to the bit, the run that was never killed."""

from __future__ import annotations

import json
import random
import shlex
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training.runs import config_named, first, rows, second, start, weights, write_dataset

from manyparts.cli import main
from manyparts.core.errors import UserError
from manyparts.models.checkpoint import load_info, read_weights
from manyparts.training import run_folder
from manyparts.training.config import OptimizerConfig, TrainConfig
from manyparts.training.train import train


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that is never killed."""
    return train(
        config_named("killed"),
        data=data,
        output=tmp_path_factory.mktemp("whole") / "run",
        device="cpu",
    )


class StopAt(Exception):
    """Stands for a kill, in a step that the test chooses."""


def stop_after(step: int, config: TrainConfig, **arguments) -> None:
    """Train, and break off in the middle of a step."""
    from manyparts.training.update import Learner

    whole_step = Learner.step

    def breaking(self, number, parts, *, stop=False):
        if number == step:
            raise StopAt
        return whole_step(self, number, parts, stop=stop)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(StopAt):
        patch.setattr(Learner, "step", breaking)
        train(config, device="cpu", **arguments)


def same_training(one: Path, other: Path) -> None:
    assert rows(one) == rows(other)
    assert weights(one) == weights(other)
    states = [
        torch.load(run / "checkpoints/last/training_state.pt", weights_only=True)
        for run in (one, other)
    ]
    assert all(
        torch.equal(states[0]["weights"][name], states[1]["weights"][name])
        for name in states[0]["weights"]
    )


@pytest.mark.parametrize(
    "step", [5, *(pytest.param(step, marks=pytest.mark.slow) for step in (3, 7, 31, 59))]
)
def test_resumed_runs_are_equal_to_bits(whole, data, tmp_path, step):
    """Checkpoints fall between rows, rows between validations, and dropout, masks and averages take
    part."""
    arguments = {"data": data, "output": tmp_path / "run"}
    stop_after(step, config_named("killed"), **arguments)
    train(config_named("killed"), resume=True, device="cpu", **arguments)
    same_training(whole, tmp_path / "run")


def test_tuning_resumes_without_its_first_run(first_run, data, tmp_path):
    config = second(steps=6, checkpoint_every_steps=2)
    started = tmp_path / "first"
    shutil.copytree(first_run, started, symlinks=True)
    whole = train(config, data=data, output=tmp_path / "whole", start_from=started, device="cpu")
    stop_after(5, config, data=data, output=tmp_path / "run", start_from=started)
    with pytest.raises(UserError, match=r"was begun from .*first, not from .*whole; resume it"):
        train(
            config,
            data=data,
            output=tmp_path / "run",
            start_from=tmp_path / "whole",
            resume=True,
            device="cpu",
        )
    run_folder.require_same_origin(tmp_path / "run", started)
    shutil.rmtree(started)
    train(config, data=data, output=tmp_path / "run", resume=True, device="cpu")
    assert rows(tmp_path / "run") == rows(whole) and weights(tmp_path / "run") == weights(whole)


def test_agents_of_the_package_are_recorded_by_name(whole, tmp_path, monkeypatch):
    """A path would lead nowhere for a run that is killed before its first checkpoint."""
    assert run_folder._origin_names("manyparts/metaworld45-small")[0].startswith("manyparts/")
    assert run_folder._origin_names("hf://owner/name")[0] == "hf:/owner/name"
    monkeypatch.chdir(whole.parent)
    assert run_folder._origin_names(whole.name)[0] == str(whole)
    with pytest.raises(UserError, match="was begun from nothing, not from elsewhere"):
        run_folder.require_same_origin(whole, "elsewhere")


def test_finished_runs_are_left_unchanged(whole, data, tmp_path):
    shutil.copytree(whole, tmp_path / "run", symlinks=True)
    train(config_named("killed"), data=data, output=tmp_path / "run", resume=True, device="cpu")
    same_training(whole, tmp_path / "run")


def test_resuming_nothing_trains_from_the_start(data, tmp_path, capsys):
    run = train(first(steps=2), data=data, output=tmp_path / "run", resume=True, device="cpu")
    assert "nothing to resume" in capsys.readouterr().err and len(rows(run)) == 2


def test_other_settings_are_refused_by_name(first_run, data):
    with pytest.raises(
        UserError, match=r"begun with other settings: optimizer\.learning_rate was 0\.001, is 0\.5"
    ):
        optimizer = replace(first().optimizer, learning_rate=0.5)
        train(first(optimizer=optimizer), data=data, output=first_run, resume=True, device="cpu")
    with pytest.raises(UserError, match="seed was 0, is 3; steps was 12, is 13"):
        train(first(seed=3, steps=13), data=data, output=first_run, resume=True, device="cpu")


def test_more_steps_name_the_next_call(first_run, data):
    with pytest.raises(
        UserError,
        match=r"was begun with 12 steps, .* cannot be resumed with 20; continue in a new run",
    ):
        train(first(steps=20), data=data, output=first_run, resume=True, device="cpu")
    with pytest.raises(UserError) as caught:
        train(first(steps=20), data=data, output=first_run, resume=True, device="cpu")
    call = (
        f"train(dataclasses.replace(config, steps=8), data='{data}', "
        f"start_from='{first_run}', output='NEW')"
    )
    assert str(caught.value).endswith(call)
    with pytest.raises(
        UserError, match="begun with other settings: steps was 12, is 5; resume it with its own"
    ):
        train(first(steps=5), data=data, output=first_run, resume=True, device="cpu")


def test_more_steps_name_the_next_command(data, tmp_path, capsys):
    run, other = tmp_path / "a run", tmp_path / "new"
    arguments = [
        "train",
        "dualmind/phase1-debug",
        "--data",
        str(data),
        "--model.width",
        "16",
        "--log-every-steps",
        "1",
    ]
    assert main([*arguments, "--output", str(run), "--steps", "2"]) == 0
    assert main([*arguments, f"--output={run}", "--steps=5", "--resume"]) == 2
    command = shlex.split(capsys.readouterr().err.rpartition("a new run that starts from it: ")[2])
    assert command == [
        "manyparts",
        *arguments,
        "--from",
        str(run),
        "--output",
        "NEW",
        "--steps",
        "3",
    ]
    assert main([str(other) if word == "NEW" else word for word in command[1:]]) == 0
    assert len(rows(other)) == 3


def test_how_often_to_log_may_change(first_run, data, tmp_path):
    shutil.copytree(first_run, tmp_path / "run", symlinks=True)
    train(first(log_every_steps=7), data=data, output=tmp_path / "run", resume=True, device="cpu")


def test_other_data_is_refused(first_run, tmp_path):
    other = write_dataset(tmp_path / "other", episodes=3)
    with pytest.raises(UserError, match=r"data was .*, is "):
        train(first(), data=other.path, output=first_run, resume=True, device="cpu")


def test_folders_without_runs_are_not_resumed(data, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="holds no run to resume"):
        train(first(), data=data, output=tmp_path, resume=True, device="cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("kept_bytes", [0, 1000])
def test_torn_training_states_are_named(first_run, data, tmp_path, kept_bytes):
    shutil.copytree(first_run, tmp_path / "run", symlinks=True)
    state = tmp_path / "run/checkpoints/last/training_state.pt"
    state.write_bytes(state.read_bytes()[:kept_bytes])
    with pytest.raises(UserError, match=r"training_state\.pt cannot be read"):
        train(first(), data=data, output=tmp_path / "run", resume=True, device="cpu")


def kill_at_random_moments(kills: int, data: Path, run: Path, seed: int) -> int:
    """SIGKILL a run that many times, at random moments after its config is
    written, and check what is left each time; then let it end. Returns how many kills hit a run
    that had not ended."""
    moment, hits = random.Random(seed), 0
    for _ in range(kills):
        process = start("killed", data, run, resume=run.exists())
        started = time.monotonic()
        while not (run / "config.json").exists() and process.poll() is None:
            assert time.monotonic() - started < 300
            time.sleep(0.005)
        time.sleep(moment.uniform(0, 4))
        hits += process.poll() is None
        process.kill()
        process.communicate()
        require_whole(run)
    process = start("killed", data, run, resume=True)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return hits


def require_whole(run: Path) -> None:
    """Whatever a kill leaves can be read: the config, the rows but for a torn last one, the last
    checkpoint."""
    if (run / "config.json").exists():
        json.loads((run / "config.json").read_text())
    if (run / "metrics.jsonl").exists():
        lines = (run / "metrics.jsonl").read_text().splitlines()
        steps = [json.loads(line)["step"] for line in lines[:-1]]
        assert steps == sorted(set(steps))
    last = run / "checkpoints" / "last"
    if last.exists():
        load_info(last)
        assert read_weights(last / "model.safetensors")
        assert torch.load(last / "training_state.pt", weights_only=True)["step"] == int(
            last.resolve().name
        )


@pytest.mark.slow
def test_two_kills_leave_results_equal(whole, data, tmp_path):
    kill_at_random_moments(2, data, tmp_path / "run", seed=0)
    same_training(whole, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_twenty_kills_leave_results_equal(whole, data, tmp_path, seed):
    """Four runs of five kills, so that every part of a run is hit."""
    hits = kill_at_random_moments(5, data, tmp_path / "run", seed=10 + seed)
    assert hits
    same_training(whole, tmp_path / "run")


def test_learning_rates_resume_where_they_were(data, tmp_path):
    config = first(steps=8, checkpoint_every_steps=3, optimizer=OptimizerConfig(warmup_steps=4))
    whole = train(config, data=data, output=tmp_path / "whole", device="cpu")
    stop_after(5, config, data=data, output=tmp_path / "run")
    run = train(config, data=data, output=tmp_path / "run", resume=True, device="cpu")
    assert [row["learning_rate"] for row in rows(run)] == [
        row["learning_rate"] for row in rows(whole)
    ]
