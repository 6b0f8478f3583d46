"""A whole control step of an agent that plans, against encoding every candidate at every step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmarks.harness import Row, in_turns, seconds
from benchmarks.plan_shared_cache import (
    CANDIDATES,
    HORIZON,
    imagine_plainly,
    make_model,
    random_context,
)
from manyparts.agents.planning import Carry, MpcAgent
from manyparts.core.records import Observation
from manyparts.embodiment.codec import Codec
from manyparts.embodiment.normalisation import StateNormaliser
from manyparts.models.dynamics.imagination import TransformerImagination
from manyparts.models.dynamics.transformer import DynamicsTransformer
from manyparts.models.dynamics.world_model import Context, Imagination
from manyparts.planners import RandomShootingConfig

_ROUNDS = 3
_STEPS_PER_SECOND = 2.0
_USUAL = RandomShootingConfig(candidates=CANDIDATES, horizon=HORIZON)


def measure() -> Iterator[Row]:
    """Measure at TDM's setting; then with four times the candidates and with twice the horizon."""
    model = make_model("parallel")
    usual = Controlled(model, _USUAL)
    value, baseline = in_turns(
        lambda: 1 / seconds(usual.step),
        lambda: 1 / seconds(lambda: plain_step(model, _USUAL)),
        rounds=_ROUNDS,
    )
    note = (
        f"control steps with random shooting, {CANDIDATES} x {HORIZON}, cartpole's size, "
        f"{1 / value:.2f} s each; against encoding context and plan of every candidate at every "
        f"step, {1 / baseline:.2f} s"
    )
    yield Row(
        "plan-control-step",
        value,
        baseline,
        "steps/s",
        note,
        min_ratio=5.0,
        min_value=_STEPS_PER_SECOND,
    )
    for name, config in (
        ("candidates", replace(_USUAL, candidates=4 * CANDIDATES)),
        ("horizon", replace(_USUAL, horizon=2 * HORIZON)),
    ):
        yield _growth(name, usual, Controlled(model, config))


def _growth(name: str, usual: Controlled, larger: Controlled) -> Row:
    """Measure what a larger plan costs, in seconds."""
    value, baseline = in_turns(
        lambda: seconds(larger.step), lambda: seconds(usual.step), rounds=_ROUNDS
    )
    config = larger.config
    note = (
        f"seconds per control step at {config.candidates} x {config.horizon}, with "
        f"{larger.megabytes():.0f} MB of keys and values; against {CANDIDATES} x {HORIZON}, with "
        f"{usual.megabytes():.0f} MB"
    )
    return Row(f"plan-control-step-{name}", value, baseline, "s", note)


class Controlled:
    """An agent during an episode, with a context as long as the model keeps, on its device."""

    def __init__(
        self, model: DynamicsTransformer, config: RandomShootingConfig, *, launched: bool = False
    ) -> None:
        """Make the agent.

        Args:
            model: The dynamics model.
            config: The planner.
            launched: Imagine step by step, even if a GPU could replay a whole plan.
        """
        self.config = config
        spec, device = model.embodiments.specs[0], next(model.parameters()).device
        normaliser = StateNormaliser((0.0,) * model.state_dimension, (1.0,) * model.state_dimension)
        self._agent = MpcAgent(model, Codec(spec, normaliser), config, device=device)
        observation, action, reward, plans = (tensor.to(device) for tensor in random_context(model))
        start = torch.zeros(config.horizon, model.action_dimension, device=device)
        context = model.encode(observation, action, reward)
        self._carry = Carry(
            _StepByStep(context) if launched else context, plans[0, 0], start, len(action)
        )
        self._observation: Observation = {"images": {}, "state": observation[-1].cpu().numpy()}

    def step(self) -> None:
        _, self._carry = self._agent.act(self._carry, self._observation, None, explore=False)

    def megabytes(self) -> float:
        """Return the size of the candidates' own keys and values after imagining their plans."""
        count = self.config.candidates
        imagination = self._carry.context.imagine(count)
        for _ in range(self.config.horizon):
            imagination.step(self._carry.action.new_zeros(count, len(self._carry.action)))
        assert isinstance(imagination, TransformerImagination)
        return imagination.nbytes / 1e6


@dataclass(frozen=True)
class _StepByStep:
    """A context without `imagined`, so that imagination goes step by step."""

    context: Context

    def imagine(self, count: int, generator: torch.Generator | None = None) -> Imagination:
        return self.context.imagine(count, generator)

    def extended(self, action: Tensor, reward: Tensor, observation: Tensor) -> _StepByStep:
        return _StepByStep(self.context.extended(action, reward, observation))


def plain_step(model: DynamicsTransformer, config: RandomShootingConfig) -> Tensor:
    """Return the first action of the best of as many plans, without any cache."""
    observation, action, reward, plans = random_context(model)
    candidates = (config.std * torch.randn(plans.shape)).clamp(-1, 1)
    returns = imagine_plainly(model, (observation, action, reward, candidates)).sum(dim=1)
    return candidates[returns.argmax(), 0]
