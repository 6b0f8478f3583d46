"""A student of twelve actions with teachers of four and six: what each part reads and learns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from factories import SIZE, STEPS, generator, make_discrete_spec, make_spec
from objectives.test_world import world_batch

from manyparts.core.errors import UserError
from manyparts.core.records import Batch
from manyparts.core.spec import Spec
from manyparts.data.sampling.batches import join_batches
from manyparts.data.sampling.config import WindowConfig
from manyparts.data.sampling.mixture import in_set
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.dynamics.configs import (
    GaussianLatentConfig,
    LatentWorldConfig,
    TaughtWorldConfig,
    TeacherConfig,
)
from manyparts.models.dynamics.latent_context import LatentContext
from manyparts.models.dynamics.teachers import SURPRISE, TAUGHT
from manyparts.objectives.configs import (
    ActionReplayConfig,
    ActorCriticConfig,
    DistillationConfig,
    WorldConfig,
)
from manyparts.objectives.system import MODELS, System

WINDOW = WindowConfig(steps=STEPS, chunk=1)
SEEN = {"latent": GaussianLatentConfig(4), "width": 16, "depth": 4, "head_layers": 1}
IMAGES = LatentWorldConfig(sees="images", **SEEN)


def body(name: str, actions: int) -> Spec:
    return replace(make_spec(action=actions), embodiment=name)


TARGET, SOURCES = body("twelve", 12), (body("four", 4), body("six", 6))
SHARED = (
    TeacherConfig(replace(IMAGES, sources=2), ("four", "six"), {"slot0": (SIZE, SIZE)}, 0, 6),
)
SEPARATE = tuple(
    TeacherConfig(IMAGES, (spec.embodiment,), {"front": (SIZE, SIZE)}, 0, spec.action.dimension)
    for spec in SOURCES
)
every_kind = pytest.mark.parametrize("teachers", [SHARED, SEPARATE], ids=["shared", "separate"])


def make_student(
    teachers: tuple[TeacherConfig, ...] = SHARED,
    target: Spec = TARGET,
    *,
    guide: Any = "input",
    **model: Any,
) -> System:
    torch.manual_seed(0)
    config = TaughtWorldConfig(sees="images", teachers=teachers, replay_width=16, **SEEN, **model)
    objectives = {
        "world": WorldConfig(),
        "actor_critic": ActorCriticConfig(horizon=3, starts=5, width=16, layers=1, guide=guide),
        "distillation": DistillationConfig(),
        "action_replay": ActionReplayConfig(),
    }
    return System.build(config, objectives, EmbodimentSet((target, *SOURCES)), WINDOW)


def student_batch(system: System) -> Batch:
    """Three windows of the student, and three of each source."""
    model, parts = system.model, []
    for number, spec in enumerate(model.embodiments.specs):
        batch = world_batch(spec=spec, seed=number)
        shape = (*batch.mask.shape, len(model.teachers))
        taught = torch.randn(*shape, model.teachers.features, generator=generator(number))
        recorded = {TAUGHT: taught, SURPRISE: torch.rand(shape, generator=generator(number))}
        batch = replace(batch, recorded=recorded, source=torch.full((3,), number - 1))
        parts.append(in_set(batch, model.embodiments, number))
    return join_batches(parts, torch.arange(9))


@every_kind
def test_every_loss_of_other_bodies_is_finite(teachers: tuple[TeacherConfig, ...]) -> None:
    system = make_student(teachers)
    losses = system.losses(student_batch(system), generator())
    assert losses.keys() == {"world", "actor_critic", "distillation", "action_replay"}
    for name, loss in losses.items():
        assert torch.isfinite(loss.mean()), name


def test_imagination_starts_in_own_states() -> None:
    """Windows of sources are rehearsed by the world, and none of them is acted in."""
    system = make_student(rehearse=True)
    batch, passes_of = student_batch(system), MODELS[TaughtWorldConfig].passes
    passes = passes_of(system.model, batch, generator())
    assert len(passes.batch) == 9
    objective = system.objectives["actor_critic"]
    objective.config = replace(objective.config, starts=100)
    start, advice = objective._starts(passes)
    assert len(start.recurrent) == len(advice.source) == 3 * STEPS
    own = {tuple(row) for row in passes.filtered.drawn[:3].flatten(0, 1).tolist()}
    assert {tuple(row) for row in start.drawn.tolist()} == own


def test_actor_has_its_own_actions_alone() -> None:
    """A body of four actions among one of six and one of twelve."""
    system = make_student(target=body("short", 4))
    assert system.model.action_dimension == 6
    objective = system.objectives["actor_critic"]
    features, guide = torch.randn(5, system.model.features), torch.randn(5, 50)
    policy = objective.policy(features, guide)
    assert policy.mode.shape == (5, 4)
    taken = objective.as_input(policy.draw(generator()))
    assert taken.shape == (5, 6)
    assert (taken[:, 4:] == 0).all() and (taken[:, :4] != 0).all()


@pytest.mark.parametrize("source", [0, 1])
def test_padded_actions_are_never_decoded(source: int) -> None:
    """The decoder learns the actions that each source has, and no others."""
    system = make_student()
    batch = student_batch(system)
    rows = torch.tensor([0, 1, 2, *range(3 * (source + 1), 3 * (source + 2))])
    system.losses(batch.rows(rows), generator())["action_replay"].mean().backward()
    touched = system.model.action_vae.action_head.weight.grad.abs().sum(dim=1) > 0
    actions = SOURCES[source].action.dimension
    assert touched.tolist() == [True] * actions + [False] * (12 - actions)


def test_guide_has_no_action_dimension() -> None:
    guides = []
    for target in (TARGET, body("short", 4)):
        system = make_student(target=target)
        model, objective = system.model, system.objectives["actor_critic"]
        noise = objective.guide_noise(model, 5, generator())
        assert noise is not None and noise.shape == (5, 2 * model.action_dimension)
        features, source = torch.randn(5, model.features), torch.tensor([0, 0, 1, 1, 1])
        guides.append(model.action_vae.guide(features, noise, source))
    assert guides[0].shape == guides[1].shape == (5, 50)


def observed(system: System, action: torch.Tensor) -> torch.Tensor:
    """What the teachers make of a second step, after an action (1, 12)."""
    teachers, frames = system.model.teachers, world_batch(1, spec=TARGET).images["front"][0]
    nothing = torch.zeros(1, 0)
    first = teachers.observe(None, None, {"slot0": frames[:1]}, nothing)
    return teachers.observe(first, action, {"slot0": frames[1:2]}, nothing).features[0]


@every_kind
def test_teachers_read_the_first_actions(teachers: tuple[TeacherConfig, ...]) -> None:
    """Of the target's twelve, as many as a teacher has."""
    system = make_student(teachers)
    usual = observed(system, torch.zeros(1, 12))
    sizes = [6, 6] if teachers is SHARED else [4, 6]
    for number in range(12):
        action = torch.zeros(1, 12)
        action[0, number] = 1.0
        changed = (observed(system, action) != usual).any(dim=1)
        assert changed.tolist() == [number < size for size in sizes], number


@every_kind
def test_teachers_without_actions_ignore_them(teachers: tuple[TeacherConfig, ...]) -> None:
    system = make_student(teachers, teacher_actions="none")
    usual = observed(system, torch.zeros(1, 12))
    assert torch.equal(observed(system, torch.ones(1, 12)), usual)
    free = tuple(replace(each, world=replace(each.world, actions="none")) for each in teachers)
    own = make_student(free)
    assert torch.equal(observed(own, torch.ones(1, 12)), observed(own, torch.zeros(1, 12)))


def test_worlds_without_actions_keep_their_source() -> None:
    torch.manual_seed(0)
    config = replace(IMAGES, sources=2, actions="none")
    model = System.build(config, {"world": WorldConfig()}, EmbodimentSet(SOURCES), WINDOW).model
    state, actions = model.initial(torch.zeros(2, 1)), torch.rand(2, 6)
    source = torch.tensor([0, 1])
    once, other = (
        model.advance(state.recurrent, state.drawn, model.conditioned(each, source))
        for each in (actions, -actions)
    )
    assert torch.equal(once, other) and not torch.equal(once[0], once[1])


def test_no_policy_without_actions_is_learned() -> None:
    objectives = {"world": WorldConfig(), "actor_critic": ActorCriticConfig()}
    with pytest.raises(UserError, match="no policy is learned without actions"):
        System.build(replace(IMAGES, actions="none"), objectives, EmbodimentSet((TARGET,)), WINDOW)


def test_plans_are_of_the_own_actions() -> None:
    model = make_student(target=body("short", 4)).model
    context = LatentContext(model, model.initial(torch.zeros(1, 1)))
    plan = torch.rand(3, 4)
    short, long = (context.imagine(3).step(each).reward for each in (plan, torch.zeros(3, 6)))
    assert short.shape == long.shape == (3,) and not torch.equal(short, long)
    with pytest.raises(ValueError, match=r"shape \(3, 7\), expected \(3, 6\)"):
        context.imagine(3).step(torch.zeros(3, 7))


def test_choices_are_guided_as_well() -> None:
    target = replace(make_discrete_spec(), embodiment="chooser")
    system = make_student(target=target)
    assert torch.isfinite(system.losses(student_batch(system), generator())["actor_critic"].mean())
    objective = system.objectives["actor_critic"]
    policy = objective.policy(torch.randn(5, system.model.features), torch.randn(5, 50))
    taken = objective.as_input(policy.mode)
    assert taken.shape == (5, 6) and (taken[:, 1:] == 0).all()
    centres = torch.tensor([-2 / 3, 0, 2 / 3])
    assert ((taken[:, :1] - centres).abs().min(dim=1).values < 1e-6).all()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (TARGET, "actions of four, six mean nothing to twelve; use guide input or none"),
        (replace(make_discrete_spec(), embodiment="chooser"), "chooser acts by choices"),
    ],
)
def test_prior_of_other_actions_is_refused(target: Spec, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_student(target=target, guide="prior")


def test_states_of_other_bodies_are_refused() -> None:
    states = LatentWorldConfig(**SEEN)
    longer = replace(SOURCES[1], state_names=("s0", "s1", "hip"))
    with pytest.raises(UserError, match=r"mean different things \(.*state_names: 3 with hip, 3"):
        System.build(states, {"world": WorldConfig()}, EmbodimentSet((TARGET, longer)), WINDOW)
    two = replace(SOURCES[0], cameras={"front": (SIZE, SIZE), "wrist": (SIZE, SIZE)})
    with pytest.raises(UserError, match=r"numbers of cameras \(twelve 1, four 2\)"):
        System.build(IMAGES, {"world": WorldConfig()}, EmbodimentSet((TARGET, two)), WINDOW)


def test_a_shared_teacher_reads_what_its_source_has() -> None:
    """The fifth number of an action is none of the four that the first body has."""
    teachers = (replace(SHARED[0], actions=(4, 6)),)
    model = make_student(teachers).model
    images, state = {"front": torch.randint(0, 255, (2, 3, SIZE, SIZE)).byte()}, torch.zeros(2, 0)
    before = model.teachers.observe(None, None, images, state)

    def after(number: int) -> torch.Tensor:
        action = torch.zeros(2, 12)
        action[:, number] = 1
        return model.teachers.observe(before, action, images, state).features

    still = model.teachers.observe(before, torch.zeros(2, 12), images, state).features
    for number, moved in ((3, [True, True]), (4, [False, True]), (6, [False, False])):
        assert (after(number) != still).flatten(2).any(-1).tolist() == [moved, moved]
