"""The network of the dynamics transformer: what its predictions depend on, and its settings."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from factories import make_spec
from imaginations import DECODINGS, TRANSFORMER, make_transformer

from manyparts.core.errors import UserError
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.dynamics.transformer import DynamicsTransformer


@pytest.mark.parametrize("decoding", DECODINGS)
def test_predictions_ignore_later_steps(decoding: str) -> None:
    model = make_transformer(decoding)
    values = torch.randn(1, 4, model.state_dimension + model.action_dimension + 1)
    later = values.clone()
    later[:, 3] += 1.0
    with torch.no_grad():
        predicted, moved = (
            [model(each, step=torch.tensor([step])) for step in (2, 3)] for each in (values, later)
        )
    without_reward = (
        slice(None, -1) if decoding == "parallel" else slice(None)
    )  # a reward is predicted from what came of the action
    torch.testing.assert_close(
        predicted[0].expected[:, :3, without_reward], moved[0].expected[:, :3, without_reward]
    )
    assert not torch.allclose(predicted[0].expected[:, 3], moved[0].expected[:, 3])
    if decoding == "parallel":  # the logits of steps 2 and 3
        torch.testing.assert_close(predicted[0].logits[:, :-1], moved[0].logits[:, :-1])
        assert not torch.allclose(predicted[1].logits, moved[1].logits)
    else:
        torch.testing.assert_close(predicted[0].logits[:, :3], moved[0].logits[:, :3])


def test_reward_depends_on_next_observation() -> None:
    """In the middle on the real one; at the last step, and before padding, on the expected one."""
    model = make_transformer()
    values = torch.randn(2, 4, model.state_dimension + model.action_dimension + 1)
    real = torch.tensor([[True] * 4, [True, True, False, False]])
    other = values.clone()
    other[:, 2, : model.state_dimension] += 1.0
    with torch.no_grad():
        before, after = (model(each, real).expected[:, 1, -1] for each in (values, other))
        alone = model(values[:, :2]).expected[:, 1, -1]
    assert not torch.allclose(before[0], after[0])
    torch.testing.assert_close(before[1], after[1])
    torch.testing.assert_close(before[1], alone[1])


def test_reward_is_no_input_in_parallel() -> None:
    model = make_transformer()
    values = torch.randn(1, 4, model.state_dimension + model.action_dimension + 1)
    other = values.clone()
    other[..., -1] += 1.0
    with torch.no_grad():
        torch.testing.assert_close(model(values), model(other))


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"chunk": 2, "steps": 4}, "window.chunk is 2"),
        ({"chunk": 1, "steps": 1}, "window.steps is 1"),
    ],
)
def test_unfitting_windows_are_refused(sizes: dict[str, int], says: str) -> None:
    with pytest.raises(UserError, match=says):
        DynamicsTransformer(TRANSFORMER, EmbodimentSet((make_spec(),)), **sizes)


def test_bad_transformer_settings_are_named() -> None:
    for changes, says in (
        ({"bins": 2}, "model.bins is 2"),
        ({"width": 30, "heads": 4}, "not a multiple"),
        ({"heads": 0}, "model.heads is 0; expected at least 1"),
        ({"layers": -1}, "model.layers is -1; expected at least 1"),
        ({"dropout": 1.5}, "model.dropout is 1.5"),
    ):
        with pytest.raises(UserError, match=says):
            replace(TRANSFORMER, **changes)


@pytest.mark.parametrize("decoding", DECODINGS)
def test_one_pass_equals_two_passes(decoding: str) -> None:
    model = make_transformer(decoding, policy=True)
    values = torch.randn(2, 5, model.state_dimension + model.action_dimension + 1)
    real = torch.tensor([[True] * 5, [True, True, True, False, False]])
    with torch.no_grad():
        following, decided = model.predict_and_decide(values, real, torch.tensor([1, 2]))
        alone = model(values, real, torch.tensor([1, 2]))
        torch.testing.assert_close(following.expected[real], alone.expected[real])
        whole = slice(None) if decoding == "parallel" else real
        torch.testing.assert_close(following.logits[whole], alone.logits[whole])
        torch.testing.assert_close(decided[real], model.decide(values, real)[real])


def test_values_beyond_bins_are_clamped() -> None:
    model = make_transformer()
    values = torch.full(
        (1, 2, model.state_dimension + model.action_dimension + 1), 2 * model.bins.limit
    )
    with torch.no_grad():
        torch.testing.assert_close(model(values).expected, model(100 * values).expected)


@pytest.mark.parametrize("decoding", DECODINGS)
def test_last_step_equals_whole_pass(decoding: str) -> None:
    model = make_transformer(decoding)
    values = torch.randn(2, 9, model.state_dimension + model.action_dimension + 1)
    with torch.no_grad():
        torch.testing.assert_close(
            model.last(values), model(values).expected[:, -1], atol=1e-5, rtol=1e-4
        )
