"""Imagining with a kept past equals running the whole sequence; candidates share what they have
seen."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from factories import make_spec
from imaginations import history_of, require_candidates_apart
from torch.nn import functional as F

from manyparts.core.errors import UserError
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.dynamics.distributional import Distributional
from manyparts.models.dynamics.step_transformer import DynamicsTransformerConfig
from manyparts.models.dynamics.transformer import DynamicsTransformer
from manyparts.models.dynamics.world_model import ProposesActions, WorldModel, step_by_step
from manyparts.nn.bins import Bins

CONFIG = DynamicsTransformerConfig(width=32, layers=2, heads=2, bins=64, tokeniser="uniform")
DECODINGS = ("parallel", "sequential")


def make_model(decoding: str = "parallel", steps: int = 6, **changes) -> DynamicsTransformer:
    torch.manual_seed(0)
    config = replace(CONFIG, decoding=decoding, **changes)
    return DynamicsTransformer(config, EmbodimentSet((make_spec(),)), chunk=1, steps=steps).eval()


def expected_next(
    model: DynamicsTransformer, observation, action, reward
) -> tuple[torch.Tensor, torch.Tensor]:
    """The last step's prediction, from the whole sequence at once. action, reward: one for each
    observation."""
    values = model.sequence(observation[None], action[None], reward[None])
    with torch.no_grad():
        found = model(values).expected[0]
    if model.config.decoding == "parallel":
        return observation[-1] + found[-1, : model.state_dimension], found[-1, -1]
    last = found[-1, -2]  # the last number of the action tells the reward
    numbers = []
    for place in range(model.state_dimension):  # one number after the other, the whole sequence each time
        values = (
            values.clone() if place else torch.cat([values, torch.zeros_like(values[:, :1])], dim=1)
        )
        if not place:
            values[0, -2, -1] = last
        with torch.no_grad():
            told = model(values).expected[0].flatten()
        begin = (len(observation)) * model.tokens_per_step
        numbers.append(told[begin + place - 1])
        values[0, -1, place] = numbers[-1]
    return torch.stack(numbers), last


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize("length", [1, 4])
def test_cached_step_equals_whole_sequence(decoding: str, length: int) -> None:
    model = make_model(decoding)
    observation, action, reward = history_of(model, length)
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
    model = make_model(decoding, steps=3)
    observation, action, reward = history_of(model, 3)
    plan = torch.rand(1, 7, model.action_dimension) * 2 - 1
    imagination = model.encode(observation, action, reward).imagine(1)
    for step in range(7):
        acted = torch.cat([action, plan[0, : step + 1]])
        told = expected_next(model, observation, acted, torch.cat([reward, torch.zeros(1)]))
        found = imagination.step(plan[:, step])
        for one, other in zip(found, told, strict=True):
            torch.testing.assert_close(one[0], other, atol=1e-4, rtol=1e-4)
        observation, reward = (
            torch.cat([observation, found.observation]),
            torch.cat([reward, found.reward]),
        )
    assert all(
        past.own[0].shape[2] <= 3 * model.tokens_per_step and past.shared is None
        for past in imagination._past
    )


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize("length", [2, 3, 4, 5, 7, 8, 12])
def test_extended_context_equals_encoded_one(decoding: str, length: int) -> None:
    """Below and beyond the model's window of 4 steps, and beyond the 6 before the present that two
    layers reach."""
    model = make_model(decoding, steps=4)
    assert isinstance(model, WorldModel) and model.receptive_field == 6
    observation, action, reward = history_of(model, length)
    whole = model.encode(observation, action, reward)
    grown = model.encode(observation[:2], action[:1], reward[:1])
    for step in range(1, length - 1):
        grown = grown.extended(action[step], reward[step], observation[step + 1])
    assert whole.end_step - whole.first_step == grown.end_step - grown.first_step == min(length - 1, 3)
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
    model = make_model(decoding, steps=4)
    observation, action, reward = history_of(model, 10)
    context = model.encode(observation[:1], action[:0], reward[:0])
    for step in range(9):
        context = context.extended(action[step], reward[step], observation[step + 1])
    tried = torch.rand(1, model.action_dimension)
    found = context.imagine(1).step(tried)
    whole = expected_next(
        model, observation, torch.cat([action, tried]), torch.cat([reward, torch.zeros(1)])
    )
    torch.testing.assert_close(found.observation[0], whole[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.reward[0], whole[1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("decoding", DECODINGS)
def test_sliding_cache_stays_bounded(decoding: str) -> None:
    model = make_model(decoding, steps=4)
    context = model.encode(*history_of(model, 1))
    for _ in range(9):
        context = context.extended(
            torch.rand(model.action_dimension), torch.tensor(0.5), torch.randn(model.state_dimension)
        )
    room = {key.shape[1] for key, _ in context.cache}
    kept = 3 * model.tokens_per_step + (model.state_dimension if decoding == "sequential" else 0)
    assert room == {kept} and context.end_step - context.first_step == 3
    assert torch.isfinite(context.imagine(2).step(torch.zeros(2, model.action_dimension)).observation).all()


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize("following", ["expectation", "sample"])
def test_transformer_candidates_are_independent(
    decoding: str, following: str
) -> None:
    model = make_model(decoding, next=following)
    context = model.encode(*history_of(model, 3))
    plans = torch.rand(4, 3, model.action_dimension) * 2 - 1
    require_candidates_apart(context, plans)


def test_shared_cache_is_not_copied() -> None:
    model = make_model()
    context = model.encode(*history_of(model, 5))
    imagination = context.imagine(50)
    imagination.step(torch.zeros(50, model.action_dimension))
    for past, (key, value) in zip(imagination._past, context.cache, strict=True):
        assert (
            past.shared[0].data_ptr() == key.data_ptr()
            and past.shared[1].data_ptr() == value.data_ptr()
        )
        assert past.own[0].shape[2] == model.tokens_per_step


@pytest.mark.parametrize("decoding", DECODINGS)
def test_predictions_ignore_later_steps(decoding: str) -> None:
    model = make_model(decoding)
    values = torch.randn(1, 4, model.state_dimension + model.action_dimension + 1)
    later = values.clone()
    later[:, 3] += 1.0
    with torch.no_grad():
        found, moved = (
            [model(each, step=torch.tensor([step])) for step in (2, 3)] for each in (values, later)
        )
    told = (
        slice(None, -1) if decoding == "parallel" else slice(None)
    )  # a reward is told from what came of the action
    torch.testing.assert_close(found[0].expected[:, :3, told], moved[0].expected[:, :3, told])
    assert not torch.allclose(found[0].expected[:, 3], moved[0].expected[:, 3])
    if decoding == "parallel":  # the logits of steps 2 and 3
        torch.testing.assert_close(found[0].logits[:, :-1], moved[0].logits[:, :-1])
        assert not torch.allclose(found[1].logits, moved[1].logits)
    else:
        torch.testing.assert_close(found[0].logits[:, :3], moved[0].logits[:, :3])


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize("length", [2, 5, 9])
def test_cumulative_matches_imagined_distribution(decoding: str, length: int) -> None:
    """Histories below, at and beyond the window. Of one number after the other, the reward is told
    by the action alone and each number of the observation by those that came."""
    model = make_model(decoding, steps=4)
    assert isinstance(model, Distributional)
    observation, action, reward = history_of(model, length)
    found = model.cumulative(observation[None], action[None], reward[None])[0]
    assert found.shape == (model.state_dimension + 1,) and ((found >= 0) & (found <= 1)).all()
    imagination = model.encode(observation[:-1], action[:-1], reward[:-1]).imagine(1)
    told: list[torch.Tensor] = []
    for head in (model.changes, model.reward) if decoding == "parallel" else ():
        head.expected.register_forward_hook(
            lambda _, given, __, head=head: told.append(head.logits(*given))
        )
    expected, model.expected = (
        model.expected,
        lambda logits: (told.append(logits), expected(logits))[1],
    )
    imagination.step(action[-1:])
    logits = told[0].reshape(-1, model.config.bins)
    if decoding == "parallel":  # all changes at once, then the reward; else the reward comes first
        logits = torch.cat([logits, told[1].reshape(1, -1)])
        came = torch.cat([observation[-1] - observation[-2], reward[-1:]])
        torch.testing.assert_close(
            found, model.bins.cumulative(logits.softmax(-1), came), atol=1e-4, rtol=1e-4
        )
    else:
        alone = model.bins.cumulative(logits.softmax(-1), reward[-1:])
        torch.testing.assert_close(found[-1:], alone, atol=1e-4, rtol=1e-4)
        moved = observation.clone()
        moved[-1, 1] += 1.0
        other = model.cumulative(moved[None], action[None], reward[None])[0]
        assert (other == found).tolist() == [True, False, False, True]


def test_reward_depends_on_next_observation() -> None:
    """Of steps in the middle what really came, of the last one, and before padding, what is
    expected to."""
    model = make_model()
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
    model = make_model()
    values = torch.randn(1, 4, model.state_dimension + model.action_dimension + 1)
    other = values.clone()
    other[..., -1] += 1.0
    with torch.no_grad():
        torch.testing.assert_close(model(values), model(other))


@pytest.mark.parametrize(("mu", "limit"), [(100.0, 256.0), (0.0, 5.0), (1.7, 1.0)])
def test_bins_reach_up_to_limit(mu: float, limit: float) -> None:
    bins = Bins(1024, mu=mu, limit=limit)
    values = torch.linspace(-limit, limit, 4001)
    decoded = bins.decode(bins.encode(values))
    spacing = 1e-3 * limit if not mu else 0.02 * values.abs() + 0.02
    assert ((decoded - values).abs() <= spacing + 2 * limit / 1024 * (not mu)).all()
    expected = bins.soft_targets(torch.tensor([0.3 * limit]), 1.0) @ bins.centres
    torch.testing.assert_close(expected, torch.tensor([0.3 * limit]), rtol=2e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"chunk": 2, "steps": 4}, "window.chunk is 2"),
        ({"chunk": 1, "steps": 1}, "window.steps is 1"),
    ],
)
def test_unfitting_windows_are_refused(given: dict[str, int], says: str) -> None:
    with pytest.raises(UserError, match=says):
        DynamicsTransformer(CONFIG, EmbodimentSet((make_spec(),)), **given)


def test_bad_transformer_settings_are_named() -> None:
    for changes, says in (
        ({"bins": 2}, "model.bins is 2"),
        ({"width": 30, "heads": 4}, "not a multiple"),
        ({"heads": 0}, "model.heads is 0; expected at least 1"),
        ({"layers": -1}, "model.layers is -1; expected at least 1"),
        ({"dropout": 1.5}, "model.dropout is 1.5"),
    ):
        with pytest.raises(UserError, match=says):
            replace(CONFIG, **changes)


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize("length", [1, 5, 9])
def test_imagined_policy_equals_whole_sequence(
    decoding: str, length: int
) -> None:
    model = make_model(decoding, policy=True)
    observation, action, reward = history_of(model, length)
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
        found, alone = asked.step(step), unasked.step(step)
        torch.testing.assert_close(found.observation, alone.observation)
        torch.testing.assert_close(found.reward, alone.reward)
        seen = torch.cat([seen, found.observation[:, None]], dim=1)
        acted, earned = (
            torch.cat([acted, step[:, None]], dim=1),
            torch.cat([earned, found.reward[:, None]], dim=1),
        )


@pytest.mark.parametrize("decoding", DECODINGS)
def test_one_pass_equals_two_passes(decoding: str) -> None:
    model = make_model(decoding, policy=True)
    values = torch.randn(2, 5, model.state_dimension + model.action_dimension + 1)
    real = torch.tensor([[True] * 5, [True, True, True, False, False]])
    with torch.no_grad():
        following, decided = model.predict_and_decide(values, real, torch.tensor([1, 2]))
        alone = model(values, real, torch.tensor([1, 2]))
        torch.testing.assert_close(following.expected[real], alone.expected[real])
        whole = slice(None) if decoding == "parallel" else real
        torch.testing.assert_close(following.logits[whole], alone.logits[whole])
        torch.testing.assert_close(decided[real], model.decide(values, real)[real])


def test_model_without_policy_refuses_actions() -> None:
    model = make_model()
    with pytest.raises(UserError, match="learned no policy"):
        model.encode(*history_of(model, 2)).imagine(1).policy()


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_numbers_not_finite_are_named(decoding: str, soft: bool, bad: float) -> None:
    model = make_model(decoding, soft=soft)
    body = model.embodiments.specs[0]
    known = history_of(model, 3)
    context = model.encode(*known)
    for place, says in (
        (0, f"observation 1: {body.state_names[0]}"),
        (1, f"action 1: {body.action.names[0]}"),
    ):
        wrong = [part.clone() for part in known]
        wrong[place][1, 0] = bad
        with pytest.raises(UserError, match=f"{says} is {bad}; expected finite numbers"):
            model.encode(*wrong)
        with pytest.raises(UserError, match=f"{says} is {bad}"):
            model.cumulative(*(part[None] for part in wrong))
        with pytest.raises(UserError, match=f"{says.replace(' 1', '')} is {bad}"):
            context.extended(wrong[1][1], wrong[2][1], wrong[0][1])
    wrong = [known[0], known[1], torch.tensor([0.0, bad])]
    with pytest.raises(UserError, match=f"step 1: reward is {bad}"):
        model.encode(*wrong)
    with pytest.raises(UserError, match=f"step: reward is {bad}"):
        context.extended(known[1][0], wrong[2][1], known[0][0])


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize("following", ["expectation", "sample"])
def test_exploding_imagination_predicts_nan(decoding: str, following: str) -> None:
    """A planner tells it by its predictions; none is an error."""
    model = make_model(decoding, next=following)
    with torch.no_grad():
        for head in (
            (model.changes.expected, model.changes.bins)
            if decoding == "parallel"
            else (model.head,)
        ):
            head.weight.fill_(torch.nan)
    imagination = model.encode(*history_of(model, 3)).imagine(2)
    for _ in range(3):
        assert imagination.step(torch.zeros(2, model.action_dimension)).observation.isnan().all()


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize("following", ["expectation", "sample"])
def test_whole_plans_equal_single_steps(decoding: str, following: str) -> None:
    model = make_model(decoding, next=following)
    context, plans = model.encode(*history_of(model, 4)), torch.rand(3, 5, model.action_dimension) * 2 - 1
    for found, expected in zip(
        context.imagined(plans), step_by_step(context.imagine(3), plans), strict=True
    ):
        torch.testing.assert_close(found, expected)


def test_samples_have_predicted_probabilities() -> None:
    """And the same for rows of the same distribution."""
    model, drawing = make_model(), torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(1, 64, generator=torch.Generator().manual_seed(1)).expand(
        2, 20_000, 64
    )
    found = model.sampled(logits, drawing)
    assert found.shape == (2, 20_000) and torch.equal(found[0], found[1])
    shares = torch.bincount(model.bins.encode(found[0]), minlength=64) / 20_000
    torch.testing.assert_close(shares, logits[0, 0].softmax(dim=-1), atol=0.015, rtol=0)
    certain = torch.full((1, 3, 64), -torch.inf)
    certain[0, range(3), [0, 31, 63]] = 0.0
    torch.testing.assert_close(
        model.sampled(certain, drawing), model.bins.centres[[0, 31, 63]][None]
    )


@pytest.mark.parametrize("decoding", DECODINGS)
def test_sampled_imagination_uses_its_generator(decoding: str) -> None:
    model = make_model(decoding, next="sample")
    context, plans = model.encode(*history_of(model, 3)), torch.rand(2, 3, model.action_dimension)

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


def test_values_beyond_bins_are_clamped() -> None:
    model = make_model()
    values = torch.full((1, 2, model.state_dimension + model.action_dimension + 1), 2 * model.bins.limit)
    with torch.no_grad():
        torch.testing.assert_close(model(values).expected, model(100 * values).expected)


def test_samples_have_predicted_mean() -> None:
    """Of a step's first numbers, the observation's changes."""
    model, count = make_model(next="sample"), 2000
    (observation, action, reward), acted = history_of(model, 3), torch.zeros(1, model.action_dimension)
    context = model.encode(observation, action, reward)
    drawn = [
        context.imagine(1, torch.Generator().manual_seed(seed)).step(acted).observation
        for seed in range(count)
    ]
    values = model.sequence(
        observation[None], torch.cat([action, acted])[None], F.pad(reward, (0, 1))[None]
    )
    with torch.no_grad():
        expected = observation[-1] + model.expected(model(values).logits[0, :-1])
    spread = torch.cat(drawn).std(dim=0) / count**0.5
    assert ((torch.cat(drawn).mean(dim=0) - expected).abs() < 5 * spread).all()


@pytest.mark.parametrize("decoding", DECODINGS)
def test_last_step_equals_whole_pass(decoding: str) -> None:
    model = make_model(decoding)
    values = torch.randn(2, 9, model.state_dimension + model.action_dimension + 1)
    with torch.no_grad():
        torch.testing.assert_close(
            model.last(values), model(values).expected[:, -1], atol=1e-5, rtol=1e-4
        )
