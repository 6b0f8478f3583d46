"""Planners on exactly known worlds: quality, seeds, batches, proposals and refusals."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from factories import generator, make_spec
from planners.worlds import Line, ProposingLine, best_return, regulated, seen

from manyparts.core.errors import UserError
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.dynamics.configs import DynamicsTransformerConfig, EnsembleDynamicsConfig
from manyparts.models.dynamics.ensemble import EnsembleDynamics
from manyparts.models.dynamics.transformer import DynamicsTransformer
from manyparts.models.dynamics.world_model import Context
from manyparts.planners import (
    PLANNERS,
    CemConfig,
    FollowConfig,
    MppiConfig,
    PlannerConfig,
    RandomShootingConfig,
    plan,
)
from manyparts.planners.plans import (
    StepValue,
    imagination_seed,
    moved_on,
    predicted_reward,
    returns,
)
from manyparts.planners.proposals import followed, policy_proposal

HORIZON = 8
CONFIGS: dict[str, PlannerConfig] = {
    "random-shooting": RandomShootingConfig(
        candidates=512, horizon=HORIZON, std=0.7, correlation=0.7
    ),
    "cem": CemConfig(candidates=128, horizon=HORIZON, iterations=4),
    "mppi": MppiConfig(candidates=512, horizon=HORIZON, correlation=0.7),
}
STATE = torch.tensor([0.2, 0.1])  # from here no bound of actions is met
LOST = {
    "random-shooting": 0.25,
    "cem": 0.05,
    "mppi": 0.15,
}  # of what the best plan gains over doing nothing
every_planner = pytest.mark.parametrize("name", CONFIGS)


def zeros(horizon: int = HORIZON) -> torch.Tensor:
    return torch.zeros(horizon, 1)


def test_every_planner_is_tested() -> None:
    tested = {name: type(config) for name, config in CONFIGS.items()}
    assert tested | {"policy": FollowConfig} == dict(PLANNERS)


def test_follow_returns_the_policys_action() -> None:
    proposing = seen(0.0, 0.0, world=ProposingLine(fixed_action=0.25))
    followed_plan = plan(proposing, FollowConfig(), generator(), zeros(1))
    assert followed_plan.action.tolist() == [[0.25]] and followed_plan.predicted_return.isnan()
    with pytest.raises(UserError, match="no policy to follow"):
        plan(seen(0.0, 0.0), FollowConfig(), generator(), zeros(1))
    for unused in (
        {"objective": lambda observation, action, reward: reward + 1},
        {"proposals": zeros(1)[None]},
    ):
        with pytest.raises(UserError, match="a policy is followed as it is"):
            plan(proposing, FollowConfig(), generator(), zeros(1), **unused)


@every_planner
def test_plan_is_near_the_best(name: str) -> None:
    context, config = seen(*STATE.tolist()), CONFIGS[name]
    best, nothing = (
        best_return(STATE, HORIZON),
        returns(context, zeros()[None], config, predicted_reward).item(),
    )
    planned = plan(context, config, generator(), zeros())
    assert planned.action.shape == (HORIZON, 1)
    assert best <= 0 and nothing < best
    assert planned.predicted_return <= best + 1e-4
    assert (best - planned.predicted_return) / (best - nothing) < LOST[name]
    (own,) = returns(context, planned.action[None], config, predicted_reward)
    torch.testing.assert_close(planned.predicted_return, own)


@every_planner
def test_repeated_planning_improves_the_plan(name: str) -> None:
    config = replace(CONFIGS[name], candidates=32, std=0.3, horizon=HORIZON)
    context, start, first = seen(*STATE.tolist()), zeros(), None
    for seed in range(6):
        planned = plan(context, config, generator(seed), start)
        first, start = first or planned, planned.action
    assert planned.predicted_return > first.predicted_return


@every_planner
def test_receding_horizon_stops_the_mass(name: str) -> None:
    state, start, config = torch.tensor([1.0, 0.0]), zeros(), CONFIGS[name]
    for step in range(40):
        planned = plan(seen(*state.tolist()), config, generator(step), start)
        state = seen(*state.tolist()).imagine(1).step(planned.action[:1]).observation[0]
        start = moved_on(planned.action)
    assert state.abs().max() < 0.1


@every_planner
@pytest.mark.parametrize("batch", [1, 7, 100])
def test_batch_size_changes_no_plan(name: str, batch: int) -> None:
    world, proposals = Line(), torch.full((2, HORIZON, 1), -0.2)
    config = replace(CONFIGS[name], candidates=50, **({"elites": 8} if name == "cem" else {}))
    context = seen(*STATE.tolist(), world=world)
    whole = plan(context, config, generator(), zeros(), proposals=proposals)
    world.counts.clear()
    split = plan(context, replace(config, batch=batch), generator(), zeros(), proposals=proposals)
    assert torch.equal(split.action, whole.action) and torch.equal(
        split.predicted_return, whole.predicted_return
    )
    assert max(world.counts) <= batch


@every_planner
def test_batch_size_changes_no_transformer_plan(name: str) -> None:
    config = DynamicsTransformerConfig(width=16, layers=1, heads=2, bins=32, tokeniser="uniform")
    torch.manual_seed(0)
    model = DynamicsTransformer(
        config, EmbodimentSet((make_spec(action=1),)), chunk=1, steps=4
    ).eval()
    context = model.encode(torch.randn(3, model.state_dimension), torch.rand(2, 1), torch.rand(2))
    whole = plan(context, CONFIGS[name], generator(), zeros())
    split = plan(context, replace(CONFIGS[name], batch=50), generator(), zeros())
    torch.testing.assert_close(split.action, whole.action, atol=1e-4, rtol=0)


@every_planner
@pytest.mark.parametrize("drawing", ["parallel", "sequential", "ts1", "tsinf"])
@pytest.mark.slow
def test_batch_size_changes_no_sampled_plan(name: str, drawing: str) -> None:
    """All that is drawn comes from the plan's generator, which draws the plans as it did before."""
    context, config = (
        context_that_draws(drawing),
        replace(CONFIGS[name], candidates=40, **few(name)),
    )
    torch.manual_seed(0)
    whole = plan(context, config, generator(), zeros())
    torch.manual_seed(1)
    split = plan(context, replace(config, batch=13), generator(), zeros())
    torch.testing.assert_close(split.action, whole.action, atol=1e-4, rtol=0)
    torch.testing.assert_close(split.predicted_return, whole.predicted_return, atol=1e-4, rtol=1e-4)
    again = returns(
        context, whole.action[None], config, predicted_reward, imagination_seed(generator())
    )
    torch.testing.assert_close(again[0], whole.predicted_return, atol=1e-4, rtol=1e-4)
    others = [
        returns(
            context, whole.action[None], config, predicted_reward, imagination_seed(generator(seed))
        )
        for seed in (1, 2, 3)
    ]
    assert not torch.allclose(
        torch.cat(others), again
    )  # bins have few centres: one may come to the same sum


def context_that_draws(drawing: str) -> Context:
    torch.manual_seed(0)
    embodiments, sizes = EmbodimentSet((make_spec(action=1),)), {"chunk": 1, "steps": 4}
    model: DynamicsTransformer | EnsembleDynamics
    if drawing in ("parallel", "sequential"):
        config = DynamicsTransformerConfig(
            width=16, layers=1, heads=2, bins=32, tokeniser="uniform", next="sample"
        )
        model = DynamicsTransformer(replace(config, decoding=drawing), embodiments, **sizes).eval()
    else:
        small = {"width": 16, "layers": 2, "members": 4, "elites": 2, "particles": 6}
        model = EnsembleDynamics(
            EnsembleDynamicsConfig(propagation=drawing, **small), embodiments, **sizes
        ).eval()
    return model.encode(torch.randn(3, model.state_dimension), torch.rand(2, 1), torch.rand(2))


@every_planner
def test_seed_determines_the_plan(name: str) -> None:
    context, config = seen(*STATE.tolist()), CONFIGS[name]
    torch.manual_seed(0)
    one = plan(context, config, generator(3), zeros()).action
    torch.manual_seed(1)
    assert torch.equal(plan(context, config, generator(3), zeros()).action, one)
    assert not torch.equal(plan(context, config, generator(4), zeros()).action, one)


@every_planner
def test_policy_proposals_improve_the_plan(name: str) -> None:
    config = replace(CONFIGS[name], candidates=16, horizon=20, proposal_std=0.05, **few(name))
    context, start = seen(*STATE.tolist()), zeros(20)
    proposals = followed(context, STATE, regulated, count=1, horizon=20)
    assert torch.equal(proposals[0, 0], regulated(STATE[None])[0].clamp(-1, 1))
    without = plan(context, config, generator(), start).predicted_return
    with_policy = plan(context, config, generator(), start, proposals=proposals).predicted_return
    assert with_policy > without
    if name != "mppi":  # its plan is a mean
        (proposed,) = returns(context, proposals, config, predicted_reward)
        assert with_policy >= proposed


def test_policy_proposal_is_the_imagined_policy() -> None:
    context = seen(*STATE.tolist(), world=ProposingLine())
    expected = followed(context, STATE, regulated, count=1, horizon=20)
    torch.testing.assert_close(policy_proposal(context, horizon=20), expected)
    exploding = seen(*STATE.tolist(), world=ProposingLine(explodes_above=0.5, fixed_action=0.75))
    assert policy_proposal(exploding, horizon=3).flatten().tolist() == [0.75] * 3
    plans = followed(
        exploding,
        STATE,
        lambda seen: 0 * seen[:, :1] + torch.tensor([[0.75], [0.25]]),
        count=2,
        horizon=3,
    )
    assert plans[..., 0].tolist() == [[0.75] * 3, [0.25] * 3]  # each by itself
    with pytest.raises(UserError, match="no policy to propose plans"):
        policy_proposal(seen(*STATE.tolist()), horizon=3)


@every_planner
def test_plans_stay_within_action_bounds(name: str) -> None:
    out_of_bounds = torch.full((1, HORIZON, 1), -30.0)
    config = replace(CONFIGS[name], std=5.0)
    planned = plan(seen(8.0, 8.0), config, generator(), zeros() + 9, proposals=out_of_bounds)
    assert planned.action.abs().max() <= 1
    assert planned.action[0, 0] < -0.5  # it brakes


@every_planner
def test_own_objective_decides_the_plan(name: str) -> None:
    def to_the_right(
        observation: torch.Tensor, action: torch.Tensor, reward: torch.Tensor
    ) -> torch.Tensor:
        assert observation.shape == (len(reward), 2) and action.shape == (len(reward), 1)
        return observation[:, 0]

    planned = plan(seen(0.0, 0.0), CONFIGS[name], generator(), zeros(), objective=to_the_right)
    assert planned.action[0, 0] > 0.5 and planned.predicted_return > 0


@every_planner
@pytest.mark.parametrize(
    ("objective", "says"),
    [
        (lambda observation, action, reward: observation[:, :1], r"shape \({n}, 1\)"),
        (lambda observation, action, reward: observation, r"shape \({n}, 2\)"),
        (lambda observation, action, reward: observation[:, 0].mean(), r"shape \(\)"),
        (lambda observation, action, reward: reward[:1], r"shape \(1,\)"),
        (lambda observation, action, reward: 0.5, "a float"),
    ],
)
def test_objective_of_other_shape_is_refused(name: str, objective: StepValue, says: str) -> None:
    count = CONFIGS[name].candidates
    says = (
        f"the objective returns {says.format(n=count)}; expected a tensor of shape \\({count},\\)"
    )
    with pytest.raises(UserError, match=says):
        plan(seen(0.0, 0.0), CONFIGS[name], generator(), zeros(), objective=objective)


@every_planner
def test_exploding_candidate_never_wins(name: str) -> None:
    context = seen(-2.0, 0.0, world=Line(explodes_above=0.3))  # it would be best to push hard

    def seductive(
        observation: torch.Tensor, action: torch.Tensor, reward: torch.Tensor
    ) -> torch.Tensor:
        return action[:, 0]  # finite even where what it leads to is not

    config = replace(CONFIGS[name], std=0.3)
    planned = plan(context, config, generator(), zeros(), objective=seductive)
    assert planned.predicted_return.isfinite() and planned.action.max() <= 0.3


@every_planner
def test_planner_refuses_if_all_explode(name: str) -> None:
    context = seen(0.0, 0.0, world=Line(explodes_above=-2))
    with pytest.raises(UserError, match=r"no return of \d+ plans is a finite number"):
        plan(context, CONFIGS[name], generator(), zeros())


@every_planner
def test_constant_objective_gives_finite_plan(name: str) -> None:
    planned = plan(
        seen(0.0, 0.0),
        CONFIGS[name],
        generator(),
        zeros(),
        objective=lambda o, a, r: torch.zeros_like(r),
    )
    assert planned.predicted_return == 0 and planned.action.isfinite().all()


def test_more_iterations_never_hurt() -> None:
    context, plan_returns = seen(*STATE.tolist()), []
    for iterations in range(1, 6):
        config = replace(CONFIGS["cem"], iterations=iterations)
        plan_returns.append(plan(context, config, generator(), zeros()).predicted_return.item())
    assert plan_returns == sorted(plan_returns)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_proposals_not_finite_are_refused(bad: float) -> None:
    proposals = zeros()[None].clone()
    proposals[0, 0, 0] = bad
    with pytest.raises(UserError, match="proposals have actions that are not finite"):
        plan(
            seen(0.0, 0.0),
            RandomShootingConfig(horizon=len(zeros())),
            generator(),
            zeros(),
            proposals=proposals,
        )


def test_proposals_of_other_shape_are_refused() -> None:
    config = RandomShootingConfig(candidates=4, horizon=HORIZON)
    for proposals in (
        torch.zeros(3, HORIZON, 1),
        torch.zeros(1, HORIZON + 1, 1),
        torch.zeros(1, HORIZON, 2),
    ):
        with pytest.raises(UserError, match="expected at most 2 of shape"):
            plan(seen(0.0, 0.0), config, generator(), zeros(), proposals=proposals)
    with pytest.raises(ValueError, match="expected the horizon, 8"):
        plan(seen(0.0, 0.0), config, generator(), zeros(3))


def few(name: str) -> dict[str, int]:
    return {"elites": 4, "iterations": 2} if name == "cem" else {}
