"""Acting by planning: the context, the memory, units and refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from factories import make_discrete_spec, make_spec
from planners.worlds import Line, ProposingLine, regulated

from manyparts.agents.base import Agent
from manyparts.agents.planning import MpcAgent
from manyparts.core.errors import UserError
from manyparts.core.records import Observation, Prompt
from manyparts.core.spec import Spec
from manyparts.embodiment.codec import Codec
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.embodiment.normalisation import StateNormaliser
from manyparts.models.dynamics.configs import DynamicsTransformerConfig
from manyparts.models.dynamics.transformer import DynamicsTransformer
from manyparts.planners import CemConfig, MppiConfig, RandomShootingConfig
from manyparts.planners.proposals import followed

NORMALISER = StateNormaliser((0.5, 0.0), (2.0, 4.0))
PLANNER = CemConfig(candidates=32, horizon=6, elites=8)


def line_spec(**changes) -> Spec:
    """Return the spec of a `Line` with actions from -2 to 2."""
    return replace(make_spec(action=1), state_names=("position", "velocity"), **changes)


def make(world: Line | None = None, **changes) -> MpcAgent:
    return MpcAgent(
        world or Line(), Codec(line_spec(), NORMALISER), **{"planner": PLANNER, **changes}
    )


def observed(*state: float) -> Observation:
    """Return the observation of a normalised state, in the simulator's units."""
    return {"images": {}, "state": NORMALISER.inverse(np.array(state))}


def test_context_holds_observations_actions_predicted_rewards() -> None:
    agent, carry, actions, states = make(), None, [], [(1.0, 0.0), (0.9, -0.1), (0.7, -0.3)]
    for state in states:
        action, carry = agent.act(carry, observed(*state), None, explore=False)
        actions.append(action)
    assert isinstance(agent, Agent)
    context = carry.context
    torch.testing.assert_close(context.observation, torch.tensor(states))
    torch.testing.assert_close(context.action, torch.tensor(np.stack(actions[:2])) / 2)
    for step in range(2):  # the reward that the model predicts after what was really seen
        before = agent.model.encode(
            context.observation[: step + 1], context.action[:step], context.reward[:step]
        )
        torch.testing.assert_close(
            context.reward[step], before.imagine(1).step(context.action[step][None]).reward[0]
        )


@pytest.mark.parametrize(
    "planner",
    [
        RandomShootingConfig(candidates=8, horizon=3),
        CemConfig(candidates=8, horizon=3, elites=2, iterations=1),
    ],
)
def test_imagined_plans_are_those_that_were_tried(planner: Any) -> None:
    """Both planners take one of the plans that they drew: its path is among those shown."""
    agent, before, carry = make(planner=planner), None, None
    for state in [(1.0, 0.0), (0.9, -0.1), (0.7, -0.3)]:
        before, (_, carry) = carry, agent.act(carry, observed(*state), None, explore=False)
        shown = agent.imagined(before, carry, 8)
        assert shown.plan.shape == (3, 2) and shown.tried.shape == (8, 3, 2)
        assert np.abs(shown.tried - shown.plan).max(axis=(1, 2)).min() < 1e-5
        first = agent.model.encode(torch.tensor([state]), torch.zeros(0, 1), torch.zeros(0))
        after = first.imagine(1).step(carry.action[None]).observation[0].numpy()
        np.testing.assert_allclose(shown.plan[0], NORMALISER.inverse(after), atol=1e-5)
    assert agent.imagined(before, carry, 2).tried.shape == (2, 3, 2)


def test_agent_acts_in_simulator_units() -> None:
    agent, carry, state = (
        make(planner=MppiConfig(candidates=64, horizon=10)),
        None,
        torch.tensor([1.0, 0.0]),
    )
    for _ in range(40):
        action, carry = agent.act(carry, observed(*state.tolist()), None, explore=False)
        assert action.dtype == np.float32 and action.shape == (1,) and abs(action[0]) <= 2
        pushed = torch.from_numpy(agent.spec.action.normalise(action))[None]
        state = (
            Line()
            .encode(state[None], torch.zeros(0, 1), torch.zeros(0))
            .imagine(1)
            .step(pushed)
            .observation[0]
        )
    assert state.abs().max() < 0.1


def test_decision_is_function_of_carry() -> None:
    agent = make()
    _, first = agent.act(None, observed(1.0, 0.0), None, explore=False)
    kept = first.plan.clone(), first.action.clone(), first.context.observation.clone(), first.steps
    one, _ = agent.act(first, observed(0.9, -0.1), None, explore=True)
    other, _ = agent.act(first, observed(0.9, -0.1), None, explore=True)
    assert np.array_equal(one, other)
    now = first.plan, first.action, first.context.observation, first.steps
    assert all(
        torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(kept, now, strict=True)
    )


def test_parallel_slots_plan_as_alone() -> None:
    agent, states = (
        make(),
        {slot: [(slot / 4, -0.1 * step) for step in range(4)] for slot in range(3)},
    )
    alone = {slot: act_along(agent, path) for slot, path in states.items()}
    carries: dict = dict.fromkeys(states)
    for step in range(4):
        for slot, path in states.items():
            action, carries[slot] = agent.act(
                carries[slot], observed(*path[step]), None, explore=False
            )
            assert np.array_equal(action, alone[slot][step])


def act_along(agent: MpcAgent, path: list[tuple[float, float]]) -> list[np.ndarray]:
    carry, actions = None, []
    for state in path:
        action, carry = agent.act(carry, observed(*state), None, explore=False)
        actions.append(action)
    return actions


def test_planning_starts_from_last_plan() -> None:
    agent = make(planner=RandomShootingConfig(candidates=2, horizon=6))
    _, carry = agent.act(None, observed(1.0, 0.0), None, explore=False)
    good = replace(carry, plan=torch.tensor([[0.0], [-0.9], [-0.4], [-0.3], [-0.2], [-0.1]]))
    action, next_carry = agent.act(good, observed(1.0, 0.0), None, explore=False)
    assert action[0] == pytest.approx(-1.8)
    torch.testing.assert_close(next_carry.plan, torch.cat([good.plan[1:], good.plan[-1:]]))


def test_exploration_noise_stays_within_bounds() -> None:
    calm, noisy = make(), make(exploration=50.0)
    planned, _ = calm.act(None, observed(1.0, 0.0), None, explore=False)
    explored, carry = calm.act(None, observed(1.0, 0.0), None, explore=True)
    assert not np.array_equal(planned, explored)
    torch.testing.assert_close(carry.action, torch.from_numpy(explored) / 2)
    assert abs(noisy.act(None, observed(1.0, 0.0), None, explore=True)[0][0]) == 2
    assert not np.array_equal(
        make(seed=1).act(None, observed(1.0, 0.0), None, explore=True)[0], explored
    )


def test_objective_gets_simulator_units() -> None:
    calls = []

    def objective(
        observation: torch.Tensor, action: torch.Tensor, reward: torch.Tensor
    ) -> torch.Tensor:
        calls.append((observation, action))
        return observation[:, 0] - 1000 * (action[:, 0] > 1.0)

    agent = make(objective=objective)
    action, _ = agent.act(None, observed(0.25, 0.0), None, explore=False)
    assert 0.2 < action[0] <= 1.0
    assert calls[0][0][:, 0].mean().item() == pytest.approx(0.25 * 2 + 0.5, abs=0.05)
    assert calls[0][1].abs().max() == 2


def test_agent_tries_policy_proposals() -> None:
    def propose(context, state: torch.Tensor) -> torch.Tensor:
        return followed(context, state, regulated, count=1, horizon=6)

    planner = RandomShootingConfig(candidates=2, horizon=6)
    wanted = regulated(torch.tensor([[0.4, 0.0]])).item()
    action, _ = make(planner=planner, propose=propose).act(
        None, observed(0.4, 0.0), None, explore=False
    )
    assert action[0] / 2 == pytest.approx(wanted, abs=1e-5)
    own, _ = make(ProposingLine(), planner=replace(planner, policy_proposals=True)).act(
        None, observed(0.4, 0.0), explore=False
    )
    assert own == action
    with pytest.raises(UserError, match="no policy to propose plans"):
        make(planner=replace(planner, policy_proposals=True)).act(
            None, observed(0.4, 0.0), explore=False
        )


@pytest.mark.parametrize("decoding", ["parallel", "sequential"])
def test_each_step_is_encoded_once(decoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = DynamicsTransformerConfig(
        width=16, layers=1, heads=2, bins=32, tokeniser="uniform", decoding=decoding
    )
    torch.manual_seed(0)
    spec = line_spec()
    model = DynamicsTransformer(config, EmbodimentSet((spec,)), chunk=1, steps=4).eval()
    agent = MpcAgent(model, Codec(spec, NORMALISER), MppiConfig(candidates=4, horizon=6))
    encoded = []
    encode = model.encode
    monkeypatch.setattr(
        model, "encode", lambda *steps: encoded.append(len(steps[0])) or encode(*steps)
    )
    carry, states = None, [(0.1 * step, 0.0) for step in range(7)]
    for state in states:
        action, carry = agent.act(carry, observed(*state), None, explore=False)
    assert encoded == [1] and np.isfinite(action).all()
    assert carry.context.end_step - carry.context.first_step == 3


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (make_discrete_spec(), "continuous actions; 'toy' has choices: left, right, ahead"),
        (replace(make_spec(), state_names=()), "the embodiment 'toy' has no state"),
    ],
)
def test_embodiments_without_planning_are_refused(spec: Spec, says: str) -> None:
    with pytest.raises(UserError, match=says):
        MpcAgent(Line(), Codec(spec, NORMALISER), PLANNER)


def test_unfitting_inputs_are_refused() -> None:
    agent = make()
    with pytest.raises(UserError, match="unprompted agent"):
        agent.act(None, observed(0.0, 0.0), Prompt("go"), explore=False)
    with pytest.raises(UserError, match=r"state of \(3,\); this agent was trained on \(2,\)"):
        agent.act(None, {"images": {}, "state": np.zeros(3, np.float32)}, None, explore=False)
    for bad in (np.nan, np.inf):
        with pytest.raises(
            UserError, match=f"observation: velocity is {bad}; expected finite numbers"
        ):
            agent.act(None, observed(0.0, bad), None, explore=False)
    with pytest.raises(UserError, match="no return of 32 plans is a finite number"):
        make(Line(explodes_above=-2)).act(None, observed(0.0, 0.0), None, explore=False)
