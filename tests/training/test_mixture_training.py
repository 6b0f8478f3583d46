"""Training on a mixture of two embodiments: one run, one checkpoint, resumed to the bit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from embodiments import ARM, CRAWLER, ENVIRONMENT, write_arm, write_crawler
from factories import OBJECTIVES
from training.runs import first, rows, second, weights
from training.test_resume import stop_after

from manyparts.agents.loading import load
from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.evaluation.protocol import evaluate
from manyparts.methods import preset
from manyparts.models.checkpoint import load_info, resolve
from manyparts.training.config import TrainConfig
from manyparts.training.run_folder import read_config
from manyparts.training.train import train

ARM_WEIGHT = 2 / 3


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("embodiments")
    return [write_arm(folder / "arm").path, write_crawler(folder / "crawler").path]


@pytest.fixture(scope="module")
def first_phase(both: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = first(steps=6, batch_size=12, ema_decay=0.9, checkpoint_every_steps=2)
    return train(
        config,
        data=both,
        weights=(2, 1),
        output=tmp_path_factory.mktemp("run") / "first",
        device="cpu",
    )


def prompted(**changes) -> TrainConfig:
    """Phase II with cached features, prompted by instructions and images."""
    return replace(
        preset("dualmind/phase2-prompts-debug"), **{"steps": 4, "log_every_steps": 1} | changes
    )


def test_mixtures_log_fractions_and_own_losses(first_phase, both):
    logged = rows(first_phase)
    assert all(
        row["fraction/arm"] == pytest.approx(ARM_WEIGHT) and row["fraction/crawler"] < 0.5
        for row in logged
    )
    own = {
        f"validation/{loss}/{embodiment}"
        for loss in first().objectives
        for embodiment in ("arm", "crawler")
    }
    assert own <= logged[-1].keys() and all(np.isfinite(logged[-1][name]) for name in own)
    _, facts = read_config(first_phase)
    assert facts["data"] == [str(path) for path in both] and facts["weights"] == [2.0, 1.0]


def test_checkpoints_hold_every_embodiment(first_phase, both):
    info = load_info(resolve(first_phase))
    assert info.embodiment_set.specs == (ARM, CRAWLER)
    for embodiment, path in zip(info.embodiments, both, strict=True):
        dataset = EpisodeDataset.open(path)
        assert embodiment.statistics == dataset.statistics and embodiment.tasks == dataset.tasks
        assert embodiment.environment == ENVIRONMENT


def test_a_mixture_resumes_to_the_bit(first_phase, both, tmp_path):
    config = first(steps=6, batch_size=12, ema_decay=0.9, checkpoint_every_steps=2)
    stop_after(5, config, data=both, weights=(2, 1), output=tmp_path / "run")
    train(config, data=both, weights=(2, 1), output=tmp_path / "run", resume=True, device="cpu")
    assert rows(tmp_path / "run") == rows(first_phase) and weights(tmp_path / "run") == weights(
        first_phase
    )
    with pytest.raises(UserError, match=r"weights was \[2.0, 1.0\], is \[1.0, 1.0\]"):
        train(config, data=both, output=tmp_path / "run", resume=True, device="cpu")
    with pytest.raises(UserError, match=r"data was .*, is "):
        train(config, data=both[:1], output=tmp_path / "run", resume=True, device="cpu")


@pytest.mark.slow
def test_two_processes_give_ones_losses(both, tmp_path):
    config = second(train_only=(), cache_features=False, steps=4)
    one = train(config, data=both, output=tmp_path / "one", device="cpu")
    two = train(replace(config, processes=2), data=both, output=tmp_path / "two", device="cpu")
    for name in ("loss", "gradient_norm", "validation/behaviour_cloning/crawler"):
        one_process, two_processes = (
            [row[name] for row in rows(run) if name in row] for run in (one, two)
        )
        np.testing.assert_allclose(one_process, two_processes, rtol=1e-3)


def test_all_losses_train_together_on_images(both, tmp_path):
    config = prompted(objectives=OBJECTIVES, train_only=(), cache_features=False, new_parameters=())
    run = train(config, data=both, output=tmp_path / "run", device="cpu")
    assert all(np.isfinite(row["loss"]) for row in rows(run))


@pytest.mark.slow
def test_both_embodiments_train_on_features(first_phase, both, tmp_path):
    runs = [
        train(
            prompted(cache_features=cached),
            data=both,
            output=tmp_path / str(cached),
            start_from=first_phase,
            device="cpu",
        )
        for cached in (True, False)
    ]
    cached, images = (np.asarray([row["loss"] for row in rows(run)]) for run in runs)
    np.testing.assert_allclose(cached, images, rtol=2e-3)
    assert {load(runs[0], embodiment=name).spec.embodiment for name in ("arm", "crawler")} == {
        "arm",
        "crawler",
    }


def test_tuning_on_one_embodiment_acts_there(first_phase, both, tmp_path):
    run = train(
        prompted(), data=both[1], output=tmp_path / "run", start_from=first_phase, device="cpu"
    )
    info = load_info(resolve(run))
    assert [len(embodiment.tasks) for embodiment in info.embodiments] == [
        0,
        1,
    ] and info.embodiment_set.specs == (ARM, CRAWLER)
    assert (
        info.embodiments[0].statistics == load_info(resolve(first_phase)).embodiments[0].statistics
    )
    assert load(run).spec == CRAWLER
    with pytest.raises(UserError, match="not trained for embodiment 'arm'; choices: crawler"):
        load(run, embodiment="arm")
    with pytest.raises(
        UserError, match=r"pointmass/reach has another embodiment .* known: crawler"
    ):
        evaluate(run, tasks=["pointmass/reach"], episodes=1, output=tmp_path / "evaluation")
    assert not (tmp_path / "evaluation").exists()


def test_unseen_embodiments_are_refused_in_tuning(both, tmp_path):
    alone = train(first(steps=1), data=both[0], output=tmp_path / "alone", device="cpu")
    with pytest.raises(
        UserError, match=r"another embodiment than .*embodiment: arm, crawler.*known: arm"
    ):
        train(second(steps=1), data=both, output=tmp_path / "run", start_from=alone, device="cpu")
    assert not (tmp_path / "run").exists()


def test_mixtures_pool_statistics_of_one_embodiment(both, tmp_path):
    other = write_arm(tmp_path / "other", 4, seed=50)
    run = train(first(steps=1), data=[both[0], other.path], output=tmp_path / "run", device="cpu")
    (embodiment,) = load_info(resolve(run)).embodiments
    states = np.concatenate(
        [
            dataset.columns(index)["observation.state"]
            for dataset in (EpisodeDataset.open(both[0]), other)
            for index in range(dataset.num_episodes)
        ]
    )
    statistics = embodiment.statistics["observation.state"]
    np.testing.assert_allclose(statistics.mean, states.mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(statistics.std, states.std(axis=0), rtol=1e-4)
    assert statistics.count == len(states) and rows(run)[0]["fraction/arm-2"] == 0.5


def test_incompatible_datasets_are_refused_without_writing(both, tmp_path):
    hidden = write_arm(tmp_path / "hidden", 3, environment=ENVIRONMENT | {"goal": "hidden"})
    large = write_arm(tmp_path / "large", 3, size=24)
    for data, ratio, message in (
        (
            [both[0], hidden.path],
            (),
            r"both have the embodiment 'arm', but differ \(environment.goal: None, hidden\)",
        ),
        ([both[0], large.path], (), r"both have the embodiment 'arm', but differ \(cameras: "),
        (
            [large.path, both[1]],
            (),
            r"share an image encoder, but have 24x24 pixels and 16x16 pixels",
        ),
        (both, (1,), "1 weights for 2 datasets"),
        (both, (1, 0), "weight 0 of a dataset; expected a finite number above 0"),
        ([], (), "no dataset is given"),
    ):
        with pytest.raises(UserError, match=message):
            train(first(steps=1), data=data, weights=ratio, output=tmp_path / "run", device="cpu")
        assert not (tmp_path / "run").exists()


def test_checkpoints_from_before_mixtures_load(both, tmp_path):
    run = train(
        second(steps=1, train_only=(), cache_features=False),
        data=both[0],
        output=tmp_path / "run",
        device="cpu",
    )
    path = resolve(run) / "config.json"
    values = json.loads(path.read_text())
    (embodiment,) = values.pop("embodiments")
    before = load_info(resolve(run))
    path.write_text(json.dumps(embodiment | values))
    assert load_info(resolve(run)) == before and load(run).spec == ARM
