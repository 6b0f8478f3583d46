"""What holds for every objective: it trains something, ignores padding, cannot see its answer,
aliases no target."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from factories import (
    OBJECTIVES,
    STEPS,
    generator,
    make_batch,
    make_discrete_spec,
    make_prompt_config,
    make_spec,
    make_system,
)

from manyparts.core.records import Batch
from manyparts.models.control_transformer import ControlTransformer, Tokens
from manyparts.objectives.base import Passes, objectives_for

NAMES = sorted(OBJECTIVES)
SPECS = {"continuous": make_spec(), "discrete": make_discrete_spec()}


def only(name: str, **changes):
    return make_system(objectives={name: OBJECTIVES[name]}, **changes)


def differentiable(batch: Batch) -> Batch:
    """The batch with state and action as leaves that get gradients."""
    return replace(
        batch,
        state=batch.state.clone().requires_grad_(),
        action=batch.action.clone().requires_grad_(),
    )


def sensitivity(output: torch.Tensor, leaf: torch.Tensor) -> torch.Tensor:
    """bool (t,): of which steps of `leaf` (b, t, ...) the output depends."""
    (gradient,) = torch.autograd.grad(
        output.square().sum(), leaf, retain_graph=True, allow_unused=True
    )
    if gradient is None:
        return torch.zeros(leaf.shape[1], dtype=torch.bool)
    return gradient.abs().flatten(2).sum(dim=(0, 2)) > 0


def test_every_objective_is_tested():
    assert {type(config) for config in OBJECTIVES.values()} == set(
        objectives_for(ControlTransformer)
    )


@pytest.mark.parametrize("actions", SPECS)
@pytest.mark.parametrize("name", NAMES)
def test_loss_trains_head_and_model(name, actions):
    system = only(name, spec=SPECS[actions])
    loss = system.losses(make_batch(spec=SPECS[actions]), generator())[name]
    assert loss.value.isfinite().all() and loss.mean() > 0
    loss.mean().backward()
    trained = {
        key
        for key, value in system.named_parameters()
        if value.grad is not None and value.grad.any()
    }
    assert any(key.startswith("model.blocks") for key in trained)
    assert any(key.startswith("model.embedding.encoders") for key in trained)
    assert any(key.startswith(f"objectives.{name}.head") for key in trained)


@pytest.mark.parametrize("actions", SPECS)
@pytest.mark.parametrize("name", NAMES)
def test_loss_falls_when_trained(name, actions):
    system, batch = only(name, spec=SPECS[actions]), make_batch(8, spec=SPECS[actions])
    optimizer = torch.optim.Adam([p for p in system.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = system.losses(batch, generator())[name].mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0], losses[:: len(losses) - 1]


@pytest.mark.parametrize("name", NAMES)
def test_padding_does_not_change_losses(name):
    spec = make_spec(action=3)
    system = only(name, spec=spec).eval()
    mask = torch.tensor(
        [[True] * STEPS, [True] * (STEPS - 2) + [False] * 2, [True] * (STEPS - 1) + [False]]
    )
    batch = make_batch(spec=spec, mask=mask, action_mask=torch.tensor([[True, True, False]] * 3))
    batch = replace(batch, chunk_mask=batch.chunk_mask & mask[..., None])
    other = make_batch(seed=1, spec=spec)
    real = mask[..., None, None] & batch.action_mask[:, None, None, :]
    changed = replace(
        batch,
        images={
            key: torch.where(mask[..., None, None, None], image, other.images[key])
            for key, image in batch.images.items()
        },
        state=torch.where(mask[..., None], batch.state, other.state),
        action=torch.where(real, batch.action, other.action),
        expert_action=torch.where(real, batch.expert_action, other.expert_action),
    )
    losses = [system.losses(item, generator())[name].mean().item() for item in (batch, changed)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_targets_have_their_own_memory(name):
    system = only(name)
    trained = {parameter.data_ptr() for parameter in system.parameters() if parameter.requires_grad}
    frozen = {
        parameter.data_ptr() for parameter in system.parameters() if not parameter.requires_grad
    }
    assert not trained & frozen


@pytest.mark.parametrize("name", ["inverse_dynamics", "behaviour_cloning"])
def test_predicted_discrete_action_is_hidden(name):
    """Choices have no gradient: other ones, from a step on, change no prediction up to there."""
    spec = make_discrete_spec()
    system, batch, step = only(name, spec=spec).eval(), make_batch(spec=spec), 1
    other = batch.action.clone()
    other[:, step:] = -other[:, step:]
    predicted, changed = (
        system.objectives[name].predict(Passes(system.model, item, generator()))
        for item in (batch, replace(batch, action=other))
    )
    torch.testing.assert_close(predicted[:, : step + 1], changed[:, : step + 1])


def test_forward_dynamics_cannot_see_next_observation():
    system, batch = only("forward_dynamics"), differentiable(make_batch())
    predicted = system.objectives["forward_dynamics"].predict(
        Passes(system.model, batch, generator())
    )
    for step in range(STEPS - 1):
        expected = [t <= step for t in range(STEPS)]
        assert sensitivity(predicted[:, step], batch.state).tolist() == expected
        assert sensitivity(predicted[:, step], batch.action).tolist() == expected


@pytest.mark.parametrize("attention", ["visual", "inverse"])
def test_inverse_dynamics_cannot_see_its_action(attention):
    config = replace(OBJECTIVES["inverse_dynamics"], attention=attention)
    system = make_system(objectives={"inverse_dynamics": config})
    batch = differentiable(make_batch())
    predicted = system.objectives["inverse_dynamics"].predict(
        Passes(system.model, batch, generator())
    )
    for step in range(STEPS - 1):
        assert not sensitivity(predicted[:, step], batch.action)[step:].any()
        seen = sensitivity(predicted[:, step], batch.state)
        assert seen.tolist() == (
            [False] * STEPS if attention == "visual" else [t <= step + 1 for t in range(STEPS)]
        )


def test_masked_hindsight_cannot_see_hidden_tokens():
    system, batch = only("masked_hindsight"), differentiable(make_batch())
    objective = system.objectives["masked_hindsight"]
    hidden_actions = torch.tensor([False, True, False, True]).expand(3, -1)
    hidden_observations = torch.tensor([False, False, True, False]).expand(3, -1)
    predicted = objective.predict(
        Passes(system.model, batch, generator()), hidden_actions, hidden_observations
    )
    assert sensitivity(predicted, batch.action).tolist() == [True, False, True, False]
    assert sensitivity(predicted, batch.state).tolist() == [True, True, False, True]


@pytest.mark.parametrize("conditioning", ["cross_attention", "prefix"])
@pytest.mark.parametrize("attention", ["causal", "present"])
def test_behaviour_cloning_sees_past_and_prompt(attention, conditioning):
    system = make_system(
        objectives={
            "behaviour_cloning": replace(OBJECTIVES["behaviour_cloning"], attention=attention)
        },
        prompt=make_prompt_config(conditioning=conditioning),
    )
    batch, remembers = differentiable(make_batch()), attention == "causal"
    objective = system.objectives["behaviour_cloning"]
    predicted = objective.predict(Passes(system.model, batch, generator()))
    for step in range(STEPS):
        seen = [t == step or (remembers and t < step) for t in range(STEPS)]
        assert sensitivity(predicted[:, step], batch.state).tolist() == seen
        seen[step] = False
        assert sensitivity(predicted[:, step], batch.action).tolist() == seen
    other_prompts = replace(batch, prompt=batch.prompt[1:] + batch.prompt[:1])
    assert not torch.allclose(
        predicted, objective.predict(Passes(system.model, other_prompts, generator()))
    )
    relabelled = replace(batch, expert_action=-batch.expert_action)
    assert torch.equal(predicted, objective.predict(Passes(system.model, relabelled, generator())))


@pytest.mark.parametrize("conditioning", ["cross_attention", "prefix"])
def test_present_is_a_one_step_window(conditioning):
    system, batch = make_system(prompt=make_prompt_config(conditioning=conditioning)), make_batch()
    tokens = system.model.embed(batch)
    prompt = system.model.encode_prompt(batch.prompt)
    together = system.model.decode_present(tokens.observation, prompt=prompt)
    for step in range(STEPS):
        alone = Tokens(
            *(part[:, step : step + 1] for part in (tokens.visual, tokens.state, tokens.action))
        )
        expected = system.model.decode(alone, "causal", prompt=prompt).observation
        torch.testing.assert_close(together[:, step : step + 1], expected)


def test_camera_names_may_have_dots():
    system = make_system(spec=make_spec(cameras=("arm.left",)))
    batch = make_batch()
    losses = system.losses(replace(batch, images={"arm.left": batch.images["front"]}), generator())
    expected = make_system().losses(batch, generator())
    assert all(torch.equal(loss.value, expected[name].value) for name, loss in losses.items())
