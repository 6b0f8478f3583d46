"""Imagining plans with one shared context, against encoding everything for every candidate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.harness import Row, in_turns, seconds
from manyparts.core.spec import ActionContract, Spec
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.methods.transformer_dynamics import Size, dynamics
from manyparts.models.dynamics.configs import Decoding, DynamicsTransformerConfig
from manyparts.models.dynamics.transformer import DynamicsTransformer
from manyparts.objectives.system import System

CANDIDATES, HORIZON, CONTEXT = 128, 25, 16  # the paper's; the latter two in steps
OBSERVED, ACTED = 5, 1  # numbers of cartpole's observation and action
_ROUNDS = 3


def make_model(
    decoding: Decoding, size: Size = "laptop", *, observed: int = OBSERVED, acted: int = ACTED
) -> DynamicsTransformer:
    """Return a preset's model with random weights and a context of 16 steps.

    Its bins are uniform. With the preset's bins, which reach to 256 stds, the expectation of an
    untrained distribution is chaotic: differences from rounding would grow from step to step.

    Args:
        decoding: How the numbers of a step are decoded.
        size: The preset's size.
        observed: Numbers of an observation.
        acted: Numbers of an action.
    """
    motors = tuple(f"motor_{index}" for index in range(acted))
    contract = ActionContract("control", "joints", motors, (-1.0,) * acted, (1.0,) * acted, 100.0)
    names = tuple(f"state_{index}" for index in range(observed))
    spec = Spec(embodiment="body", cameras={}, state_names=names, action=contract)
    config = dynamics(decoding, size)
    assert isinstance(config.model, DynamicsTransformerConfig)
    model = replace(config.model, tokeniser="uniform")
    window = replace(config.window, steps=CONTEXT)
    torch.manual_seed(0)
    return System.build(model, config.objectives, EmbodimentSet((spec,)), window).model.eval()


def random_context(model: DynamicsTransformer) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return random observations, actions and rewards of a full context, and plans (n, t, a)."""
    generator, kept = torch.Generator().manual_seed(0), model.steps - 1
    shapes = (
        (kept + 1, model.state_dimension),
        (kept, model.action_dimension),
        (kept,),
        (CANDIDATES, HORIZON, model.action_dimension),
    )
    observation, action, reward, plans = (
        torch.randn(shape, generator=generator) for shape in shapes
    )
    return observation, action.clamp(-1, 1), reward, plans.clamp(-1, 1)


def imagine(model: DynamicsTransformer, inputs: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
    """Return every candidate's rewards (n, t)."""
    *context, plans = inputs
    return model.encode(*context).imagined(plans).reward


@torch.inference_mode()
def imagine_plainly(
    model: DynamicsTransformer, inputs: tuple[Tensor, Tensor, Tensor, Tensor]
) -> Tensor:
    """Return the same without a cache: at every step the whole sequence of every candidate.

    All candidates are one batch, and heads predict the last step alone.
    """
    observation, action, reward, plans = inputs
    observations = observation.expand(CANDIDATES, -1, -1)
    actions, earned = action.expand(CANDIDATES, -1, -1), reward.expand(CANDIDATES, -1)
    rewards = []
    for step in range(plans.shape[1]):
        actions = torch.cat([actions, plans[:, step : step + 1]], dim=1)
        # The reward of the step that is predicted is not known yet; no prediction reads it.
        rewards_so_far = torch.cat([earned, earned.new_zeros(CANDIDATES, 1)], dim=1)
        predicted = model.last(model.sequence(observations, actions, rewards_so_far))
        rewards.append(predicted[:, -1])
        following = observations[:, -1:] + predicted[:, None, : model.state_dimension]
        observations = torch.cat([observations, following], dim=1)
        earned = torch.cat([earned, predicted[:, -1:]], dim=1)
    return torch.stack(rewards, dim=1)


def measure() -> Iterator[Row]:
    """Measure 128 candidates, 25 steps ahead, all numbers of a step at once."""
    model = make_model("parallel")
    context = random_context(model)
    difference = (imagine(model, context) - imagine_plainly(model, context)).abs().max().item()
    value, baseline = in_turns(
        lambda: 1 / seconds(lambda: imagine(model, context)),
        lambda: 1 / seconds(lambda: imagine_plainly(model, context)),
        rounds=_ROUNDS,
    )
    note = (
        f"plans of {CANDIDATES} x {HORIZON} steps, cartpole's size; "
        f"rewards differ by at most {difference:.0e}"
    )
    yield Row("plan-shared-cache", value, baseline, "plans/s", note, min_ratio=10.0)
