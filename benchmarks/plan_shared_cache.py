"""Imagining with one shared context, against encoding context and plan anew for every candidate at
every step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.harness import Row, in_turns, seconds
from manyparts.core.spec import ActionContract, Spec
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.methods.transformer_dynamics import Size, dynamics
from manyparts.models.dynamics.step_transformer import Decoding, DynamicsTransformerConfig
from manyparts.models.dynamics.transformer import DynamicsTransformer
from manyparts.objectives.system import System

CANDIDATES, HORIZON, HISTORY = 128, 25, 16  # of the paper
OBSERVED, ACTED = 5, 1  # cartpole's
_ROUNDS = 3


def make_model(
    decoding: Decoding, size: Size = "laptop", *, observed: int = OBSERVED, acted: int = ACTED
) -> DynamicsTransformer:
    """A preset's with a context of 16 steps, as it is drawn, for a body of so many numbers, by
    default cartpole's.

    Its bins are uniform: number by number, the expectation of a distribution that nothing has
    trained, over bins that reach to 256 stds, is chaotic, and what is rounded differently would
    grow from step to step.
    """
    motors = tuple(f"motor_{index}" for index in range(acted))
    contract = ActionContract("control", "joints", motors, (-1.0,) * acted, (1.0,) * acted, 100.0)
    names = tuple(f"state_{index}" for index in range(observed))
    body = Spec(embodiment="body", cameras={}, state_names=names, action=contract)
    config = dynamics(decoding, size)
    assert isinstance(config.model, DynamicsTransformerConfig)
    drawn, window = (
        replace(config.model, tokeniser="uniform"),
        replace(config.window, steps=HISTORY),
    )
    torch.manual_seed(0)
    return System.build(drawn, config.objectives, EmbodimentSet((body,)), window).model.eval()


def a_context(model: DynamicsTransformer) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Observations, actions and rewards as long as the model keeps them, and plans (n, t, a)."""
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


def imagine(model: DynamicsTransformer, given: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
    """Every candidate's rewards (n, t)."""
    *context, plans = given
    return model.encode(*context).imagined(plans).reward


@torch.inference_mode()
def imagine_plainly(
    model: DynamicsTransformer, given: tuple[Tensor, Tensor, Tensor, Tensor]
) -> Tensor:
    """The same without anything kept: the whole sequence of every candidate at every step, all
    candidates in one batch; what follows is asked of the last step alone."""
    observation, action, reward, plans = given
    seen = observation.expand(CANDIDATES, -1, -1)
    acted, earned = action.expand(CANDIDATES, -1, -1), reward.expand(CANDIDATES, -1)
    rewards = []
    for step in range(plans.shape[1]):
        acted = torch.cat([acted, plans[:, step : step + 1]], dim=1)
        values = model.sequence(
            seen, acted, torch.cat([earned, earned.new_zeros(CANDIDATES, 1)], dim=1)
        )
        found = model.last(values)
        rewards.append(found[:, -1])
        seen = torch.cat([seen, seen[:, -1:] + found[:, None, : model.state_dimension]], dim=1)
        earned = torch.cat([earned, found[:, -1:]], dim=1)
    return torch.stack(rewards, dim=1)


def measure() -> Iterator[Row]:
    """128 candidates, 25 steps ahead, all numbers of a step at once."""
    model = make_model("parallel")
    given = a_context(model)
    difference = (imagine(model, given) - imagine_plainly(model, given)).abs().max().item()
    value, baseline = in_turns(
        lambda: 1 / seconds(lambda: imagine(model, given)),
        lambda: 1 / seconds(lambda: imagine_plainly(model, given)),
        rounds=_ROUNDS,
    )
    note = f"plans of {CANDIDATES} x {HORIZON} steps, cartpole's size; rewards differ by {difference:.0e} at most"
    yield Row("plan-shared-cache", value, baseline, "plans/s", note, min_ratio=10.0)
