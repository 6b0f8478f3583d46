"""The recurrent state-space model as a world model: what its state depends on, and its draws."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from factories import make_batch, make_spec
from imaginations import context_of, require_candidates_apart

from manyparts.core.errors import UserError
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.dynamics.configs import RecurrentDynamicsConfig
from manyparts.models.dynamics.recurrent import RecurrentDynamics
from manyparts.models.dynamics.world_model import Context, Imagination, WorldModel
from manyparts.objectives.configs import LatentStateConfig
from manyparts.objectives.latent_state import LatentState
from manyparts.objectives.steps import StepPasses

STEPS = 3


def make_model(**changes: Any) -> RecurrentDynamics:
    torch.manual_seed(0)
    config = RecurrentDynamicsConfig(**({"width": 16, "variables": 4, "categories": 4} | changes))
    return RecurrentDynamics(config, EmbodimentSet((make_spec(),)), chunk=1, steps=STEPS).eval()


def imagined_steps(
    context: Context, model: RecurrentDynamics, steps: int = 2, candidates: int = 3
) -> torch.Tensor:
    imagination = context.imagine(candidates)
    action = (
        torch.rand(
            candidates, steps, model.action_dimension, generator=torch.Generator().manual_seed(1)
        )
        * 2
        - 1
    )
    predictions = [imagination.step(action[:, step]) for step in range(steps)]
    return torch.stack(
        [torch.cat([each.observation, each.reward[:, None]], dim=1) for each in predictions]
    )


def test_recurrent_model_satisfies_world_model() -> None:
    model = make_model()
    context = model.encode(*context_of(model, 3))
    assert (
        isinstance(model, WorldModel)
        and isinstance(context, Context)
        and isinstance(context.imagine(2), Imagination)
    )
    assert imagined_steps(context, model).shape == (2, 3, model.state_dimension + 1)
    with pytest.raises(ValueError, match="actions have shape"):
        context.imagine(2).step(torch.zeros(3, model.action_dimension))
    with pytest.raises(ValueError, match="3 observations, 1 actions"):
        model.encode(
            torch.zeros(3, model.state_dimension),
            torch.zeros(1, model.action_dimension),
            torch.zeros(1),
        )


@pytest.mark.parametrize("length", [1, 2, 3, 5])
def test_extended_context_equals_encoded_one(length: int) -> None:
    model = make_model()
    observation, action, reward = context_of(model, 6)
    grown = model.encode(observation[:length], action[: length - 1], reward[: length - 1])
    for step in range(length, 6):
        grown = grown.extended(action[step - 1], reward[step - 1], observation[step])
    torch.testing.assert_close(
        imagined_steps(grown, model),
        imagined_steps(model.encode(observation, action, reward), model),
    )


def test_recurrent_context_keeps_one_window() -> None:
    model = make_model()
    observation, action, reward = context_of(model, 6)
    whole = imagined_steps(model.encode(observation, action, reward), model)
    kept = model.encode(observation[-STEPS:], action[-STEPS + 1 :], reward[-STEPS + 1 :])
    torch.testing.assert_close(imagined_steps(kept, model), whole)
    earlier = observation.clone()
    earlier[-STEPS] += 3.0  # the first one that is kept
    assert not torch.allclose(imagined_steps(model.encode(earlier, action, reward), model), whole)


def test_objective_predicts_as_imagination() -> None:
    """The loss predicts of the next step what an imagination does."""
    model, batch = make_model(), replace(make_batch(2), mask=torch.ones(2, 4, dtype=torch.bool))
    batch = replace(
        batch,
        **{
            name: getattr(batch, name)[:, :, :1]
            for name in ("action", "expert_action", "chunk_mask")
        },
    )
    model.steps = batch.state.shape[1]
    passes = StepPasses(model, batch, torch.Generator())
    predicted = LatentState(LatentStateConfig(), model).predict(passes)
    for step in range(3):
        context = model.encode(
            batch.state[0, : step + 1], passes.action[0, :step], batch.reward[0, :step]
        )
        imagined = context.imagine(1).step(passes.action[0, step : step + 1])
        torch.testing.assert_close(
            predicted[0, step], torch.cat([imagined.observation[0], imagined.reward])
        )


def test_recurrent_candidates_are_independent() -> None:
    model = make_model()
    context = model.encode(*context_of(model, 2))
    action = (
        torch.rand(4, 3, model.action_dimension, generator=torch.Generator().manual_seed(1)) * 2 - 1
    )
    require_candidates_apart(context, action)


def test_draws_have_predicted_probabilities() -> None:
    model = make_model(uniform=1e-6)
    probabilities = torch.tensor([0.1, 0.2, 0.3, 0.4])
    drawn = model.latent.draw(
        probabilities.log().expand(20_000, 4, 4), torch.Generator().manual_seed(0)
    ).view(-1, 4)
    assert torch.equal(drawn.sum(dim=1).round(), torch.ones(80_000))
    torch.testing.assert_close(drawn.mean(dim=0), probabilities, atol=0.01, rtol=0)
    most_likely = model.latent.draw(probabilities.log().expand(1, 4, 4)).view(-1, 4)
    assert most_likely.argmax(dim=1).tolist() == [3, 3, 3, 3]


def test_gradients_pass_straight_through_draws() -> None:
    model = make_model()
    logits = torch.randn(1, 4, 4, requires_grad=True)
    values = torch.randn(16)
    (
        model.latent.draw(logits.log_softmax(dim=-1), torch.Generator().manual_seed(0)) @ values
    ).sum().backward()
    straight = logits.grad
    logits.grad = None
    (logits.softmax(dim=-1).flatten(-2) @ values).sum().backward()
    torch.testing.assert_close(straight, logits.grad)


def test_no_category_has_zero_probability() -> None:
    model = make_model(uniform=0.1)
    with torch.no_grad():
        model.prior_head[-1].bias += 100 * torch.eye(4)[0].repeat(4)
    probabilities = model.prior(torch.randn(5, 16)).exp()
    torch.testing.assert_close(probabilities.sum(dim=-1), torch.ones(5, 4))
    assert probabilities.min() >= 0.1 / 4 - 1e-6


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"categories": 1}, "categories is 1"),
        ({"uniform": 1.0}, "uniform"),
        ({"uniform": 0.0}, "uniform"),
        ({"width": 0}, "0"),
    ],
)
def test_bad_recurrent_settings_are_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        make_model(**changes)
