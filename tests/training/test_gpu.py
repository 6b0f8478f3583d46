"""What only a CUDA device can show: `pytest -m gpu`."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import pytest
import torch
from factories import OBJECTIVES, make_batch, make_system
from training.online.tiny import SEEN, tiny
from training.online.tiny import rows as acted_rows
from training.runs import first, rows

import benchmarks
from benchmarks.plan_shared_cache import imagine, make_model, random_context
from manyparts.core.errors import UserError
from manyparts.core.records import Batch
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.config import WindowConfig
from manyparts.data.sampling.frames import FrameCache
from manyparts.data.sampling.windows import Windows
from manyparts.models.dynamics.world_model import step_by_step
from manyparts.training.augmentation import augment
from manyparts.training.config import AugmentationConfig
from manyparts.training.distributed.ranks import Ranks
from manyparts.training.online.train import train_online
from manyparts.training.train import train
from manyparts.training.update import Learner

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
PHASE_1 = {
    name: OBJECTIVES[name] for name in ("forward_dynamics", "inverse_dynamics", "masked_hindsight")
}


@pytest.mark.parametrize("compiled", [False, True])
def test_bf16_on_gpu_is_near_cpu(data, tmp_path, compiled):
    on_gpu = train(
        first(precision="bf16", compile=compiled), data=data, output=tmp_path / "gpu", device="cuda"
    )
    on_cpu = train(first(), data=data, output=tmp_path / "cpu", device="cpu")
    assert rows(on_gpu)[0]["loss"] == pytest.approx(rows(on_cpu)[0]["loss"], rel=0.02)
    assert (
        all(math.isfinite(row["loss"]) for row in rows(on_gpu))
        and rows(on_gpu)[-1]["loss"] < rows(on_gpu)[0]["loss"]
    )


def test_phase_1_steps_wait_once():
    config = replace(first(), objectives=PHASE_1)
    learner = Learner(
        make_system(objectives=PHASE_1, prompt=None), config, Ranks(), torch.device("cuda")
    )
    batch = make_batch().pinned()
    learner.step(0, {0: batch})
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            learner.step(1, {0: batch})
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = [str(warning.message) for warning in caught if "synchroniz" in str(warning.message)]
    assert len(waits) == 1, waits


def test_benchmarks_stay_below_the_matrix_peak():
    measured = list(benchmarks.measure("gpu"))
    assert [row.name for row in measured] == [
        "gpu-phase1",
        "gpu-phase2",
        "gpu-pretrain-84",
        "gpu-pretrain-120",
    ]
    assert all(0 < row.ratio < 1 for row in measured)


def test_gpu_frames_equal_those_on_disk(data, tmp_path):
    dataset = EpisodeDataset.open(data)
    cache, config = FrameCache.open(dataset, tmp_path), WindowConfig(steps=2, chunk=1)
    held = Windows(dataset, cache, config, seed=0, frames=cache.on(torch.device("cuda"))).batch(
        0, 32
    )
    read = Windows(dataset, cache, config, seed=0).batch(0, 32)
    change = AugmentationConfig(
        shift_pixels=3, resized_crop=(0.8, 0.9), brightness=0.1, state_noise=0.1
    )
    for one, other in ((held, read), (_augmented(held, change), _augmented(read, change))):
        for camera, frames in one.images.items():
            assert frames.is_cuda
            difference = frames.cpu().int() - other.images[camera].int()
            assert (difference.abs() <= 1).all() and (
                difference == 0
            ).float().mean() > 0.99  # of what is rounded


def _augmented(batch: Batch, change: AugmentationConfig) -> Batch:
    return augment(batch, change, torch.Generator().manual_seed(3))


def test_gpu_plans_have_the_cpus_rewards():
    model = make_model("parallel")
    observation, action, reward, plans = inputs = random_context(model)
    on_gpu = imagine(model.cuda(), (observation.cuda(), action.cuda(), reward.cuda(), plans.cuda()))
    assert torch.allclose(on_gpu.cpu(), imagine(model.cpu(), inputs), atol=1e-3)


@pytest.mark.parametrize("decoding", ["parallel", "sequential"])
def test_replayed_graphs_equal_launched_kernels(decoding):
    model = make_model(decoding).cuda()
    observation, action, reward, plans = (each.cuda() for each in random_context(model))
    context = model.encode(observation, action, reward)
    for round_ in range(
        3
    ):  # the graph is recorded in the first round and replayed with other contexts after it
        replayed, launched = (
            context.imagined(plans[:, :5]),
            step_by_step(context.imagine(len(plans)), plans[:, :5]),
        )
        assert all(
            torch.allclose(one, other, atol=1e-4)
            for one, other in zip(replayed, launched, strict=True)
        )
        context, plans = (
            context.extended(plans[round_, 0], launched.reward[round_, 0], observation[round_]),
            plans.flip(0),
        )


def test_a_run_that_acts_resumes_on_the_gpu(tmp_path, monkeypatch):
    """The memory of the episode under way is read on the CPU."""
    run = tmp_path / "run"
    options = {"environment": "pointmass/reach", "environment_config": SEEN, "device": "cuda"}

    def stop(*_):
        raise UserError("stop here")

    with monkeypatch.context() as patched:
        patched.setattr("manyparts.training.loop._row", stop)
        with pytest.raises(UserError, match="--resume continues"):
            train_online(tiny(), output=run, **options)
    train_online(tiny(), output=run, resume=True, **options)
    assert acted_rows(run)[-1]["environment_steps"] == 129
