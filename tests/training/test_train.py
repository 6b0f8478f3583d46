"""A run from data to folder: what it leaves, what it refuses, what it keeps when it is stopped."""

from __future__ import annotations

import fcntl
import json
import shutil
import signal
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from data.synthetic import make_episode, make_spec, write
from training.runs import (
    first,
    rows,
    second,
    start,
    wait_for_rows,
    weights,
    with_bad_action,
    write_dataset,
)

from manyparts.agents.loading import load
from manyparts.core.errors import UserError
from manyparts.core.records import Prompt
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.config import WindowConfig
from manyparts.data.sampling.splits import split_episodes
from manyparts.methods import preset
from manyparts.models.checkpoint import WEIGHTS, load_info, read_weights, resolve
from manyparts.training.config import AugmentationConfig, OptimizerConfig
from manyparts.training.run_folder import read_config
from manyparts.training.train import train


def test_runs_leave_config_metrics_and_checkpoints(first_run, data):
    config, facts = read_config(first_run)
    assert config == first()
    assert facts["data"] == str(data) and facts["start_from"] is None
    assert {"commit", "versions", "dataset_fingerprint", "config_hash", "arguments"} <= facts[
        "provenance"
    ].keys()
    assert [row["step"] for row in rows(first_run)] == list(range(1, 13))
    last = rows(first_run)[-1]
    names = ("forward_dynamics", "inverse_dynamics", "masked_hindsight")
    assert {f"loss/{name}" for name in names} | {
        f"validation/{name}" for name in names
    } <= last.keys()
    assert {"loss", "gradient_norm", "learning_rate"} <= last.keys()
    assert list((first_run / "tensorboard").iterdir())
    info = load_info(resolve(first_run))
    assert [task.name for task in info.tasks] == [
        "toy/reach",
        "toy/push",
    ] and info.embodiment_set.specs == (make_spec(),)
    assert info.provenance == facts["provenance"]


def test_training_lowers_the_loss(data, tmp_path):
    optimizer = OptimizerConfig(learning_rate=3e-3, warmup_steps=5)
    run = train(
        first(steps=60, optimizer=optimizer), data=data, output=tmp_path / "run", device="cpu"
    )
    losses = [row["loss"] for row in rows(run)]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_trap_frozen_weights_keep_their_bits(first_run, data, tmp_path):
    """Trap: frozen weights do not change by a bit."""
    config = second(cache_features=False)
    run = train(config, data=data, output=tmp_path / "second", start_from=first_run, device="cpu")
    before, after = weights(first_run), weights(run)
    frozen = (
        "model.embedding.encoders.",
        "model.embedding.token_learners.",
        "model.embedding.projections.",
    )
    kept = [name for name in after if name.startswith(frozen)]
    assert kept and all(after[name] == before[name] for name in kept)
    assert all(
        before[name] != after[name]
        for name in after
        if name.startswith("model.blocks.") and "weight" in name
    )
    assert not any(name.startswith("objectives.forward_dynamics") for name in after)
    assert load_info(resolve(run)).model["prompt"] is not None
    assert read_config(run)[1]["start_from"] == str(first_run)
    assert (
        load_info(resolve(run)).provenance["start_from"] == load_info(resolve(first_run)).provenance
    )


@pytest.mark.parametrize("cached", [True, False])
def test_agents_act_on_goal_images(first_run, data, tmp_path, cached):
    whole = (
        {}
        if cached
        else {"cache_features": False, "train_only": (), "new_parameters": second().new_parameters}
    )
    config = replace(preset("dualmind/phase2-prompts-debug"), steps=3, log_every_steps=1, **whole)
    agent = load(
        train(config, data=data, output=tmp_path / "run", start_from=first_run, device="cpu")
    )
    (camera, size), *_ = agent.spec.cameras.items()
    observation = {
        "images": {camera: np.zeros((*size, 3), np.uint8)},
        "state": np.zeros(agent.spec.state_dimension, np.float32),
    }
    goal = Prompt(goal={camera: np.full((*size, 3), 9, np.uint8)})
    action, _ = agent.act(None, observation, goal, explore=False)
    assert np.isfinite(action).all()


@pytest.mark.parametrize(
    "augmentation", [AugmentationConfig(1, (0.8, 1.0), 0.2), AugmentationConfig()]
)
def test_runs_ignore_the_callers_random_state(data, tmp_path, augmentation):
    config = first(steps=4, augmentation=augmentation)
    runs = []
    for number in range(2):
        torch.manual_seed(number)
        state = torch.get_rng_state()
        runs.append(train(config, data=data, output=tmp_path / str(number), device="cpu"))
        assert torch.equal(torch.get_rng_state(), state)
    assert rows(runs[0]) == rows(runs[1]) and weights(runs[0]) == weights(runs[1])
    assert not torch.are_deterministic_algorithms_enabled()


def test_another_seed_gives_another_run(first_run, data, tmp_path):
    run = train(first(steps=4, seed=1), data=data, output=tmp_path / "run", device="cpu")
    assert rows(run)[0]["loss"] != rows(first_run)[0]["loss"]


def test_newest_checkpoints_hold_averaged_weights(data, tmp_path):
    config = first(steps=8, checkpoint_every_steps=2, ema_decay=0.5)
    run = train(config, data=data, output=tmp_path / "run", device="cpu")
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == [
        "000006",
        "000008",
        "last",
    ]
    state = torch.load(run / "checkpoints/last/training_state.pt", weights_only=True)
    averaged = read_weights(run / "checkpoints/last" / WEIGHTS)
    assert any(not torch.equal(averaged[name], value) for name, value in state["weights"].items())


def test_statistics_of_the_first_run_stay(first_run, tmp_path):
    other = write(
        tmp_path / "data",
        [replace(make_episode(i, 20), state=make_episode(i, 20).state * 5) for i in range(4)],
    )
    run = train(
        second(steps=1),
        data=other.path,
        output=tmp_path / "run",
        start_from=first_run,
        device="cpu",
    )
    statistics = [load_info(resolve(each)).embodiments[0].statistics for each in (run, first_run)]
    assert statistics[0] == statistics[1]


def test_large_tasks_have_held_out_episodes():
    task = np.asarray([0] * 40 + [1] * 10 + [2] * 3)
    training, held_out = split_episodes(task, 0.05, seed=0)
    assert sorted([*training, *held_out]) == list(range(53))
    assert np.bincount(task[held_out], minlength=3).tolist() == [2, 1, 0]
    assert (split_episodes(task, 0.05, seed=0)[1] == held_out).all()
    assert not all(
        (split_episodes(task, 0.05, seed=seed)[1] == held_out).all() for seed in range(1, 5)
    )
    assert len(split_episodes(task, 0.0, seed=0)[1]) == 0


def test_losses_not_finite_name_the_episode(tmp_path):
    episodes = [make_episode(seed, 20) for seed in range(6)]
    episodes[3] = with_bad_action(episodes[3], frame=10)
    data = write(tmp_path / "data", episodes)
    config = second(
        steps=50, batch_size=2, cache_features=False, train_only=(), validation_fraction=0.0
    )
    with pytest.raises(UserError) as caught:
        train(config, data=data.path, output=tmp_path / "run", device="cpu")
    message = str(caught.value)
    assert (
        "loss behaviour_cloning not finite" in message and "episode 3 (toy/push), frames" in message
    )
    assert "episode 0" not in message and "\n" not in message
    step = int(message.split(":")[0].removeprefix("step "))
    assert resolve(tmp_path / "run").name == f"{step:06d}" and len(rows(tmp_path / "run")) == step
    assert all(
        value.isfinite().all()
        for value in read_weights(resolve(tmp_path / "run") / WEIGHTS).values()
    )


@pytest.mark.parametrize(
    ("column", "value", "imitation", "says"),
    [
        (
            "next.reward",
            np.nan,
            False,
            r"next.reward is nan, which nothing can be learned from; choices: correct",
        ),
        ("next.reward", -np.inf, False, r"next.reward is -inf, which nothing"),
        ("observation.state", np.inf, False, r"observation.state hand_x is inf, which nothing"),
        (
            "action",
            1.1,
            False,
            r"action x is 1.1, but the action contract allows -1 to 1, .*; choices: clip",
        ),
        ("expert_action", np.nan, True, r"expert_action x is nan, which nothing"),
        ("action", np.nan, False, r"action x is nan, which nothing can be learned from"),
        ("action", np.nan, True, r"action x is nan, which nothing can be learned from"),
        ("action", 1.0001, False, None),
        ("action", 1.1, True, None),
        ("expert_action", 1.1, False, None),
        ("next.reward", np.nan, True, None),
    ],
)
def test_unlearnable_data_is_refused_without_writing(
    tmp_path, monkeypatch, column, value, imitation, says
):
    """A policy reads no rewards, and takes actions as they are; 1.0001 is rounding."""
    data, whole = write_dataset(tmp_path / "data", episodes=3), EpisodeDataset.columns

    def spoilt(self, index):
        columns = whole(self, index)
        if index == 2:
            columns[column] = columns[column].copy()
            columns[column].reshape(20, -1)[7, 0] = value
        return columns

    monkeypatch.setattr(EpisodeDataset, "columns", spoilt)
    monkeypatch.setenv("MANYPARTS_CACHE", str(tmp_path / "cache"))
    name = "inverse_dynamics/finetune-states-debug" if imitation else "dynamics/mlp-debug"
    options = {"data": data.path, "output": tmp_path / "run", "device": "cpu"}
    if says is None:
        train(replace(preset(name), steps=1), **options)
        return
    with pytest.raises(UserError, match=rf"data: episode 2, step 7: {says}"):
        train(replace(preset(name), steps=1), **options)
    assert not (tmp_path / "run").exists() and not (tmp_path / "cache").exists()


@pytest.mark.parametrize("several", [False, True])
def test_opened_datasets_train_as_their_folders(several, data, tmp_path):
    opened = EpisodeDataset.open(data)
    for name, dataset in (("folder", str(data)), ("opened", opened)):
        train(
            first(steps=2),
            data=[dataset, data] if several else dataset,
            output=tmp_path / name,
            device="cpu",
        )
    assert rows(tmp_path / "folder") == rows(tmp_path / "opened")


def test_datasets_with_changed_specs_are_refused(data, tmp_path):
    opened = EpisodeDataset.open(data)
    opened.spec = replace(opened.spec, embodiment="other")
    with pytest.raises(UserError, match="was changed after it was opened; open it again"):
        train(first(), data=opened, output=tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_overlong_windows_train_with_a_note(data, tmp_path, capsys):
    longest = int(np.diff(EpisodeDataset.open(data).starts).max())
    chunk = first().window.chunk
    for steps, is_noted in ((longest // chunk, False), (longest // chunk + 1, True)):
        config = first(steps=1, window=WindowConfig(steps=steps, chunk=chunk))
        train(config, data=data, output=tmp_path / str(steps), device="cpu")
        note = f"windows are of {steps * chunk} frames, but the longest episode has {longest}"
        assert (note in capsys.readouterr().err) == is_noted


def test_folders_in_use_are_left_unchanged(first_run, data):
    before = {path: path.stat().st_mtime_ns for path in first_run.rglob("*")}
    with pytest.raises(UserError, match=r"output .* is in use; choose another, or .*--resume"):
        train(first(), data=data, output=first_run, device="cpu")
    assert {path: path.stat().st_mtime_ns for path in first_run.rglob("*")} == before


def test_a_locked_folder_is_refused(data, tmp_path):
    (tmp_path / "run").mkdir()
    with open(tmp_path / "run" / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="in use by another process"):
            train(first(), data=data, output=tmp_path / "run", device="cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_only": ("model.vision.*",)}, r"pattern 'model\.vision\.\*' fits no parameter"),
        (
            {"cache_features": True, "train_only": ()},
            r"cache_features needs frozen encoders, but model\.embedding",
        ),
        ({"new_parameters": ()}, "reads no prompts, and this config tunes an agent that does"),
        ({"window": WindowConfig(steps=4, chunk=2)}, r"of another shape: model\.step_embedding"),
    ],
)
def test_unfit_configs_are_refused_without_writing(first_run, data, tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        train(
            second(**change), data=data, output=tmp_path / "run", start_from=first_run, device="cpu"
        )
    assert not (tmp_path / "run").exists()


def test_data_of_another_embodiment_is_refused(first_run, tmp_path):
    spec = make_spec(cameras=("wrist",))
    data = write(tmp_path / "data", [make_episode(0, 10, spec)], spec)
    with pytest.raises(UserError, match=r"another embodiment than .*cameras: .*front.*wrist"):
        train(second(), data=data.path, output=tmp_path / "run", start_from=first_run, device="cpu")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": "nowhere"}, "no dataset at nowhere"),
        ({"start_from": "nowhere"}, "no run or checkpoint at nowhere"),
        ({"device": "tpu:0"}, "device 'tpu:0' is not there; choices: auto, cpu"),
    ],
)
def test_bad_arguments_are_refused_without_writing(data, tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        train(first(), **{"data": data, "output": tmp_path / "run", "device": "cpu"} | arguments)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("endless", signal.SIGINT),
        pytest.param("endless-two", signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_interrupted_runs_save_a_checkpoint(data, tmp_path, name, number):
    run = tmp_path / "run"
    process = start(name, data, run)
    wait_for_rows(run, 5)
    process.send_signal(number)
    _, errors = process.communicate(timeout=300)
    assert process.returncode != 0
    step = int(resolve(run).name)
    assert f"stopped after step {step} of 1000000; --resume continues from {run}" in errors
    assert len(rows(run)) == step


def test_a_run_in_a_thread_trains(data, tmp_path):
    thread = threading.Thread(
        target=train, args=(first(steps=1),), kwargs={"data": data, "output": tmp_path / "run"}
    )
    thread.start()
    thread.join()
    assert len(rows(tmp_path / "run")) == 1


def test_config_json_holds_plain_flat_values(first_run):
    values = json.loads((first_run / "config.json").read_text())
    assert (
        values["method"] == "dualmind"
        and values["steps"] == 12
        and "forward_dynamics" in values["objectives"]
    )
    shutil.copytree(first_run, first_run.parent / "copy")
    assert read_config(first_run.parent / "copy")[0] == first()


@pytest.mark.slow
def test_compiled_blocks_give_the_same_losses(first_run, data, tmp_path):
    """In a process of its own: the compiler cannot see through the type checks of the tests."""
    process = start("compiled", data, tmp_path / "run")
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    compiled, plain = ([row["loss"] for row in rows(run)] for run in (tmp_path / "run", first_run))
    np.testing.assert_allclose(compiled, plain, rtol=1e-2)
    assert weights(tmp_path / "run").keys() == weights(first_run).keys()
