"""Every agent refuses observations that do not fit in one line, and never returns nan."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from factories import ANY_PROMPT, SIZE, STATE, make_agent, make_observations, make_spec
from planners.worlds import Line

from manyparts.agents.base import Agent
from manyparts.agents.checks import image_of, state_of
from manyparts.agents.planning import MpcAgent, callable_objective
from manyparts.agents.reactive import ReactiveAgent
from manyparts.core.errors import DatasetWarning, UserError
from manyparts.core.records import Demonstration, Prompt
from manyparts.core.serialisation import to_jsonable
from manyparts.data.sampling.config import WindowConfig
from manyparts.embodiment.codec import Codec
from manyparts.embodiment.embodiment import Embodiment
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.embodiment.normalisation import StateNormaliser
from manyparts.embodiment.statistics import FeatureStatistics, Statistics
from manyparts.methods.inverse_dynamics import finetune, finetune_states
from manyparts.models.checkpoint import CheckpointInfo
from manyparts.objectives.system import System
from manyparts.planners import RandomShootingConfig

OPEN = Prompt("open the drawer")
MOMENTS = FeatureStatistics(10, (-5.0,) * STATE, (5.0,) * STATE, (0.5,) * STATE, (2.0,) * STATE)
CODEC = Codec.of(make_spec(), Statistics({"observation.state": MOMENTS}))


def reactive(state: bool) -> ReactiveAgent:
    config = (finetune_states if state else finetune)("debug")
    spec, window = make_spec(), WindowConfig(steps=1, chunk=1)
    embodiment = Embodiment(spec, {}, Statistics({"observation.state": MOMENTS}), ())
    system = System.build(config.model, config.objectives, EmbodimentSet((spec,)), window)
    written = {name: to_jsonable(getattr(config, name)) for name in ("model", "objectives")}
    return ReactiveAgent(
        system, CheckpointInfo((embodiment,), window=to_jsonable(window), provenance={}, **written)
    )


def planner(**changes: Any) -> MpcAgent:
    spec = replace(make_spec(action=1), state_names=("position", "velocity"))
    codec = Codec(spec, StateNormaliser((0.5,) * 2, (2.0,) * 2))
    return MpcAgent(Line(), codec, RandomShootingConfig(candidates=8, horizon=3), **changes)


WITH_IMAGES: dict[str, Callable[[], Any]] = {
    "policy": make_agent,
    "reactive": lambda: reactive(state=False),
}
WITH_STATE: dict[str, Callable[[], Any]] = {
    "policy": make_agent,
    "reactive": lambda: reactive(state=True),
    "planner": planner,
}


def act(agent: Agent, observation: Any, **parts: Any) -> np.ndarray:
    changed = {**observation, **parts} if isinstance(observation, dict) else observation
    return agent.act(None, changed, OPEN if agent.prompted else None, explore=False)[0]


def observed(agent: Agent) -> dict[str, Any]:
    return {
        **next(make_observations(1)),
        "state": np.full(agent.spec.state_dimension, 0.7, np.float32),
    }


@pytest.mark.parametrize("name", WITH_IMAGES)
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda image: (image / 255).astype(np.float32),
            r"camera 'front' is float32 in .*\(image \* 255\)\.astype",
        ),
        (
            lambda image: image.astype(np.float64),
            r"float64 in \[0, 255\]; images are uint8 .*: image\.astype",
        ),
        (
            lambda image: image.astype(np.int64) - 9,
            r"int64 in \[-9, 246\]; images are uint8 in \[0, 255\]$",
        ),
        (lambda image: image > 128, "camera 'front' is bool; images are uint8"),
        (lambda image: image.astype(np.uint16) * 257, r"uint16 in \[0, 65535\]"),
        (
            lambda image: image.transpose(2, 0, 1),
            r"\(3, 16, 16\); this agent was trained on .*channels come last",
        ),
        (lambda image: image[None], r"one image without a batch, image\[0\]"),
        (lambda image: image[..., :1], r"\(16, 16, 1\); this agent was trained on \(16, 16, 3\)"),
        (lambda image: "picture.png", "camera 'front' is <U11; images are uint8"),
        (lambda image: None, "camera 'front' is object; images are uint8"),
    ],
)
def test_unfitting_images_are_refused(name, change, says):
    agent = WITH_IMAGES[name]()
    observation = observed(agent)
    observation["images"]["front"][0, 0], observation["images"]["front"][0, 1] = 0, 255
    with pytest.raises(UserError, match=says):
        act(agent, observation, images={"front": change(observation["images"]["front"])})


@pytest.mark.parametrize("name", WITH_STATE)
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda state: np.full_like(state, np.nan),
            "observation: .* is nan; expected finite numbers",
        ),
        (
            lambda state: np.full_like(state, -np.inf),
            "observation: .* is -inf; expected finite numbers",
        ),
        (
            lambda state: np.full_like(state, 3e38),
            r"is 3e\+38; this agent was trained on 0.5 with a std of 2",
        ),
        (lambda state: state[None], r"has a state of \(1, \d\); this agent was trained on"),
        (lambda state: state.astype(str), "state is <U32; expected float32"),
        (lambda state: state.astype(np.complex64), "state is complex64; expected float32"),
        (lambda state: [[0.5], [0.5, 0.5]], "state is a list that numpy cannot read"),
        (lambda state: None, r"has a state of \(\)"),
    ],
)
def test_unfitting_states_are_refused(name, change, says):
    agent = WITH_STATE[name]()
    observation = observed(agent)
    with pytest.raises(UserError, match=says):
        act(agent, observation, state=change(observation["state"]))


@pytest.mark.parametrize("name", WITH_STATE)
@pytest.mark.parametrize(
    "change", [np.ndarray.tolist, torch.from_numpy, np.float64, lambda state: state.astype(">f4")]
)
def test_state_types_give_equal_actions(name, change):
    agent = WITH_STATE[name]()
    observation = observed(agent)
    expected = act(agent, observation)
    assert np.array_equal(act(agent, observation, state=change(observation["state"])), expected)


@pytest.mark.parametrize("name", WITH_IMAGES)
def test_image_types_give_equal_actions(name):
    agent = WITH_IMAGES[name]()
    observation = observed(agent)
    image, expected = observation["images"]["front"], act(agent, observation)
    frozen = image.copy()
    frozen.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for same in (torch.from_numpy(image), frozen, np.asfortranarray(image)):
            others = {"front": same, "wrist": np.zeros((4, 4, 3), np.uint8)}
            assert np.array_equal(act(agent, observation, images=others), expected)


@pytest.mark.parametrize("observation", [None, np.zeros(4), [1.0], {}, {"images": 3}])
def test_observations_must_be_mappings(observation):
    for read in (
        lambda: image_of(observation, "front", (SIZE, SIZE)),
        lambda: state_of(observation, CODEC),
    ):
        with pytest.raises(UserError, match=r"act needs an observation|observation has no"):
            read()


@pytest.mark.parametrize("name", {**WITH_IMAGES, **WITH_STATE})
def test_every_agent_needs_an_observation(name):
    for observation in (None, {}):
        with pytest.raises(UserError, match=r"act needs an observation|observation has no"):
            act((WITH_IMAGES | WITH_STATE)[name](), observation)


def test_missing_camera_is_named():
    images = {"top": np.zeros((SIZE, SIZE, 3), np.uint8)}
    with pytest.raises(
        UserError, match=r"no images\['front'\] \(images: 'top'\); this agent was trained on"
    ):
        act(make_agent(), observed(make_agent()), images=images)


def test_no_action_is_ever_nan():
    for agent in (make_agent(), reactive(state=True)):
        with torch.no_grad():
            next(agent.policy.parameters()).fill_(np.nan)
        with pytest.raises(UserError, match="the agent's action a0 is nan"):
            act(agent, observed(agent))


def test_unfitting_prompts_are_refused():
    float_image = {"front": np.zeros((SIZE, SIZE, 3), np.float32)}
    shown = {"front": np.zeros((ANY_PROMPT.demonstration_frames, SIZE, SIZE, 3), np.uint8)}
    agent = make_agent(window=ANY_PROMPT)
    for prompt, says in (
        (
            Prompt(goal=float_image),
            r"prompt's image of 'front' is float32 in \[0, 0\]; images are uint8",
        ),
        (
            Prompt(demonstration=Demonstration(shown, np.zeros((1, 2)))),
            r"actions float64 \(1, 2\); this agent expects",
        ),
        (
            Prompt(demonstration=Demonstration(shown, np.full((3, 2, 2), np.nan))),
            "expects finite numbers",
        ),
    ):
        with pytest.raises(UserError, match=says):
            agent.act(None, observed(agent), prompt, explore=False)


def test_changed_constants_are_warned_of():
    moments = replace(MOMENTS, min=(-5.0, 0.5, -5.0), max=(5.0, 0.5, 5.0), std=(2.0, 0.0, 2.0))
    codec = Codec.of(make_spec(), Statistics({"observation.state": moments}))
    state = np.array([0.1, 0.5, 0.2], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = state_of({"state": state}, codec)
    with pytest.warns(
        DatasetWarning, match="state s1 was always 0.5 in the agent's data and is another now"
    ):
        state_now = state_of({"state": state + np.array([0, 7, 0])}, codec)
    np.testing.assert_allclose(state_now, expected, atol=1e-6)


def test_embodiment_without_state_needs_none():
    spec = replace(make_spec(), state_names=())
    assert state_of({"images": {}}, Codec(spec, StateNormaliser((), ()))).shape == (0,)
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    assert image_of({"images": {"front": image}}, "front", (SIZE, SIZE)) is image


@pytest.mark.parametrize(
    "objective", [3, "go", lambda observation: observation, lambda a, b, c, d: a]
)
def test_objectives_must_be_callable(objective):
    with pytest.raises(UserError, match=r"the objective (is|cannot be called)"):
        callable_objective(objective)


def test_objective_may_return_float64():
    agent = planner(objective=lambda observation, action, reward: -observation[:, 0].double())
    assert act(agent, observed(agent)).dtype == np.float32
