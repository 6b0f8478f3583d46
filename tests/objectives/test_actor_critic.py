"""Behaviour in imagination: what learns, what stays, and that it finds what pays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from factories import STEPS, generator, make_discrete_spec, make_spec
from objectives.test_world import SMALL, world_batch

from manyparts.data.sampling.config import WindowConfig
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.objectives.configs import ActorCriticConfig, WorldConfig
from manyparts.objectives.system import System
from manyparts.objectives.world import WorldPasses

every_gradient = pytest.mark.parametrize("gradient", ["dynamics", "reinforce"])


def make_dreamer(spec: Any = None, **changes: Any) -> System:
    torch.manual_seed(0)
    objectives = {
        "world": WorldConfig(),
        "actor_critic": ActorCriticConfig(
            **{"horizon": 3, "starts": 5, "width": 16, "layers": 1} | changes
        ),
    }
    window = WindowConfig(steps=STEPS, chunk=1)
    return System.build(SMALL, objectives, EmbodimentSet((spec or make_spec(),)), window)


@every_gradient
def test_behaviour_trains_actor_and_critic_alone(gradient: Any) -> None:
    system = make_dreamer(gradient=gradient)
    system.losses(world_batch(), generator())["actor_critic"].mean().backward()
    touched = {name for name, value in system.named_parameters() if value.grad is not None}
    assert touched == {
        name
        for name, _ in system.named_parameters()
        if name.startswith(("objectives.actor_critic.actor.", "objectives.actor_critic.critic."))
    }


def test_critic_gradients_do_not_enter_the_actor() -> None:
    system = make_dreamer(entropy=0.0, centring=0.0)
    objective = system.objectives["actor_critic"]
    for parameter in objective.critic.parameters():
        parameter.requires_grad_(False)
    system.losses(world_batch(), generator())["actor_critic"].mean().backward()
    alone = [each.grad.clone() for each in objective.actor.parameters()]
    other = make_dreamer(entropy=0.0, centring=0.0)
    other.losses(world_batch(), generator())["actor_critic"].mean().backward()
    both = [each.grad for each in other.objectives["actor_critic"].actor.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(alone, both, strict=True))


def test_imagination_is_a_function_of_the_generator() -> None:
    system, batch = make_dreamer(), world_batch()
    first, again, other = (
        system.losses(batch, generator(seed))["actor_critic"].value for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_slow_critic_follows_the_critic() -> None:
    system = make_dreamer(slow_rate=0.5)
    objective = system.objectives["actor_critic"]
    with torch.no_grad():
        for parameter in objective.critic.parameters():
            parameter.add_(1.0)
    before = [each.clone() for each in objective.slow_critic.parameters()]
    system.after_step()
    for old, slow in zip(before, objective.slow_critic.parameters(), strict=True):
        torch.testing.assert_close(slow, old + 0.5)
    assert not any(each.requires_grad for each in objective.slow_critic.parameters())


@pytest.mark.parametrize(
    ("kind", "gradient"),
    [
        ("continuous", "dynamics"),
        ("choices", "reinforce"),
        pytest.param("continuous", "reinforce", marks=pytest.mark.slow),
        pytest.param("choices", "dynamics", marks=pytest.mark.slow),
    ],
)
def test_actor_finds_the_action_that_pays(kind: str, gradient: Any, monkeypatch: Any) -> None:
    """In a world whose reward is the action itself, the actor takes the largest one."""
    spec = make_spec(action=1) if kind == "continuous" else make_discrete_spec()
    system = make_dreamer(
        spec, gradient=gradient, starts=64, centring=0.0, discount=0.0, entropy=1e-3
    )
    objective, model = system.objectives["actor_critic"], system.model
    actions: list[torch.Tensor] = []
    imagined = model.imagined

    def remembered(state: Any, action: torch.Tensor, drawn: Any = None) -> Any:
        actions.append(action[:, 0])
        return imagined(state, action, drawn)

    monkeypatch.setattr(model, "imagined", remembered)
    monkeypatch.setattr(model, "reward", lambda read: torch.stack(actions[-3:]))
    optimizer = torch.optim.Adam(objective.actor.parameters(), lr=1e-2)
    batch = world_batch(16, spec=spec) if kind == "continuous" else discrete_batch(spec)
    for step in range(150):
        optimizer.zero_grad()
        actions.clear()
        system.losses(batch, generator(step))["actor_critic"].mean().backward()
        optimizer.step()
    features = WorldPasses(model, batch, generator()).filtered.features.flatten(0, 1)
    mode = objective.as_input(objective.policy(features, None).mode)
    assert mode.min() > 0.6, mode.flatten()


@pytest.mark.parametrize("kind", ["continuous", "choices"])
def test_both_gradients_point_the_same_way(kind: str, monkeypatch: Any) -> None:
    """By the model's slope or by the likelihood of what paid, more reward lies in one direction."""
    spec = make_spec() if kind == "continuous" else make_discrete_spec()
    batch = world_batch(128) if kind == "continuous" else discrete_batch(spec, 128)
    found = []
    for gradient in ("dynamics", "reinforce"):
        system = make_dreamer(
            spec, gradient=gradient, starts=512, entropy=0.0, centring=0.0, normalise=False
        )
        model, actor = system.model, system.objectives["actor_critic"].actor
        towards = torch.randn(model.features, generator=generator(7))
        monkeypatch.setattr(model, "reward", lambda read, way=towards: 3 * torch.tanh(read @ way))
        for seed in range(24):  # gradients add up, and their noise goes
            system.losses(batch, generator(seed))["actor_critic"].mean().backward()
        found.append(torch.cat([each.grad.flatten() for each in actor.parameters()]))
    # Of actions before the last, dynamics count what follows more than once, so only the direction
    # is the same.
    assert torch.cosine_similarity(*found, dim=0) > 0.85


def discrete_batch(spec: Any, size: int = 16) -> Any:
    batch = world_batch(size)
    action = torch.randint(0, 3, (size, STEPS, 1, 1), generator=generator()) * (2 / 3) - 2 / 3
    mask = torch.ones(size, 1, dtype=torch.bool)
    return replace(batch, action=action, expert_action=action, action_mask=mask)
