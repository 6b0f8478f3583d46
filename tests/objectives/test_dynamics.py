"""What holds for every loss of a dynamics model: it trains, ignores padding, and cannot see its
answer."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from factories import STEPS, generator, make_batch, make_spec

from manyparts.core.errors import UserError
from manyparts.core.records import Batch
from manyparts.data.sampling.config import WindowConfig
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.dynamics.configs import (
    DynamicsConfig,
    DynamicsTransformerConfig,
    EnsembleDynamicsConfig,
    MlpDynamicsConfig,
    RecurrentDynamicsConfig,
)
from manyparts.models.dynamics.step_transformer import BinnedPrediction
from manyparts.objectives.base import objectives_for
from manyparts.objectives.configs import (
    LatentStateConfig,
    NextActionConfig,
    NextStateConfig,
    NextStateLikelihoodConfig,
    NextStepConfig,
)
from manyparts.objectives.next_state_likelihood import bootstrap
from manyparts.objectives.next_step import cross_entropy
from manyparts.objectives.steps import StepPasses, TransformerPasses
from manyparts.objectives.system import MODELS, System

TRANSFORMER = DynamicsTransformerConfig(width=16, layers=1, heads=2, bins=32, tokeniser="uniform")
CASES: dict[str, tuple[DynamicsConfig, Any]] = {
    "parallel": (TRANSFORMER, NextStepConfig()),
    "sequential": (replace(TRANSFORMER, decoding="sequential"), NextStepConfig()),
    "policy": (replace(TRANSFORMER, policy=True), NextActionConfig()),
    "policy, sequential": (
        replace(TRANSFORMER, decoding="sequential", policy=True),
        NextActionConfig(),
    ),
    "mlp": (MlpDynamicsConfig(width=16, layers=2), NextStateConfig()),
    "ensemble": (EnsembleDynamicsConfig(width=16, layers=2), NextStateLikelihoodConfig()),
    "recurrent": (
        RecurrentDynamicsConfig(width=16, variables=4, categories=4),
        LatentStateConfig(),
    ),
}


def make_system(case: str) -> System:
    torch.manual_seed(0)
    model, objective = CASES[case]
    return System.build(
        model,
        {"loss": objective},
        EmbodimentSet((make_spec(),)),
        WindowConfig(steps=STEPS, chunk=1),
    )


def steps_of(size: int = 3, **changes: Any) -> Batch:
    """A batch with an action a step."""
    batch = make_batch(size, **changes)
    single = {
        name: getattr(batch, name)[:, :, :1] for name in ("action", "expert_action", "chunk_mask")
    }
    return replace(batch, **single)


def predicted(system: System, batch: Batch) -> torch.Tensor:
    """(b, t, ...)"""
    passes = MODELS[type(system.model.config)].passes(system.model, batch, generator())
    prediction = system.objectives["loss"].predict(passes)
    if isinstance(prediction, BinnedPrediction):
        return prediction.expected
    return (
        prediction
        if isinstance(prediction, torch.Tensor)
        else torch.cat(prediction, dim=-1).transpose(0, 1).transpose(1, 2)
    )


def test_every_dynamics_objective_is_tested() -> None:
    expected = {
        (model, objective)
        for model, kind in MODELS.items()
        if issubclass(kind.passes, StepPasses)
        for objective in objectives_for(kind.model)
    }
    assert {(type(model), type(objective)) for model, objective in CASES.values()} == expected


@pytest.mark.parametrize("case", CASES)
def test_training_lowers_a_finite_loss(case: str) -> None:
    system, batch = make_system(case), steps_of(8)
    optimizer = torch.optim.Adam(system.parameters(), lr=3e-3)
    losses = []
    for step in range(60):
        optimizer.zero_grad()
        loss = system.losses(batch, generator())["loss"]
        assert loss.value.isfinite().all() and len(loss.value) == len(batch)
        loss.mean().backward()
        if not step:
            untouched = {name for name, value in system.named_parameters() if value.grad is None}
            numbers = [
                f"{head}.{layer}"
                for head in ("changes", "reward")
                for layer in ("expected", "bins")
            ]
            heads = {
                "policy": (*numbers, "outcome.0.0", "outcome.0.2"),
                "policy, sequential": ("head",),
            }
            assert untouched == {
                f"model.{h}.{part}" for h in heads.get(case, ()) for part in ("weight", "bias")
            }
        optimizer.step()
        system.after_step()
        losses.append(loss.mean().item())
    assert losses[-1] < losses[0] - 0.2 * abs(losses[0]), losses[:: len(losses) - 1]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_padded_steps_do_not_matter(case: str, training: bool) -> None:
    system = make_system(case).train(training)
    mask = torch.tensor(
        [[True] * STEPS, [True] * (STEPS - 2) + [False] * 2, [True] + [False] * (STEPS - 1)]
    )
    batch, other = steps_of(mask=mask), steps_of(seed=1)
    changed = {
        "state": torch.where(mask[..., None], batch.state, other.state),
        "action": torch.where(mask[..., None, None], batch.action, other.action),
        "reward": torch.where(mask, batch.reward, other.reward),
    }
    losses = [
        system.losses(each, generator())["loss"] for each in (batch, replace(batch, **changed))
    ]
    assert losses[0].mean().item() == pytest.approx(losses[1].mean().item(), rel=1e-5)
    assert torch.equal(losses[0].mask, losses[1].mask)


@pytest.mark.parametrize("case", CASES)
def test_prediction_sees_no_later_step(case: str) -> None:
    system, batch = make_system(case).eval(), steps_of()
    for step in range(STEPS - 1):
        state, action = batch.state.clone(), batch.action.clone()
        state[:, step + 1 :] += 1.0
        action[:, step + 1 :] = -action[:, step + 1 :]
        hidden, whole = (
            predicted(system, replace(batch, state=state, action=action)),
            predicted(system, batch),
        )
        torch.testing.assert_close(hidden[:, :step], whole[:, :step])
        # "parallel" predicts the reward from what came of the action.
        outcome = slice(-1) if case == "parallel" else slice(None)
        torch.testing.assert_close(hidden[:, step, outcome], whole[:, step, outcome])


@pytest.mark.parametrize("case", ["policy", "policy, sequential"])
def test_policy_sees_no_current_action(case: str) -> None:
    system, batch = make_system(case).eval(), steps_of()
    for step in range(STEPS):
        action, reward, state = batch.action.clone(), batch.reward.clone(), batch.state.clone()
        action[:, step:], reward[:, step:] = -action[:, step:], reward[:, step:] + 1.0
        prediction = predicted(system, replace(batch, action=action, reward=reward))
        torch.testing.assert_close(
            prediction[:, : step + 1], predicted(system, batch)[:, : step + 1]
        )
        state[:, step] += 1.0
        assert not torch.allclose(
            predicted(system, replace(batch, state=state))[:, step], prediction[:, step]
        )


def test_policy_objective_needs_a_policy_head() -> None:
    with pytest.raises(UserError, match=r"model\.policy is False"):
        System.build(
            TRANSFORMER,
            {"loss": NextActionConfig()},
            EmbodimentSet((make_spec(),)),
            WindowConfig(STEPS, 1),
        )


@pytest.mark.parametrize("case", ["mlp", "ensemble"])
def test_prediction_sees_no_reward(case: str) -> None:
    system, batch = make_system(case).eval(), steps_of()
    other = replace(batch, reward=-batch.reward, state=batch.state.clone())
    other.state[:, 0] += 1.0
    torch.testing.assert_close(predicted(system, other)[:, 1:], predicted(system, batch)[:, 1:])


def test_outcomes_are_changes_and_own_rewards() -> None:
    mask = torch.tensor([[True, True, True, False]])
    batch = steps_of(1, mask=mask)
    passes = StepPasses(None, batch, generator())
    torch.testing.assert_close(passes.outcomes[0, 1, :-1], batch.state[0, 2] - batch.state[0, 1])
    assert torch.equal(passes.outcomes[..., -1], batch.reward)
    assert passes.outcome_mask[0, :, 0].tolist() == [True, True, False, False]
    assert passes.outcome_mask[0, :, -1].tolist() == [True, True, True, False]


def test_likelihood_is_of_normal_distribution() -> None:
    system = make_system("ensemble").eval()
    objective, batch = system.objectives["loss"], steps_of()
    passes = StepPasses(system.model, batch, generator())
    prediction = objective.predict(passes)
    normal = torch.distributions.Normal(prediction.mean, (0.5 * prediction.log_variance).exp())
    bound = objective.config.bound * (system.model.highest - system.model.lowest)
    expected = (bound - normal.log_prob(passes.outcomes)).transpose(0, 1)
    torch.testing.assert_close(objective(passes).value, expected)


def test_parallel_numbers_learn_square_error() -> None:
    system, batch = make_system("parallel"), steps_of()
    passes = TransformerPasses(system.model, batch, generator())
    loss, prediction = system.objectives["loss"](passes), passes.prediction
    error = (prediction.expected - passes.outcomes).square()
    one = torch.arange(len(batch)), passes.drawn_step
    likelihood = cross_entropy(system.model, prediction.logits, passes.outcomes[one], 1.0)
    torch.testing.assert_close(loss.value[one], error[one] + 0.01 * likelihood)
    others = torch.ones(loss.value.shape[:2], dtype=torch.bool).index_put(one, torch.tensor(False))
    torch.testing.assert_close(loss.value[others], error[others])
    torch.testing.assert_close(loss.metrics["square_error"], error[passes.outcome_mask].mean())
    likelihood.sum().backward()
    learns = {name for name, value in system.model.named_parameters() if value.grad is not None}
    assert learns == {
        f"{head}.bins.{part}" for head in ("changes", "reward") for part in ("weight", "bias")
    }


def test_sequential_numbers_learn_the_likelihood() -> None:
    mask = torch.tensor([[True] * STEPS, [True] * (STEPS - 1) + [False], [True] * STEPS])
    system, batch = make_system("sequential"), steps_of(mask=mask)
    passes = TransformerPasses(system.model, batch, generator())
    loss, values = system.objectives["loss"](passes), passes.values.flatten(1)
    logits = passes.prediction.logits.flatten(1, 2)
    torch.testing.assert_close(
        loss.value, cross_entropy(system.model, logits[:, :-1], values[:, 1:], 1.0)
    )
    observed, acted = system.model.state_dimension, system.model.action_dimension
    tokens = system.model.tokens_per_step
    indices = torch.arange(STEPS * tokens)
    inputs = (
        ((indices % tokens >= observed) & (indices % tokens < observed + acted))
        .expand(3, -1)
        .clone()
    )
    inputs[1, (STEPS - 1) * tokens :] = True  # padding
    assert torch.equal(loss.mask > 0, ~inputs[:, 1:])


@pytest.mark.parametrize("case", ["policy", "policy, sequential"])
def test_policy_learns_actions_without_noise(case: str) -> None:
    system, batch = make_system(case), steps_of()
    assert not torch.equal(batch.action, batch.expert_action)
    passes = TransformerPasses(system.model, batch, generator())
    wanted = (passes.policy_action - batch.expert_action[:, :, 0]).square()
    torch.testing.assert_close(system.objectives["loss"](passes).value, wanted)


def test_rewards_from_expectations_leave_them_unchanged() -> None:
    system, batch = make_system("parallel"), steps_of()
    passes = TransformerPasses(system.model, batch, generator())
    passes.prediction.expected[:, -1, -1].sum().backward()
    assert system.model.reward.expected.weight.grad is not None
    assert not system.model.changes.expected.weight.grad.any()


def test_distribution_is_learned_at_real_steps() -> None:
    mask = torch.tensor([[True] + [False] * (STEPS - 1), [True] * 3 + [False] * (STEPS - 3)])
    system, drawn = make_system("parallel"), set()
    for seed in range(50):
        batch = steps_of(2, mask=mask)
        drawn.add(
            tuple(
                TransformerPasses(
                    system.model, batch, torch.Generator().manual_seed(seed)
                ).drawn_step.tolist()
            )
        )
    assert drawn == {(0, 0), (0, 1), (0, 2)}


def test_posterior_sees_what_followed() -> None:
    """The reward of a step stands beside the next observation; that of the last real one in its own
    place."""
    system = make_system("recurrent").eval()
    batch = steps_of(2, mask=torch.tensor([[True] * STEPS, [True] * (STEPS - 1) + [False]]))
    for step, steps_by_row in (
        (0, [[1], [1]]),
        (STEPS - 2, [[STEPS - 1], [STEPS - 2]]),
        (STEPS - 1, [[STEPS - 1], []]),
    ):
        changed = replace(batch, reward=batch.reward.clone())
        changed.reward[:, step] += 1.0
        before, after = (system.losses(each, generator())["loss"] for each in (batch, changed))
        moved = (before.value != after.value) & before.mask
        assert [row.nonzero().flatten().tolist() for row in moved] == steps_by_row


@pytest.mark.parametrize(("balance", "still"), [(1.0, "posterior_head"), (0.0, "prior_head")])
def test_divergence_moves_prior_and_posterior(balance: float, still: str) -> None:
    """Of a first step, with observations that hardly count."""
    torch.manual_seed(0)
    model, objective = CASES["recurrent"][0], LatentStateConfig(balance=balance, std=1e6)
    embodiments, window = EmbodimentSet((make_spec(),)), WindowConfig(steps=STEPS, chunk=1)
    system = System.build(model, {"loss": objective}, embodiments, window)
    batch = steps_of(mask=torch.tensor([[True] + [False] * (STEPS - 1)] * 3))
    system.losses(batch, generator())["loss"].mean().backward()
    norms = {
        name: getattr(system.model, name)[-1].bias.grad.norm()
        for name in ("posterior_head", "prior_head")
    }
    moving = norms.pop("prior_head" if still == "posterior_head" else "posterior_head")
    assert moving > 1e-4 and norms[still] < 1e-6 * moving


def test_bootstrap_sample_is_fixed_per_member() -> None:
    batch = replace(steps_of(2000), window=torch.arange(2000) * STEPS)
    times = bootstrap(batch, 3)
    assert torch.equal(times, bootstrap(batch, 3)) and torch.equal(times[:2], bootstrap(batch, 2))
    assert times.mean().item() == pytest.approx(
        1, abs=0.03
    ) and times.var().item() == pytest.approx(1, abs=0.06)
    assert (times == 0).float().mean().item() == pytest.approx(math.exp(-1), abs=0.01)
    assert abs(torch.corrcoef(times.flatten(1))[0, 1]) < 0.03
    shifted = replace(batch, window=batch.window + 1)  # a step that two windows share
    assert torch.equal(bootstrap(shifted, 3)[:, :, :-1], times[:, :, 1:])


def test_only_training_changes_held_out_errors() -> None:
    system, batch = make_system("ensemble"), steps_of(8)
    before = system.model.held_out_error.clone()
    system.losses(batch, generator())
    assert torch.equal(system.model.held_out_error, before)
    system.after_step()
    moved = system.model.held_out_error.clone()
    assert (moved > before).all()
    system.eval().losses(batch, generator())
    system.after_step()
    assert torch.equal(system.model.held_out_error, moved)


def test_elites_have_smallest_held_out_error() -> None:
    system = make_system("ensemble")
    with torch.no_grad():
        system.model.network.layers[-1].bias[:2] += 3.0  # two members are far off
    for number in range(5):
        system.losses(steps_of(8, seed=number), generator())
        system.after_step()
    assert set(system.model.elites.tolist()) == {2, 3, 4, 5, 6}


def test_objective_of_other_model_refused() -> None:
    window = WindowConfig(steps=STEPS, chunk=1)
    with pytest.raises(UserError, match="does not train a MlpDynamics; choices: NextStateConfig"):
        System.build(
            MlpDynamicsConfig(),
            {"loss": NextStateLikelihoodConfig()},
            EmbodimentSet((make_spec(),)),
            window,
        )


@pytest.mark.parametrize(
    ("changes", "says"), [({"bound": -1.0}, "-1.0"), ({"memory": 1.0}, "memory is 1.0")]
)
def test_bad_settings_are_named(changes: dict[str, float], says: str) -> None:
    with pytest.raises(UserError, match=says):
        NextStateLikelihoodConfig(**changes)
