"""Small specs, batches and systems for tests, drawn from explicit generators."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from manyparts.agents.policy import PolicyAgent
from manyparts.core.records import Batch, Observation, Prompt
from manyparts.core.serialisation import to_jsonable
from manyparts.core.spec import ActionContract, Spec
from manyparts.data.sampling.config import WindowConfig
from manyparts.embodiment.embodiment import Embodiment
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.embodiment.statistics import FeatureStatistics, Statistics
from manyparts.models.checkpoint import CheckpointInfo
from manyparts.models.configs import (
    ControlTransformerConfig,
    ConvEncoderConfig,
    PromptConfig,
    SmallTextConfig,
)
from manyparts.objectives.configs import (
    BehaviourCloningConfig,
    ForwardDynamicsConfig,
    InverseDynamicsConfig,
    MaskedHindsightConfig,
)
from manyparts.objectives.system import System

SIZE, STEPS, CHUNK, STATE, ACTION = 16, 4, 2, 3, 2
INSTRUCTIONS_ALONE = WindowConfig(steps=STEPS, chunk=CHUNK)
ANY_PROMPT = WindowConfig(steps=STEPS, chunk=CHUNK, goal_image=True, demonstration_frames=3)
INSTRUCTIONS = ("reach the red ball", "close the drawer gently", "open it")
OBJECTIVES = {
    "forward_dynamics": ForwardDynamicsConfig(),
    "inverse_dynamics": InverseDynamicsConfig(hidden=16),
    "masked_hindsight": MaskedHindsightConfig(hidden=16),
    "behaviour_cloning": BehaviourCloningConfig(hidden=16),
}


def make_spec(*, cameras: tuple[str, ...] = ("front",), action: int = ACTION) -> Spec:
    contract = ActionContract(
        representation="velocity",
        frame="world",
        names=tuple(f"a{index}" for index in range(action)),
        low=(-2.0,) * action,
        high=(2.0,) * action,
        control_rate_hz=10.0,
    )
    states = tuple(f"s{index}" for index in range(STATE))
    return Spec("toy", dict.fromkeys(cameras, (SIZE, SIZE)), states, contract)


def make_prompt_config(**changes: Any) -> PromptConfig:
    return PromptConfig(SmallTextConfig(width=8, heads=2, vocabulary=64), **changes)


def make_discrete_spec(*, choices: tuple[str, ...] = ("left", "right", "ahead")) -> Spec:
    contract = ActionContract.discrete(choices, frame="body", control_rate_hz=10.0)
    return replace(make_spec(), action=contract)


def make_model_config(**changes: Any) -> ControlTransformerConfig:
    small = ControlTransformerConfig(
        encoder=ConvEncoderConfig(width=8, layers=((8, 4, 4),)),
        visual_tokens=2,
        token_maps=2,
        width=16,
        layers=2,
        heads=2,
        prompt=make_prompt_config(),
    )
    return replace(small, **changes)


def make_system(
    *,
    objectives: Any = None,
    spec: Spec | EmbodimentSet | None = None,
    seed: int = 0,
    window: WindowConfig = INSTRUCTIONS_ALONE,
    **changes: Any,
) -> System:
    torch.manual_seed(seed)
    embodiments = spec if isinstance(spec, EmbodimentSet) else EmbodimentSet((spec or make_spec(),))
    system = System.build(
        make_model_config(**changes), objectives or OBJECTIVES, embodiments, window
    )
    with (
        torch.no_grad()
    ):  # prompt layers begin as the identity; let them speak, as after some training
        for block in system.model.prompt_blocks:
            for last in (block.attention.output, block.feed_forward[-1]):
                last.weight.normal_(std=0.1)
    return system


def make_batch(size: int = 3, *, seed: int = 0, spec: Spec | None = None, **changes: Any) -> Batch:
    spec, generator = spec or make_spec(), torch.Generator().manual_seed(seed)
    action = spec.action.dimension

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator) * 2 - 1

    whole = Batch(
        images={
            name: torch.randint(
                0, 256, (size, STEPS, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8
            )
            for name in spec.cameras
        },
        features={},
        state=uniform(size, STEPS, STATE),
        action=uniform(size, STEPS, CHUNK, action),
        expert_action=uniform(size, STEPS, CHUNK, action),
        reward=uniform(size, STEPS),
        timestep=torch.arange(STEPS).expand(size, STEPS) * CHUNK,
        mask=torch.ones(size, STEPS, dtype=torch.bool),
        chunk_mask=torch.ones(size, STEPS, CHUNK, dtype=torch.bool),
        state_mask=torch.ones(size, STATE, dtype=torch.bool),
        action_mask=torch.ones(size, action, dtype=torch.bool),
        prompt=tuple(Prompt(INSTRUCTIONS[index % len(INSTRUCTIONS)]) for index in range(size)),
        window=torch.arange(size),
    )
    return replace(whole, **changes)


def make_agent(
    *, attention: Any = "causal", window: WindowConfig = INSTRUCTIONS_ALONE, **changes: Any
) -> PolicyAgent:
    """An untrained policy; its states have mean 0.5 and std 2."""
    objectives = {"behaviour_cloning": BehaviourCloningConfig(hidden=16, attention=attention)}
    moments = FeatureStatistics(
        count=10, min=(-5.0,) * STATE, max=(5.0,) * STATE, mean=(0.5,) * STATE, std=(2.0,) * STATE
    )
    info = CheckpointInfo(
        embodiments=(Embodiment(make_spec(), {}, Statistics({"observation.state": moments}), ()),),
        model=to_jsonable(make_model_config(**changes)),
        objectives=to_jsonable(objectives),
        window=to_jsonable(window),
        provenance={},
    )
    return PolicyAgent(make_system(objectives=objectives, window=window, **changes), info)


def make_observations(count: int, *, seed: int = 0) -> Iterator[Observation]:
    draw = np.random.default_rng(seed)
    for _ in range(count):
        image = draw.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        yield {"images": {"front": image}, "state": draw.normal(size=STATE).astype(np.float32)}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
