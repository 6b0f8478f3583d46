"""Losses on embeddings: each trains the encoder, ignores padding, and cannot see its answer."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from factories import (
    ACTION,
    CHUNK,
    STATE,
    STEPS,
    generator,
    make_batch,
    make_discrete_spec,
    make_spec,
    make_system,
)

from manyparts.core.errors import UserError
from manyparts.core.records import Batch
from manyparts.data.sampling.config import WindowConfig
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.configs import KeypointEncoderConfig, RepresentationConfig
from manyparts.models.representation import Representation
from manyparts.nn.spatial_softmax import SpatialSoftmax
from manyparts.objectives.base import objectives_for
from manyparts.objectives.configs import (
    ContrastiveDynamicsConfig,
    ContrastiveStaticConfig,
    EmbeddingCloningConfig,
    EmbeddingInverseDynamicsConfig,
    PixelDynamicsConfig,
)
from manyparts.objectives.representations.base import FramePasses, info_nce
from manyparts.objectives.system import System

MODEL = RepresentationConfig(
    encoder=KeypointEncoderConfig(maps=8, layers=((8, 3, 2), (8, 3, 1))), width=16
)
OBJECTIVES = {
    "inverse": EmbeddingInverseDynamicsConfig(),
    "cloning": EmbeddingCloningConfig(),
    "contrast": ContrastiveDynamicsConfig(temperature=0.1),
    "pixels": PixelDynamicsConfig(channels=(8, 8)),
    "static": ContrastiveStaticConfig(shift_pixels=2, temperature=0.1),
}
NAMES = sorted(OBJECTIVES)


def only(name: str, model: RepresentationConfig = MODEL, **changes) -> System:
    torch.manual_seed(0)
    window = WindowConfig(steps=STEPS, chunk=CHUNK)
    spec = changes.pop("spec", make_spec())
    return System.build(
        model, {name: replace(OBJECTIVES[name], **changes)}, EmbodimentSet((spec,)), window
    )


def test_every_objective_is_tested():
    assert {type(config) for config in OBJECTIVES.values()} == set(objectives_for(Representation))


@pytest.mark.parametrize("name", ["cloning", "inverse"])
def test_choices_are_refused(name: str) -> None:
    """A mean of left and right would go forward, which nobody showed."""
    system = only(name, spec=make_discrete_spec())  # one of before is loaded
    with pytest.raises(UserError, match=r"acts by choices, and .* learns actions of real numbers"):
        system.require_learnable()


def spots(size: int) -> Batch:
    """A bright spot at another place in every frame."""
    batch = make_batch(size)
    frames, corners = (
        torch.zeros_like(batch.images["front"]),
        torch.randint(2, 12, (size, STEPS, 2), generator=generator()),
    )
    for row in range(size):
        for step in range(STEPS):
            y, x = corners[row, step].tolist()
            frames[row, step, :, y : y + 3, x : x + 3] = 255
    return replace(batch, images={"front": frames})


@pytest.mark.parametrize("name", NAMES)
def test_loss_trains_encoder_and_head(name):
    system, batch = only(name), spots(8)
    optimizer = torch.optim.Adam(system.parameters(), lr=3e-3)
    losses = []
    for step in range(80):
        optimizer.zero_grad()
        loss = system.losses(batch, generator())[name]
        assert loss.value.isfinite().all()
        loss.mean().backward()
        if step == 0:
            moved = {
                key
                for key, value in system.named_parameters()
                if value.grad is not None and value.grad.any()
            }
            assert any(key.startswith("model.encoders") for key in moved)
            assert any(key.startswith(f"objectives.{name}.") for key in moved)
        optimizer.step()
        losses.append(loss.mean().item())
    assert losses[-1] < 0.9 * losses[0], losses[:: len(losses) - 1]


@pytest.mark.parametrize("name", NAMES)
def test_padded_steps_do_not_matter(name):
    system = only(name).eval()
    mask = torch.tensor(
        [[True] * STEPS, [True] * (STEPS - 2) + [False] * 2, [True] * (STEPS - 1) + [False]]
    )
    batch, other = make_batch(mask=mask), make_batch(seed=1)
    batch = replace(batch, chunk_mask=batch.chunk_mask & mask[..., None])
    shown = {
        key: torch.where(mask[..., None, None, None], image, other.images[key])
        for key, image in batch.images.items()
    }
    acted = {
        key: torch.where(mask[..., None, None], getattr(batch, key), getattr(other, key))
        for key in ("action", "expert_action")
    }
    changed = replace(batch, images=shown, **acted)
    losses = [system.losses(item, generator())[name].mean().item() for item in (batch, changed)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("name", ["inverse", "cloning"])
def test_actions_are_predicted_from_frames_alone(name):
    system, batch = only(name).eval(), make_batch()
    relabelled = replace(batch, action=-batch.action, expert_action=-batch.expert_action)
    one, other = (
        system.objectives[name].predict(FramePasses(system.model, each, generator()))
        for each in (batch, relabelled)
    )
    assert torch.equal(one, other)
    assert one.shape == (3, STEPS - (name == "inverse"), CHUNK * ACTION)


@pytest.mark.parametrize(
    ("name", "seen"), [("inverse", {1, 2}), ("cloning", {1}), ("contrast", {1}), ("pixels", {1})]
)
def test_prediction_sees_only_allowed_frames(name, seen):
    """Of step 1, when one frame at a time is another."""
    system, batch = only(name).eval(), make_batch()

    def predicted(images):
        changing = system.objectives[name].predict(
            FramePasses(system.model, replace(batch, images=images), generator())
        )
        return (changing["front"] if isinstance(changing, dict) else changing)[:, 1]

    base, changing = predicted(batch.images), set()
    for step in range(STEPS):
        frames = batch.images["front"].clone()
        frames[:, step] = 255 - frames[:, step]
        if not torch.allclose(predicted({"front": frames}), base, atol=1e-6):
            changing.add(step)
    assert changing == seen


def test_static_contrast_uses_no_action():
    system, batch = only("static").eval(), make_batch()
    losses = [
        system.losses(replace(batch, action=sign * batch.action), generator())["static"].mean()
        for sign in (1, -1)
    ]
    assert losses[0] == losses[1]


def test_static_contrast_takes_two_crops():
    system, batch = only("static").eval(), spots(8)
    seen = []
    embed = system.model.embed
    system.model.embed = lambda crops: seen.append(crops.images["front"]) or embed(crops)
    for seed in range(20):
        system.losses(batch, torch.Generator().manual_seed(seed))
    whole = batch.images["front"]
    moved = torch.tensor([(crop != whole).flatten(2).any(dim=2).float().mean() for crop in seen])
    one, other = moved[::2].mean(), moved[1::2].mean()
    assert len(seen) == 40 and one > 0.9 and abs(one - other) < 0.05  # 24 of 25 shifts move


def test_contrast_stays_float32_under_autocast():
    torch.manual_seed(0)
    queries, keys, real = torch.randn(64, 16), torch.randn(64, 16), torch.ones(64, dtype=torch.bool)
    exact = info_nce(queries, keys, real, 0.1)
    maps = torch.randn(2, 3, 9, 9)
    positions = SpatialSoftmax(9, 9)(maps)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(info_nce(queries, keys, real, 0.1), exact)
        assert torch.equal(SpatialSoftmax(9, 9)(maps), positions)


def test_warm_info_nce_stays_near_chance():
    """The paper's setting: perfect and perfectly apart keys are no better than this."""
    keys, real = torch.eye(64), torch.ones(64, dtype=torch.bool)
    perfect = {
        temperature: float(info_nce(keys, keys, real, temperature).mean())
        for temperature in (1.0, 0.1)
    }
    chance = math.log(64)
    assert perfect[1.0] > 0.75 * chance and perfect[0.1] < 0.01
    assert float(info_nce(keys, keys.roll(1, 0), real, 0.1).mean()) > chance


def test_true_state_replaces_the_embedding():
    system = only("cloning", replace(MODEL, sees="state"))
    assert system.model.embedding_dimension == STATE and not list(system.model.parameters())
    assert torch.equal(system.model.embed(make_batch()), make_batch().state)
    with pytest.raises(UserError, match="set it to"):
        only("pixels", replace(MODEL, sees="state"))


def test_own_features_need_no_map():
    model = Representation(
        replace(MODEL, width=0), EmbodimentSet((make_spec(cameras=("a", "b")),)), chunk=1, steps=1
    )
    assert model.embedding_dimension == 2 * 2 * 8
    features = model.visual_features(make_batch().images["front"][:, 0], "a")
    assert features.shape == (3, 1, 16) and features.abs().max() <= 1


@pytest.mark.parametrize("name", ["pixels", "inverse"])
def test_camera_names_may_have_dots(name):
    """As those of others' LeRobot datasets; the parameters of one without are named as ever."""
    dotted, plain = (
        only(name, spec=make_spec(cameras=cameras)).eval()
        for cameras in (("arm.left", "top"), ("front", "top"))
    )
    images = make_batch().images["front"]
    losses = dotted.losses(
        replace(make_batch(), images={"arm.left": images, "top": images}), generator()
    )
    expected = plain.losses(
        replace(make_batch(), images={"front": images, "top": images}), generator()
    )
    assert torch.equal(losses[name].value, expected[name].value)
    assert [key.replace(".arm%2Eleft.", ".front.") for key in dotted.state_dict()] == list(
        plain.state_dict()
    )
    assert any(key.startswith("model.encoders.front.") for key in plain.state_dict())


def test_spatial_softmax_finds_the_maximum():
    maps = torch.full((1, 2, 5, 9), -50.0)
    maps[0, 0, 0, 8], maps[0, 1, 4, 4] = 50.0, 50.0
    torch.testing.assert_close(SpatialSoftmax(5, 9)(maps), torch.tensor([[1.0, 0.0, -1.0, 1.0]]))


def test_objective_of_other_model_refused():
    with pytest.raises(
        UserError, match=r"'cloning' \(EmbeddingCloningConfig\) does not train a ControlTransformer"
    ):
        make_system(objectives={"cloning": EmbeddingCloningConfig()})


def test_too_small_images_are_refused():
    model = replace(MODEL, encoder=KeypointEncoderConfig())
    with pytest.raises(UserError, match="16x16 pixels is too small"):
        only("cloning", model)
