"""The MLP and the ensemble as world models: what they predict, and what it depends on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from factories import make_spec
from imaginations import context_of, require_candidates_apart

from manyparts.core.errors import UserError
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.dynamics.configs import EnsembleDynamicsConfig, MlpDynamicsConfig
from manyparts.models.dynamics.distributional import Distributional
from manyparts.models.dynamics.ensemble import EnsembleDynamics
from manyparts.models.dynamics.mlp import MlpDynamics
from manyparts.models.dynamics.world_model import Context, Imagination, WorldModel

KINDS = ("mlp", "expectation", "ts1", "tsinf")


def make_model(kind: str, seed: int = 0, **changes: Any) -> MlpDynamics | EnsembleDynamics:
    torch.manual_seed(seed)
    embodiments, sizes = EmbodimentSet((make_spec(),)), {"chunk": 1, "steps": 3}
    if kind == "mlp":
        return MlpDynamics(
            MlpDynamicsConfig(width=16, layers=2, **changes), embodiments, **sizes
        ).eval()
    small = {
        "width": 16,
        "layers": 2,
        "members": 4,
        "elites": 2,
        "particles": 6,
        "propagation": kind,
    }
    return EnsembleDynamics(
        EnsembleDynamicsConfig(**(small | changes)), embodiments, **sizes
    ).eval()


def plans(model: Any, candidates: int, steps: int) -> torch.Tensor:
    return (
        torch.rand(
            candidates, steps, model.action_dimension, generator=torch.Generator().manual_seed(1)
        )
        * 2
        - 1
    )


@pytest.mark.parametrize("kind", KINDS)
def test_baselines_satisfy_world_model(kind: str) -> None:
    model = make_model(kind)
    context = model.encode(*context_of(model, 3))
    assert (
        isinstance(model, WorldModel)
        and isinstance(context, Context)
        and isinstance(context.imagine(2), Imagination)
    )
    prediction = context.imagine(2).step(torch.zeros(2, model.action_dimension))
    assert prediction.observation.shape == (
        2,
        model.state_dimension,
    ) and prediction.reward.shape == (2,)
    assert isinstance(model, Distributional) == (kind != "mlp")


@pytest.mark.parametrize("kind", KINDS)
def test_markov_context_ignores_earlier_steps(kind: str) -> None:
    model = make_model(kind)
    observation, action, reward = context_of(model, 4)
    tried = plans(model, 2, 1)[:, 0]
    whole = model.encode(observation, action, reward).imagine(2).step(tried)
    grown = model.encode(observation[:3], action[:2], reward[:2]).extended(
        action[2], reward[2], observation[3]
    )
    alone = model.encode(observation[3:], action[:0], reward[:0])
    for context in (grown, alone):
        for one, other in zip(whole, context.imagine(2).step(tried), strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_baseline_candidates_are_independent(kind: str) -> None:
    """All candidates meet the same noise, also where particles are drawn."""
    model = make_model(kind)
    context, tried = model.encode(*context_of(model, 2)), plans(model, 4, 3)
    require_candidates_apart(context, tried)


def test_mlp_imagination_sums_predicted_changes() -> None:
    model = make_model("mlp")
    observation, tried = context_of(model, 1)[0], plans(model, 3, 2)
    imagination, seen = (
        model.encode(observation, torch.zeros(0, model.action_dimension), torch.zeros(0)).imagine(
            3
        ),
        observation.expand(3, -1),
    )
    for step in range(2):
        prediction, outputs = imagination.step(tried[:, step]), model(seen, tried[:, step])
        seen = seen + outputs[:, :-1]
        torch.testing.assert_close(prediction.observation, seen)
        torch.testing.assert_close(prediction.reward, outputs[:, -1])


def test_expectation_is_mean_of_elites() -> None:
    model = make_model("expectation")
    model.held_out_error.copy_(torch.tensor([0.4, 0.1, 0.3, 0.2]))
    assert model.elites.tolist() == [1, 3]
    observation, tried = context_of(model, 1)[0], plans(model, 3, 1)[:, 0]
    prediction = model.encode(observation, tried[:0], tried[:0, 0]).imagine(3).step(tried)
    expected = model(observation.expand(3, -1), tried).mean[[1, 3]].mean(dim=0)
    torch.testing.assert_close(prediction.observation, observation + expected[:, :-1])
    torch.testing.assert_close(prediction.reward, expected[:, -1])


@pytest.mark.parametrize("kind", ["ts1", "tsinf"])
def test_particles_have_mean_of_mixture(kind: str) -> None:
    model = make_model(kind, particles=20_000)
    observation, tried = context_of(model, 1)[0], plans(model, 2, 1)[:, 0]
    prediction = model.encode(observation, tried[:0], tried[:0, 0]).imagine(2).step(tried)
    gaussians = model(observation.expand(2, -1), tried)
    expected = gaussians.mean[model.elites].mean(dim=0)
    standard_error = (0.5 * gaussians.log_variance).exp().max().item() / 20_000**0.5
    torch.testing.assert_close(prediction.reward, expected[:, -1], atol=5 * standard_error, rtol=0)
    torch.testing.assert_close(
        prediction.observation, observation + expected[:, :-1], atol=5 * standard_error, rtol=0
    )


@pytest.mark.parametrize("kind", ["ts1", "tsinf"])
def test_particles_come_from_the_generator(kind: str) -> None:
    model = make_model(kind)
    seen, tried = context_of(model, 2), plans(model, 2, 1)[:, 0]

    def imagined(seed: int | None) -> torch.Tensor:
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return model.encode(*seen).imagine(2, generator).step(tried).observation

    before = torch.get_rng_state()
    assert torch.equal(imagined(3), imagined(3)) and torch.equal(
        imagined(None), imagined(model.config.seed)
    )
    assert not torch.equal(imagined(3), imagined(4))
    assert torch.equal(before, torch.get_rng_state())


def test_particle_keeps_member_as_configured() -> None:
    """Two members that are certain: one always adds 1, the other takes 1 away."""
    ends = {}
    for kind in ("tsinf", "ts1"):
        model = make_model(kind, members=2, particles=50, log_variance=(-30.0, -20.0))
        last = model.network.layers[-1]
        with torch.no_grad():
            last.weight.zero_()
            last.bias.zero_()
            last.bias[0, 0, : model.state_dimension], last.bias[1, 0, : model.state_dimension] = (
                1.0,
                -1.0,
            )
        imagination = model.encode(
            torch.zeros(1, model.state_dimension),
            torch.zeros(0, model.action_dimension),
            torch.zeros(0),
        ).imagine(1)
        for _ in range(6):
            imagination.step(torch.zeros(1, model.action_dimension))
        ends[kind] = set(imagination._particles[:, 0, 0].round().int().tolist())
    assert ends["tsinf"] == {-6, 6} and {-2, 0, 2} <= ends["ts1"]


def test_log_variances_stay_within_bounds() -> None:
    model = make_model("expectation")
    raw = torch.linspace(-1e3, 1e3, 101)[None, :, None].expand(4, -1, model.state_dimension + 1)
    bounded = model._bounded(raw)
    low, high = model.config.log_variance
    assert bounded.min() >= low - 1e-4 and bounded.max() <= high + 1e-4
    assert (bounded.diff(dim=1) >= -1e-6).all() and bounded[:, 50].allclose(
        torch.tensor(0.0), atol=1.0
    )


def test_cumulative_is_that_of_mixture() -> None:
    model = make_model("expectation")
    observation, action, reward = (part[None] for part in context_of(model, 2))
    gaussians = model(observation[:, 0], action[:, 0])
    outcome = torch.cat([observation[:, 1] - observation[:, 0], reward], dim=-1)
    normal = torch.distributions.Normal(
        gaussians.mean[model.elites], (0.5 * gaussians.log_variance[model.elites]).exp()
    )
    torch.testing.assert_close(
        model.cumulative(observation, action, reward), normal.cdf(outcome).mean(dim=0)
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"elites": 8}, "model.elites is 8; expected at most model.members, 7"),
        ({"elites": 0}, "model.elites is 0"),
        ({"particles": 7}, "multiple of model.elites, 5"),
        ({"log_variance": (1.0, 0.0)}, "the lower bound first"),
    ],
)
def test_bad_ensemble_settings_are_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        EnsembleDynamicsConfig(**changes)


def test_bad_mlp_settings_are_named() -> None:
    with pytest.raises(UserError, match=r"model\.layers is 0"):
        MlpDynamicsConfig(layers=0)


@pytest.mark.parametrize("kind", KINDS)
def test_baselines_refuse_unfitting_shapes(kind: str) -> None:
    model = make_model(kind)
    observation, action, reward = context_of(model, 3)
    with pytest.raises(ValueError, match="3 observations, 1 actions, 1 rewards"):
        model.encode(observation, action[:1], reward[:1])
    with pytest.raises(ValueError, match="actions have shape"):
        model.encode(observation, action, reward).imagine(2).step(
            torch.zeros(3, model.action_dimension)
        )
