"""The loss of a latent world: what it sees, predicts, masks and trains."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from factories import STEPS, generator, make_batch, make_spec

from manyparts.core.errors import UserError
from manyparts.core.records import Batch
from manyparts.core.spec import Spec
from manyparts.data.sampling.config import WindowConfig
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.dynamics.configs import (
    CategoricalLatentConfig,
    GaussianLatentConfig,
    LatentWorldConfig,
)
from manyparts.models.dynamics.latent_world import symexp, symlog
from manyparts.objectives.configs import WorldConfig
from manyparts.objectives.system import System
from manyparts.objectives.world import WorldPasses

SMALL = LatentWorldConfig(width=16, latent=GaussianLatentConfig(4), depth=4, head_layers=1)
WORLDS = {
    "state": SMALL,
    "images": replace(SMALL, sees="images"),
    "both, categorical": replace(SMALL, sees="both", latent=CategoricalLatentConfig(3, 4)),
}
every_world = pytest.mark.parametrize("config", WORLDS.values(), ids=WORLDS)


def make_world(config: LatentWorldConfig = SMALL, **changes: Any) -> System:
    torch.manual_seed(0)
    spec = make_spec(cameras=("front", "wrist"))
    window = WindowConfig(steps=STEPS, chunk=1)
    return System.build(config, {"world": WorldConfig(**changes)}, EmbodimentSet((spec,)), window)


def world_batch(size: int = 3, *, spec: Spec | None = None, **changes: Any) -> Batch:
    """A batch with one action per step."""
    batch = make_batch(size, spec=spec or make_spec(cameras=("front", "wrist")), **changes)
    single = {
        name: getattr(batch, name)[:, :, :1] for name in ("action", "expert_action", "chunk_mask")
    }
    return replace(batch, **single)


@every_world
def test_loss_trains_every_parameter_and_falls(config: LatentWorldConfig) -> None:
    system, batch = make_world(config, free_nats=0.0), world_batch(8)
    optimizer = torch.optim.Adam(system.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = system.losses(batch, generator())["world"]
        assert loss.value.shape == batch.mask.shape
        loss.mean().backward()
        assert all(each.grad is not None for each in system.parameters())
        optimizer.step()
        losses.append(loss.mean().item())
    assert losses[-1] < 0.9 * losses[0]  # pixels of noise can be learned by heart alone


@every_world
def test_padded_steps_change_no_loss(config: LatentWorldConfig) -> None:
    system = make_world(config)
    mask = torch.tensor([[True] * STEPS, [True] * 2 + [False] * 2, [True] + [False] * 3])
    batch, other = world_batch(mask=mask), world_batch(seed=1)
    images = {
        name: torch.where(mask[..., None, None, None], batch.images[name], other.images[name])
        for name in batch.images
    }
    changed = replace(
        batch,
        images=images,
        state=torch.where(mask[..., None], batch.state, other.state),
        action=torch.where(mask[..., None, None], batch.action, other.action),
        reward=torch.where(mask, batch.reward, other.reward),
    )
    first, second = (system.losses(each, generator())["world"] for each in (batch, changed))
    torch.testing.assert_close(first.mean(), second.mean())


def test_rewards_cannot_see_later_observations() -> None:
    system, batch = make_world(), world_batch()
    state = batch.state.clone().requires_grad_()
    passes = WorldPasses(system.model, replace(batch, state=state), generator())
    predicted = system.objectives["world"].predict(passes)
    for step in range(STEPS):
        (gradient,) = torch.autograd.grad(predicted[:, step].sum(), state, retain_graph=True)
        depends = gradient.abs().sum(dim=(0, 2)) > 0
        # The state that an action leads to; beyond the window there is none.
        assert depends.tolist() == [each <= step + 1 for each in range(STEPS)]


@pytest.mark.slow
def test_ends_of_episodes_are_learned() -> None:
    system, batch = make_world(), world_batch(16)
    ended = torch.zeros_like(batch.mask)
    ended[::2, -1] = True
    state = batch.state + 3 * torch.where(torch.arange(16) % 2 == 0, 1.0, -1.0)[:, None, None]
    batch = replace(batch, terminated=ended, state=state)
    optimizer = torch.optim.Adam(system.parameters(), lr=1e-2)
    for _ in range(250):
        optimizer.zero_grad()
        system.losses(batch, generator())["world"].mean().backward()
        optimizer.step()
    passes = WorldPasses(system.model, batch, generator())
    goes_on = system.model.continuation(passes.read(passes.led_to))
    assert goes_on[::2, -1].max() < 0.3 and goes_on[1::2].min() > 0.7


def test_decoding_some_frames_keeps_the_mean_gradient() -> None:
    config = WORLDS["images"]
    whole, some = make_world(config), make_world(config, decoded=0.25)
    batch = world_batch(8)
    expected = whole.losses(batch, generator())["world"].metrics["image"]
    drawn = [
        some.losses(batch, torch.Generator().manual_seed(seed))["world"].metrics["image"]
        for seed in range(60)
    ]
    torch.testing.assert_close(torch.stack(drawn).mean(), expected, rtol=0.05, atol=0)


@pytest.mark.parametrize("size", [(16, 16), (17, 23), (64, 48), (84, 84)])
def test_images_of_any_size_are_predicted(size: tuple[int, int]) -> None:
    spec = replace(make_spec(), cameras={"front": size})
    window = WindowConfig(steps=STEPS, chunk=1)
    config = WORLDS["images"]
    system = System.build(config, {"world": WorldConfig()}, EmbodimentSet((spec,)), window)
    features = torch.zeros(2, system.model.features)
    assert system.model.image_heads["front"](features).shape == (2, 3, *size)


def test_signed_logarithm_is_inverted() -> None:
    values = torch.tensor([-1000.0, -1.0, 0.0, 1e-3, 20.0])
    torch.testing.assert_close(symexp(symlog(values)), values)


def test_what_cannot_be_seen_is_refused() -> None:
    window = WindowConfig(steps=STEPS, chunk=1)
    blind = EmbodimentSet((replace(make_spec(), cameras={}),))
    objectives = {"world": WorldConfig()}
    with pytest.raises(UserError, match=r"has no camera; set model\.sees to state"):
        System.build(WORLDS["images"], objectives, blind, window)
    with pytest.raises(UserError, match=r"window\.chunk is 2"):
        System.build(SMALL, objectives, blind, WindowConfig(steps=STEPS, chunk=2))
    two = EmbodimentSet((make_spec(), replace(make_spec(), embodiment="other")))
    with pytest.raises(UserError, match="mean different things"):
        System.build(SMALL, objectives, two, window)
