"""The dynamics transformer as a world model: its cache, its candidates and its distributions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from imaginations import (
    DECODINGS,
    context_of,
    expected_next,
    make_transformer,
    require_candidates_apart,
)
from torch.nn import functional as F

from manyparts.core.errors import UserError
from manyparts.models.dynamics.distributional import Distributional
from manyparts.models.dynamics.world_model import ProposesActions, WorldModel, step_by_step


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize("length", [1, 4])
def test_cached_step_equals_whole_sequence(decoding: str, length: int) -> None:
    model = make_transformer(decoding)
    observation, action, reward = context_of(model, length)
    candidates = torch.rand(3, 2, model.action_dimension) * 2 - 1
    imagination = model.encode(observation, action, reward).imagine(3)
    first, second = (imagination.step(candidates[:, step]) for step in range(2))
    for row in range(3):
        seen, acted, earned = (
            observation,
            torch.cat([action, candidates[row, :1]]),
            torch.cat([reward, torch.zeros(1)]),
        )
        next_observation, next_reward = expected_next(model, seen, acted, earned)
        torch.testing.assert_close(first.observation[row], next_observation, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(first.reward[row], next_reward, atol=1e-4, rtol=1e-4)
        seen = torch.cat([seen, first.observation[row][None]])
        acted = torch.cat([acted, candidates[row, 1:]])
        earned = torch.cat([reward, first.reward[row][None], torch.zeros(1)])
        next_observation, next_reward = expected_next(model, seen, acted, earned)
        torch.testing.assert_close(second.observation[row], next_observation, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(second.reward[row], next_reward, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("decoding", DECODINGS)
def test_long_imagination_sees_one_window(decoding: str) -> None:
    model = make_transformer(decoding, steps=3)
    observation, action, reward = context_of(model, 3)
    plan = torch.rand(1, 7, model.action_dimension) * 2 - 1
    imagination = model.encode(observation, action, reward).imagine(1)
    for step in range(7):
        acted = torch.cat([action, plan[0, : step + 1]])
        expected = expected_next(model, observation, acted, torch.cat([reward, torch.zeros(1)]))
        prediction = imagination.step(plan[:, step])
        for one, other in zip(prediction, expected, strict=True):
            torch.testing.assert_close(one[0], other, atol=1e-4, rtol=1e-4)
        observation, reward = (
            torch.cat([observation, prediction.observation]),
            torch.cat([reward, prediction.reward]),
        )
    assert all(
        past.own[0].shape[2] <= 3 * model.tokens_per_step and past.shared is None
        for past in imagination._past
    )


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize("length", [2, 3, 4, 5, 7, 8, 12])
def test_extended_context_equals_encoded_one(decoding: str, length: int) -> None:
    """Below and beyond the window of 4 steps, and beyond the 6 earlier steps that layers reach."""
    model = make_transformer(decoding, steps=4)
    assert isinstance(model, WorldModel) and model.receptive_field == 6
    observation, action, reward = context_of(model, length)
    whole = model.encode(observation, action, reward)
    grown = model.encode(observation[:2], action[:1], reward[:1])
    for step in range(1, length - 1):
        grown = grown.extended(action[step], reward[step], observation[step + 1])
    assert (
        whole.end_step - whole.first_step == grown.end_step - grown.first_step == min(length - 1, 3)
    )
    for one, other in zip(whole.cache, grown.cache, strict=True):
        torch.testing.assert_close(one[1], other[1], atol=1e-5, rtol=1e-4)
    tried = torch.rand(2, 3, model.action_dimension)
    imaginations = whole.imagine(2), grown.imagine(2)
    for action in tried.unbind(dim=1):
        for one, other in zip(
            *(imagination.step(action) for imagination in imaginations), strict=True
        ):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("decoding", DECODINGS)
def test_long_context_equals_whole_sequence(decoding: str) -> None:
    model = make_transformer(decoding, steps=4)
    observation, action, reward = context_of(model, 10)
    context = model.encode(observation[:1], action[:0], reward[:0])
    for step in range(9):
        context = context.extended(action[step], reward[step], observation[step + 1])
    tried = torch.rand(1, model.action_dimension)
    prediction = context.imagine(1).step(tried)
    whole = expected_next(
        model, observation, torch.cat([action, tried]), torch.cat([reward, torch.zeros(1)])
    )
    torch.testing.assert_close(prediction.observation[0], whole[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(prediction.reward[0], whole[1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("decoding", DECODINGS)
def test_sliding_cache_stays_bounded(decoding: str) -> None:
    model = make_transformer(decoding, steps=4)
    context = model.encode(*context_of(model, 1))
    for _ in range(9):
        context = context.extended(
            torch.rand(model.action_dimension),
            torch.tensor(0.5),
            torch.randn(model.state_dimension),
        )
    room = {key.shape[1] for key, _ in context.cache}
    kept = 3 * model.tokens_per_step + (model.state_dimension if decoding == "sequential" else 0)
    assert room == {kept} and context.end_step - context.first_step == 3
    assert torch.isfinite(
        context.imagine(2).step(torch.zeros(2, model.action_dimension)).observation
    ).all()


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize("following", ["expectation", "sample"])
def test_transformer_candidates_are_independent(decoding: str, following: str) -> None:
    model = make_transformer(decoding, next=following)
    context = model.encode(*context_of(model, 3))
    plans = torch.rand(4, 3, model.action_dimension) * 2 - 1
    require_candidates_apart(context, plans)


def test_shared_cache_is_not_copied() -> None:
    model = make_transformer()
    context = model.encode(*context_of(model, 5))
    imagination = context.imagine(50)
    imagination.step(torch.zeros(50, model.action_dimension))
    for past, (key, value) in zip(imagination._past, context.cache, strict=True):
        assert (
            past.shared[0].data_ptr() == key.data_ptr()
            and past.shared[1].data_ptr() == value.data_ptr()
        )
        assert past.own[0].shape[2] == model.tokens_per_step


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize("length", [2, 5, 9])
def test_cumulative_matches_imagined_distribution(
    decoding: str, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contexts below, at and beyond the window.

    Sequential: the reward depends on the action, and each number of the observation on those before
    it as they outcome.
    """
    model = make_transformer(decoding, steps=4)
    assert isinstance(model, Distributional)
    observation, action, reward = context_of(model, length)
    transform = model.cumulative(observation[None], action[None], reward[None])[0]
    assert (
        transform.shape == (model.state_dimension + 1,)
        and ((transform >= 0) & (transform <= 1)).all()
    )
    imagination = model.encode(observation[:-1], action[:-1], reward[:-1]).imagine(1)
    seen_logits: list[torch.Tensor] = []
    for head in (model.changes, model.reward) if decoding == "parallel" else ():
        head.expected.register_forward_hook(
            lambda _, inputs, __, head=head: seen_logits.append(head.logits(*inputs))
        )
    mean = model.bins.mean

    def record(logits: torch.Tensor) -> torch.Tensor:
        seen_logits.append(logits)
        return mean(logits)

    monkeypatch.setattr(model.bins, "mean", record)
    imagination.step(action[-1:])
    logits = seen_logits[0].reshape(-1, model.config.bins)
    if decoding == "parallel":  # all changes at once, then the reward; else the reward comes first
        logits = torch.cat([logits, seen_logits[1].reshape(1, -1)])
        outcome = torch.cat([observation[-1] - observation[-2], reward[-1:]])
        torch.testing.assert_close(
            transform, model.bins.cumulative(logits.softmax(-1), outcome), atol=1e-4, rtol=1e-4
        )
    else:
        alone = model.bins.cumulative(logits.softmax(-1), reward[-1:])
        torch.testing.assert_close(transform[-1:], alone, atol=1e-4, rtol=1e-4)
        moved = observation.clone()
        moved[-1, 1] += 1.0
        other = model.cumulative(moved[None], action[None], reward[None])[0]
        assert (other == transform).tolist() == [True, False, False, True]


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize("length", [1, 5, 9])
def test_imagined_policy_equals_whole_sequence(decoding: str, length: int) -> None:
    model = make_transformer(decoding, policy=True)
    observation, action, reward = context_of(model, length)
    context, plans = (
        model.encode(observation, action, reward),
        torch.rand(3, 4, model.action_dimension) * 2 - 1,
    )
    asked, unasked = context.imagine(3), context.imagine(3)
    assert isinstance(asked, ProposesActions)
    seen, acted, earned = (part.expand(3, *part.shape) for part in (observation, action, reward))
    for step in plans.unbind(dim=1):
        padded = F.pad(acted, (0, 0, 0, 1)), F.pad(earned, (0, 1))
        with torch.no_grad():
            expected = model.decide(model.sequence(seen, *padded))[:, -1].clamp(-1, 1)
        torch.testing.assert_close(asked.policy(), expected, atol=1e-4, rtol=1e-4)
        prediction, alone = asked.step(step), unasked.step(step)
        torch.testing.assert_close(prediction.observation, alone.observation)
        torch.testing.assert_close(prediction.reward, alone.reward)
        seen = torch.cat([seen, prediction.observation[:, None]], dim=1)
        acted, earned = (
            torch.cat([acted, step[:, None]], dim=1),
            torch.cat([earned, prediction.reward[:, None]], dim=1),
        )


def test_model_without_policy_refuses_actions() -> None:
    model = make_transformer()
    with pytest.raises(UserError, match="learned no policy"):
        model.encode(*context_of(model, 2)).imagine(1).policy()


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_numbers_not_finite_are_named(decoding: str, soft: bool, bad: float) -> None:
    model = make_transformer(decoding, soft=soft)
    spec = model.embodiments.specs[0]
    steps = context_of(model, 3)
    context = model.encode(*steps)
    for part_index, says in (
        (0, f"observation 1: {spec.state_names[0]}"),
        (1, f"action 1: {spec.action.names[0]}"),
    ):
        wrong = [part.clone() for part in steps]
        wrong[part_index][1, 0] = bad
        with pytest.raises(UserError, match=f"{says} is {bad}; expected finite numbers"):
            model.encode(*wrong)
        with pytest.raises(UserError, match=f"{says} is {bad}"):
            model.cumulative(*(part[None] for part in wrong))
        with pytest.raises(UserError, match=f"{says.replace(' 1', '')} is {bad}"):
            context.extended(wrong[1][1], wrong[2][1], wrong[0][1])
    wrong = [steps[0], steps[1], torch.tensor([0.0, bad])]
    with pytest.raises(UserError, match=f"step 1: reward is {bad}"):
        model.encode(*wrong)
    with pytest.raises(UserError, match=f"step: reward is {bad}"):
        context.extended(steps[1][0], wrong[2][1], steps[0][0])


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize("following", ["expectation", "sample"])
def test_exploding_imagination_predicts_nan(decoding: str, following: str) -> None:
    """A planner sees it by the predictions; it is no error."""
    model = make_transformer(decoding, next=following)
    with torch.no_grad():
        for head in (
            (model.changes.expected, model.changes.bins)
            if decoding == "parallel"
            else (model.head,)
        ):
            head.weight.fill_(torch.nan)
    imagination = model.encode(*context_of(model, 3)).imagine(2)
    for _ in range(3):
        assert imagination.step(torch.zeros(2, model.action_dimension)).observation.isnan().all()


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize("following", ["expectation", "sample"])
def test_whole_plans_equal_single_steps(decoding: str, following: str) -> None:
    model = make_transformer(decoding, next=following)
    context, plans = (
        model.encode(*context_of(model, 4)),
        torch.rand(3, 5, model.action_dimension) * 2 - 1,
    )
    for parallel, expected in zip(
        context.imagined(plans), step_by_step(context.imagine(3), plans), strict=True
    ):
        torch.testing.assert_close(parallel, expected)


@pytest.mark.parametrize("decoding", DECODINGS)
def test_sampled_imagination_uses_its_generator(decoding: str) -> None:
    model = make_transformer(decoding, next="sample")
    context, plans = model.encode(*context_of(model, 3)), torch.rand(2, 3, model.action_dimension)

    def imagined(seed: int | None) -> torch.Tensor:
        imagination = context.imagine(
            2, None if seed is None else torch.Generator().manual_seed(seed)
        )
        return torch.cat(
            [
                torch.cat([p.observation, p.reward[:, None]], 1)
                for p in map(imagination.step, plans.unbind(1))
            ]
        )

    before = torch.get_rng_state()
    assert torch.equal(imagined(3), imagined(3)) and torch.equal(imagined(None), imagined(0))
    assert (imagined(3) != imagined(4)).any(dim=0).all()
    centres = model.bins.centres
    assert (
        decoding == "sequential" or (imagined(3)[:, -1:] == centres).any(dim=1).all()
    )  # rewards, too, are drawn
    assert torch.equal(before, torch.get_rng_state())
    model.config = replace(model.config, next="expectation")
    assert torch.equal(imagined(3), imagined(4))


@pytest.mark.slow
def test_samples_have_predicted_mean() -> None:
    """For a step's first numbers, the observation's changes."""
    model, count = make_transformer(next="sample"), 2000
    (observation, action, reward), acted = (
        context_of(model, 3),
        torch.zeros(1, model.action_dimension),
    )
    context = model.encode(observation, action, reward)
    drawn = [
        context.imagine(1, torch.Generator().manual_seed(seed)).step(acted).observation
        for seed in range(count)
    ]
    values = model.sequence(
        observation[None], torch.cat([action, acted])[None], F.pad(reward, (0, 1))[None]
    )
    with torch.no_grad():
        expected = observation[-1] + model.bins.mean(model(values).logits[0, :-1])
    spread = torch.cat(drawn).std(dim=0) / count**0.5
    assert ((torch.cat(drawn).mean(dim=0) - expected).abs() < 5 * spread).all()
