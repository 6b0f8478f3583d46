"""A whole control step of an agent that plans, against planning that encodes every candidate anew
at every step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmarks.harness import Row, in_turns, seconds
from benchmarks.plan_shared_cache import CANDIDATES, HORIZON, a_context, imagine_plainly, make_model
from manyparts.agents.planning import Carry, MpcAgent
from manyparts.core.records import Observation
from manyparts.embodiment.normalisation import StateNormaliser
from manyparts.models.dynamics.imagination import TransformerImagination
from manyparts.models.dynamics.transformer import DynamicsTransformer
from manyparts.models.dynamics.world_model import Context, Imagination
from manyparts.planners import RandomShootingConfig

_ROUNDS = 3
_STEPS_A_SECOND = 2.0
_USUAL = RandomShootingConfig(candidates=CANDIDATES, horizon=HORIZON)


def measure() -> Iterator[Row]:
    """At TDM's setting; then with four times the candidates and with twice the horizon, against the
    first."""
    model = make_model("parallel")
    usual = Controlled(model, _USUAL)
    value, baseline = in_turns(
        lambda: 1 / seconds(usual.step),
        lambda: 1 / seconds(lambda: plain_step(model, _USUAL)),
        rounds=_ROUNDS,
    )
    note = (
        f"control steps with random shooting, {CANDIDATES} x {HORIZON}, cartpole's size, {1 / value:.2f} s each; "
        f"against encoding context and plan of every candidate at every step, {1 / baseline:.2f} s"
    )
    yield Row(
        "plan-control-step",
        value,
        baseline,
        "steps/s",
        note,
        min_ratio=5.0,
        min_value=_STEPS_A_SECOND,
    )
    for name, config in (
        ("candidates", replace(_USUAL, candidates=4 * CANDIDATES)),
        ("horizon", replace(_USUAL, horizon=2 * HORIZON)),
    ):
        yield _growth(name, usual, Controlled(model, config))


def _growth(name: str, usual: Controlled, larger: Controlled) -> Row:
    """What a larger plan costs, in seconds."""
    value, baseline = in_turns(
        lambda: seconds(larger.step), lambda: seconds(usual.step), rounds=_ROUNDS
    )
    config = larger.config
    note = (
        f"seconds of a control step at {config.candidates} x {config.horizon}, with {larger.megabytes():.0f} MB of "
        f"keys and values; against {CANDIDATES} x {HORIZON}, with {usual.megabytes():.0f} MB"
    )
    return Row(f"plan-control-step-{name}", value, baseline, "s", note)


class Controlled:
    """An agent in the midst of an episode, with a context as long as the model keeps, on the
    model's device. launched: its imaginations go step by step, also where a GPU could replay them
    whole."""

    def __init__(
        self, model: DynamicsTransformer, config: RandomShootingConfig, *, launched: bool = False
    ) -> None:
        self.config, body, device = (
            config,
            model.embodiments.specs[0],
            next(model.parameters()).device,
        )
        units = StateNormaliser((0.0,) * model.state_dimension, (1.0,) * model.state_dimension)
        self._agent = MpcAgent(model, body, units, config, device=device)
        observation, action, reward, plans = (given.to(device) for given in a_context(model))
        start = torch.zeros(config.horizon, model.action_dimension, device=device)
        context = model.encode(observation, action, reward)
        self._carry = Carry(
            _StepByStep(context) if launched else context, plans[0, 0], start, len(action)
        )
        self._seen: Observation = {"images": {}, "state": observation[-1].cpu().numpy()}

    def step(self) -> None:
        _, self._carry = self._agent.act(self._carry, self._seen, None, explore=False)

    def megabytes(self) -> float:
        """What the candidates' own keys and values hold once they have imagined their plans."""
        count, imagination = (
            self.config.candidates,
            self._carry.context.imagine(self.config.candidates),
        )
        for _ in range(self.config.horizon):
            imagination.step(self._carry.action.new_zeros(count, len(self._carry.action)))
        assert isinstance(imagination, TransformerImagination)
        return imagination.nbytes / 1e6


@dataclass(frozen=True)
class _StepByStep:
    """A context without `imagined`."""

    context: Context

    def imagine(self, count: int, generator: torch.Generator | None = None) -> Imagination:
        return self.context.imagine(count, generator)

    def extended(self, action: Tensor, reward: Tensor, observation: Tensor) -> _StepByStep:
        return _StepByStep(self.context.extended(action, reward, observation))


def plain_step(model: DynamicsTransformer, config: RandomShootingConfig) -> Tensor:
    """The first action of the best of as many plans, with nothing kept."""
    observation, action, reward, plans = a_context(model)
    drawn = (config.std * torch.randn(plans.shape)).clamp(-1, 1)
    return drawn[
        imagine_plainly(model, (observation, action, reward, drawn)).sum(dim=1).argmax(), 0
    ]
