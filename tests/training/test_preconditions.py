"""What is refused or said before a run begins: tasks that read the same, random frozen parts, data
without images."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data.synthetic import ENVIRONMENT, FPS, make_episode, make_spec
from training.runs import first, second, weights

from manyparts.core.errors import DatasetWarning, UserError
from manyparts.core.serialisation import to_jsonable
from manyparts.core.spec import Spec, TaskEntry
from manyparts.data.dataset import DatasetWriter
from manyparts.methods import preset
from manyparts.models.configs import KeypointEncoderConfig, RepresentationConfig, ViTConfig
from manyparts.training.preparation import _model_differences
from manyparts.training.train import train

CAMERAS = {
    "none": {},
    "tiny": {"front": (7, 7)},
    "row": {"front": (1, 40)},
    "column": {"front": (40, 1)},
}
TOO_SMALL, NO_CAMERA, NO_STATE = (
    "pixels is too small for this encoder",
    "has no camera",
    "has no state",
)


def record(path: Path, instructions: Sequence[str], spec: Spec | None = None) -> Path:
    """An episode of each instruction, a task of its own."""
    spec = spec or make_spec()
    tasks = [
        TaskEntry(f"toy/{number}", instruction) for number, instruction in enumerate(instructions)
    ]
    with DatasetWriter(path, spec, fps=FPS, tasks=tasks, environment=ENVIRONMENT) as writer:
        for number, task in enumerate(tasks):
            episode = make_episode(number, 6, spec)
            writer.add(replace(episode, task=task.name, instruction=task.instruction))
    return path


def prompted(**changes):
    """Phase II in one step."""
    return second(steps=1, train_only=(), cache_features=False, new_parameters=(), **changes)


LONG = " ".join(["push"] * 30)


@pytest.mark.parametrize(
    ("instructions", "refused"),
    [
        (("把圆盘推到红色", "把圆盘推到蓝色"), False),
        (("подвинь к красной", "подвинь к синей"), False),
        ((f"{LONG} left", f"{LONG} right"), False),
        (("turn 90", "turn -90"), True),
        (("?!", "--"), True),
    ],
)
def test_tasks_must_not_read_as_equal(tmp_path, instructions, refused):
    data = record(tmp_path / "data", instructions)
    options = {"data": data, "output": tmp_path / "run", "device": "cpu"}
    if not refused:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DatasetWarning)
            train(prompted(), **options)
        return
    with pytest.raises(
        UserError, match=r"would read .* \(task toy/0\) and .* \(task toy/1\) as the same words"
    ):
        train(prompted(), **options)
    assert not (tmp_path / "run").exists()
    train(first(steps=1), **options)  # it reads no instructions


@pytest.mark.parametrize(
    ("instructions", "says"),
    [
        (("push it", "Push it."), "tasks 'toy/0', 'toy/1' have the same instruction 'push it'"),
        (("push it", ""), r"task 'toy/1' has an instruction without a word \(''\)"),
    ],
)
def test_shared_or_empty_instructions_give_warnings(tmp_path, instructions, says):
    with pytest.warns(DatasetWarning, match=says):
        train(
            prompted(),
            data=record(tmp_path / "data", instructions),
            output=tmp_path / "run",
            device="cpu",
        )


@pytest.mark.parametrize("name", ["dualmind/phase2-debug", "inverse_dynamics/finetune-debug"])
def test_random_parts_freeze_on_request_only(data, tmp_path, name):
    config = replace(preset(name), steps=1)
    with pytest.raises(
        UserError,
        match=r"freezes parameters that nothing has trained .*encoders.*--freeze-untrained",
    ):
        train(config, data=data, output=tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()
    train(
        replace(config, freeze_untrained=True), data=data, output=tmp_path / "asked", device="cpu"
    )
    train(
        replace(config, train_only=(), cache_features=False),
        data=data,
        output=tmp_path / "all",
        device="cpu",
    )


KEYPOINTS = KeypointEncoderConfig(maps=4, layers=((4, 3, 2),))


@pytest.mark.parametrize(
    ("model", "difference"),
    [
        # Parameters of the same shapes.
        (replace(second().model, heads=2), "model.heads was 4, is 2"),
        (
            replace(second().model, encoder=KEYPOINTS),
            "model.encoder was ConvEncoderConfig, is KeypointEncoderConfig",
        ),
    ],
)
def test_other_models_are_named_by_what_differs(first_run, data, tmp_path, model, difference):
    run = tmp_path / "run"
    config = second(model=model)
    with pytest.raises(UserError, match=f"differs from that of .*: {difference}$"):
        train(config, data=data, output=run, start_from=first_run, device="cpu")
    assert not run.exists()


def test_a_pretrained_start_is_a_part_of_a_model() -> None:
    """Of which weights it was does not matter, but they have another epsilon."""
    plain, started, other = (
        to_jsonable(replace(second().model, encoder=ViTConfig(pretrained=source)))
        for source in (None, "google/vit", "facebook/dino")
    )
    assert not _model_differences(started, other) and not _model_differences(plain, plain)
    assert _model_differences(started, plain) == [
        "model.encoder.pretrained was 'google/vit', is None"
    ]


def test_another_kind_of_model_is_named_alone(first_run, data, tmp_path):
    model = RepresentationConfig(encoder=KEYPOINTS)
    config = replace(preset("inverse_dynamics/inverse-dynamics-laptop"), model=model, steps=1)
    with pytest.raises(
        UserError, match=r"model was ControlTransformerConfig, is RepresentationConfig$"
    ):
        train(config, data=data, output=tmp_path / "run", start_from=first_run, device="cpu")


def test_parts_new_to_a_run_train(first_run, data, tmp_path):
    config = second(steps=1)
    less = tuple(pattern for pattern in config.train_only if "prompt_blocks" not in pattern)
    with pytest.raises(
        UserError, match=r"nothing has trained, and .* lacks \(model\.prompt_blocks"
    ):
        train(
            replace(config, train_only=less),
            data=data,
            output=tmp_path / "run",
            start_from=first_run,
            device="cpu",
        )


def test_a_run_on_random_parts_resumes(data, tmp_path):
    options = {"data": data, "output": tmp_path / "run", "device": "cpu"}
    run = train(second(steps=1, freeze_untrained=True), **options)
    before = weights(run)
    assert weights(train(second(steps=1, freeze_untrained=True), **options, resume=True)) == before


@pytest.mark.parametrize(
    ("name", "cameras", "says"),
    [
        ("dualmind/phase1-debug", "none", NO_CAMERA),
        ("dualmind/phase1-debug", "tiny", TOO_SMALL),
        ("dualmind/phase2-debug", "row", TOO_SMALL),
        ("dualmind/phase2-prompts-debug", "none", NO_CAMERA),
        ("inverse_dynamics/forward-pixels-debug", "column", TOO_SMALL),
        ("inverse_dynamics/scratch-debug", "none", NO_CAMERA),
        ("dynamics/mlp-debug", "row", None),
        ("inverse_dynamics/finetune-states-debug", "none", None),
    ],
)
@pytest.mark.parametrize("buffer_frames", [0, 12])
def test_missing_or_tiny_images_are_refused(tmp_path, name, cameras, says, buffer_frames):
    spec = replace(make_spec(), cameras=CAMERAS[cameras])
    data = record(tmp_path / "data", ["push it", "turn it"], spec)
    config = replace(preset(name), steps=1, batch_size=2)
    if buffer_frames:
        config = replace(config, cache_features=False, buffer_frames=buffer_frames)
    options = {"data": data, "output": tmp_path / "run", "device": "cpu"}
    if says is None:
        train(config, **options)
        return
    with pytest.raises(UserError, match=says):
        train(config, **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "name", ["dynamics/recurrent-debug", "inverse_dynamics/finetune-states-debug"]
)
def test_data_without_a_state_is_refused(tmp_path, name):
    np.savez(tmp_path / "0.npz", action=np.random.default_rng(0).uniform(-1, 1, (8, 2)))
    with pytest.raises(UserError, match=NO_STATE):
        train(preset(name), data=tmp_path, output=tmp_path / "run", device="cpu")
