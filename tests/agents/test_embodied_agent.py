"""An agent of several embodiments acts for one of them as the model was trained to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange
from embodiments import ARM, BOTH, CRAWLER, make_mixed_batch
from factories import (
    CHUNK,
    INSTRUCTIONS_ALONE,
    SIZE,
    STEPS,
    generator,
    make_model_config,
    make_system,
)

from manyparts.agents.policy import PolicyAgent
from manyparts.core.errors import UserError
from manyparts.core.records import Observation, Prompt
from manyparts.core.serialisation import to_jsonable
from manyparts.core.spec import Spec, TaskEntry
from manyparts.embodiment.embodiment import Embodiment
from manyparts.embodiment.statistics import FeatureStatistics, Statistics
from manyparts.models.checkpoint import CheckpointInfo
from manyparts.objectives.base import Passes
from manyparts.objectives.configs import BehaviourCloningConfig

TASK, OPEN = (TaskEntry("toy/reach", "reach"),), Prompt("open the drawer")
MOMENTS = Statistics(
    {"observation.state": FeatureStatistics(9, (0.0,) * 3, (1.0,) * 3, (0.5,) * 3, (2.0,) * 3)}
)
EMBODIMENTS = (Embodiment(ARM, {}, MOMENTS, TASK), Embodiment(CRAWLER, {}, Statistics({}), TASK))


def make_agent(
    embodiment: str | None,
    *,
    attention: Any = "causal",
    embodiments: tuple[Embodiment, ...] = EMBODIMENTS,
) -> PolicyAgent:
    objectives = {"behaviour_cloning": BehaviourCloningConfig(hidden=16, attention=attention)}
    plain = {
        name: to_jsonable(value)
        for name, value in (("model", make_model_config()), ("objectives", objectives))
    }
    info = CheckpointInfo(
        embodiments=embodiments, window=to_jsonable(INSTRUCTIONS_ALONE), provenance={}, **plain
    )
    return PolicyAgent(make_system(objectives=objectives, spec=BOTH), info, embodiment=embodiment)


def observations(spec: Spec, count: int) -> list[Observation]:
    draw = np.random.default_rng(0)
    images = [
        {name: draw.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8) for name in spec.cameras}
        for _ in range(count)
    ]
    return [
        {"images": each, "state": draw.normal(size=spec.state_dimension).astype(np.float32)}
        for each in images
    ]


@pytest.mark.parametrize("attention", ["causal", "present"])
@pytest.mark.parametrize("number", [0, 1])
def test_embodied_agent_acts_as_model(number: int, attention: str) -> None:
    spec = BOTH.specs[number]
    agent, carry, actions = make_agent(spec.embodiment, attention=attention), None, []
    seen = observations(spec, STEPS * CHUNK)
    for observation in seen:
        action, carry = agent.act(carry, observation, OPEN, explore=False)
        actions.append(action)
    assert agent.spec == spec and actions[0].shape == (spec.action.dimension,)
    done = torch.from_numpy(spec.action.normalise(np.stack(actions))).view(1, STEPS, CHUNK, -1)
    batch = make_mixed_batch((number,))
    frames = {
        slot: rearrange(
            torch.from_numpy(np.stack([o["images"][camera] for o in seen[::CHUNK]])),
            "t h w c -> 1 t c h w",
        )
        for camera, slot in BOTH.slot_of(spec).items()
    }
    state, action = batch.state.clone(), batch.action.clone()
    state[..., : spec.state_dimension] = (
        torch.from_numpy(np.stack([o["state"] for o in seen[::CHUNK]])) - 0.5
    ) / 2
    action[..., : spec.action.dimension] = done
    batch = replace(
        batch, images={**batch.images, **frames}, state=state, action=action, prompt=(OPEN,)
    )
    with torch.no_grad():
        predicted = agent.policy.predict(Passes(agent.model, batch, generator()))
        expected = agent.policy.head.decode(predicted, embodiment=batch.embodiment)
    np.testing.assert_allclose(done, expected[..., : spec.action.dimension], atol=1e-5)
    if spec.action.choices:
        assert {float(action[0]) for action in actions} <= {0.0, 1.0, 2.0}


def test_exploring_samples_discrete_choices() -> None:
    agent, (seen,) = make_agent("crawler"), observations(CRAWLER, 1)
    drawn = {
        float(
            PolicyAgent(agent.system, agent.info, embodiment="crawler", seed=seed).act(
                None, seen, OPEN, explore=True
            )[0][0]
        )
        for seed in range(12)
    }
    assert len(drawn) > 1 and drawn <= {0.0, 1.0, 2.0}


def test_one_of_several_embodiments_is_named() -> None:
    with pytest.raises(UserError, match="several embodiments; name one of them: arm, crawler"):
        make_agent(None)
    with pytest.raises(
        UserError, match=r"not trained for embodiment 'walker'; .*choices: arm, crawler"
    ):
        make_agent("walker")
    kept = (replace(EMBODIMENTS[0], tasks=()), EMBODIMENTS[1])
    assert make_agent(None, embodiments=kept).spec == CRAWLER
    with pytest.raises(UserError, match="not trained for embodiment 'arm'; choices: crawler"):
        make_agent("arm", embodiments=kept)


def test_observation_of_other_embodiment_is_refused() -> None:
    with pytest.raises(UserError, match=r"this agent was trained on .*images\['front'\]"):
        make_agent("arm").act(None, observations(CRAWLER, 1)[0], OPEN, explore=False)
