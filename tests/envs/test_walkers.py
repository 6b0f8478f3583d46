"""Walkers: bodies by name, universes that share none, bodies that stand and never explode, an
expert that walks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from manyparts.agents.expert import Noise
from manyparts.core.errors import UserError
from manyparts.envs import registry
from manyparts.envs.base import EnvConfig
from manyparts.envs.goals import CELL_METRES, split_of
from manyparts.envs.suites.walkers import SPLITS, TASKS, Walker, rewards
from manyparts.envs.suites.walkers_models import to_mjcf
from manyparts.envs.suites.walkers_morphologies import (
    KINDS,
    UNIVERSES,
    Morphology,
    draw_morphology,
    is_morphology,
)
from manyparts.rollout.collect import collect

pytestmark = pytest.mark.slow

FAMILIES = [f"{universe}-{kind}" for universe in UNIVERSES for kind in KINDS]
MORPHOLOGIES_PER_FAMILY = 50
FURTHER = ("test-planar-0001", "test-free-0000")


def morphologies(family: str, count: int) -> list[Morphology]:
    return [draw_morphology(f"{family}-{index:04d}") for index in range(count)]


def test_every_universe_index_is_a_task() -> None:
    assert (
        registry.make("walkers/test-planar-12345").embodiment_spec.embodiment
        == "walkers-test-planar-12345"
    )
    assert registry.instructions("walkers/train-free-9999").instruction == "walk forward"
    assert registry.expand(["walkers/train-free-9999"]) == ["walkers/train-free-9999"]
    assert "train-free-9999" not in TASKS
    assert registry.expand(["walkers/test-free"])[:2] == [
        "walkers/test-free-0000",
        "walkers/test-free-0001",
    ]
    assert sorted(TASKS) == sorted({name for names in SPLITS.values() for name in names})


@pytest.mark.parametrize(
    "name", ["train-planar-17", "train-planar-00017", "other-planar-0001", "train-snake-0001"]
)
def test_another_name_is_refused(name: str) -> None:
    assert not is_morphology(name)
    with pytest.raises(UserError, match="unknown task"):
        registry.make(f"walkers/{name}")
    with pytest.raises(ValueError, match="no morphology"):
        draw_morphology(name)


def test_name_determines_the_morphology() -> None:
    first = to_mjcf(draw_morphology("train-free-0007"))
    assert to_mjcf(draw_morphology("train-free-0008")) != first
    assert to_mjcf(draw_morphology("train-free-0007")) == first


@pytest.mark.parametrize("kind", KINDS)
def test_universes_have_no_common_walker(kind: str) -> None:
    cells = {
        universe: {
            (int(morphology.torso / CELL_METRES), int(morphology.hips_height / CELL_METRES))
            for morphology in morphologies(f"{universe}-{kind}", 100)
        }
        for universe in UNIVERSES
    }
    assert not cells["train"] & cells["validation"]
    assert not cells["train"] & cells["test"]
    assert not cells["validation"] & cells["test"]


def test_splits_keep_their_fractions() -> None:
    sizes = np.random.default_rng(0).uniform([0.4, 0.2], [0.9, 0.8], (4000, 2))
    owners = [split_of("walkers-planar", size) for size in sizes]
    fractions = [owners.count(owner) / len(owners) for owner in UNIVERSES.values()]
    np.testing.assert_allclose(fractions, [0.7, 0.1, 0.2], atol=0.03)


def test_walkers_differ_as_they_should() -> None:
    drawn = [morphology for family in FAMILIES for morphology in morphologies(family, 40)]
    assert {len(morphology.legs) for morphology in drawn} == {2, 3, 4, 6}
    assert {len(leg.lengths) for morphology in drawn for leg in morphology.legs} == {2, 3}
    assert {morphology.stance for morphology in drawn} == {"upright", "level", "sprawled"}
    assert {
        axis
        for morphology in drawn
        for leg in morphology.legs
        for axes in leg.axes
        for axis in axes
    } == {
        "roll",
        "yaw",
        "bend",
    }
    masses = [morphology.mass for morphology in drawn]
    assert min(masses) < 8 and max(masses) > 25


def states_after(env: Walker, controls: np.ndarray) -> np.ndarray:
    """The states of the simulator, (n, steps, 1 + nq + nv), under controls (n, steps, nu), from the
    present one."""
    import mujoco
    from mujoco import rollout

    state = np.empty(mujoco.mj_stateSize(env.model, mujoco.mjtState.mjSTATE_FULLPHYSICS.value))
    mujoco.mj_getState(env.model, env.data, state, mujoco.mjtState.mjSTATE_FULLPHYSICS.value)
    scratch = mujoco.MjData(env.model)
    states, _ = rollout.rollout(env.model, scratch, np.tile(state, (len(controls), 1)), controls)
    assert np.isfinite(states).all() and not any(warning.number for warning in scratch.warning), (
        env.task
    )
    ends = state[0] + controls.shape[1] * env.model.opt.timestep
    # MuJoCo restarted nowhere.
    np.testing.assert_allclose(states[:, -1, 0], ends, err_msg=env.task)
    return states


def energy_and_depth(env: Walker, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Energy of states (n, 1 + nq + nv) in weight times height of the torso, and the lowest point,
    metres."""
    import mujoco

    env.model.opt.enableflags |= mujoco.mjtEnableBit.mjENBL_ENERGY.value
    energies, lowest = [], []
    for state in states:
        mujoco.mj_setState(env.model, env.data, state, mujoco.mjtState.mjSTATE_FULLPHYSICS.value)
        mujoco.mj_forward(env.model, env.data)
        energies.append(
            env.data.energy.sum() / (env.morphology.mass * 9.81 * env.morphology.centre)
        )
        lowest.append(env._lowest())
    return np.array(energies), np.array(lowest)


@pytest.mark.parametrize("family", FAMILIES)
def test_springs_bear_the_standing_weight(family: str) -> None:
    """By MuJoCo's own sums: spring, weight, and the ground's equal share at each foot come to
    nothing at every bend."""
    import mujoco

    for morphology in morphologies(family, MORPHOLOGIES_PER_FAMILY):
        model = mujoco.MjModel.from_xml_string(to_mjcf(morphology))
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        torque, force_of_foot = (
            data.qfrc_passive - data.qfrc_bias,
            np.array([0, 0, morphology.mass * 9.81 / len(morphology.legs)]),
        )
        for index, leg in enumerate(morphology.legs):
            last = model.geom(f"leg{index}_{len(leg.lengths) - 1}").id
            reach = data.geom_xmat[last].reshape(3, 3)[:, 2] * model.geom_size[last, 1]
            centre = data.geom_xpos[
                last
            ]  # where a flat foot stands; another leg stands on its lower end
            foot = centre if len(leg.lengths) == 3 else centre - np.sign(reach[2]) * reach
            mujoco.mj_applyFT(
                model, data, force_of_foot, np.zeros(3), foot, model.geom_bodyid[last], torque
            )
        names = [model.actuator(index).name for index in range(model.nu)]
        bends = [model.joint(name).dofadr[0] for name in names if name.endswith("_bend")]
        np.testing.assert_allclose(
            torque[bends], 0, atol=1e-6 * morphology.mass, err_msg=morphology.name
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_every_walker_stands_by_itself(family: str) -> None:
    for index in range(MORPHOLOGIES_PER_FAMILY):
        env = registry.make(f"walkers/{family}-{index:04d}", split="evaluation")
        env.begin(index)
        states = states_after(env, np.zeros((1, 500, env.model.nu)))[0]
        _, lowest = energy_and_depth(env, states[::25])
        assert lowest.min() > -0.03, (env.task, lowest.min())
        assert 0.9 < env.data.qpos[env._height_index] / env.morphology.hips_height < 1.1, env.task
        assert env.data.xmat[1, 8] > 0.95, env.task
        assert np.abs(states[-1, 1 + env.model.nq :]).max() < 0.2, env.task


@pytest.mark.parametrize("family", FAMILIES)
def test_walkers_move_and_never_explode(family: str) -> None:
    generator, time = np.random.default_rng(0), np.arange(500) * 0.008
    for index in range(MORPHOLOGIES_PER_FAMILY):
        env = registry.make(f"walkers/{family}-{index:04d}")
        env.begin(index)
        count = env.model.nu
        each, bang = (
            generator.uniform(-1, 1, (500, count)),
            generator.choice([-1.0, 1.0], (50, count)).repeat(10, 0),
        )
        wave = np.sin(2 * np.pi * (1.5 * time[:, None] + generator.uniform(0, 1, count)))
        states = states_after(env, np.stack([each, bang, wave]))
        velocity = states[:, :, 1 + env.model.nq :]
        assert np.abs(velocity).max() < 40, (env.task, np.abs(velocity).max())
        moved = np.ptp(states[2, :, 1])
        assert moved > 0.02, (env.task, moved)
        energies, lowest = energy_and_depth(env, states[:, ::50].reshape(30, -1))
        assert energies.max() < 6, (env.task, energies.max())
        assert lowest.min() > -0.1, (env.task, lowest.min())


def test_unstable_walker_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its log here
    env = registry.make("walkers/train-planar-0003")
    env.begin(0)
    env.model.actuator_gear *= 1e9
    with pytest.raises(UserError, match="walkers/train-planar-0003 is unstable"):
        for _ in range(10):
            env.advance(np.ones(env.model.nu))


@pytest.mark.parametrize("name", ["test-planar-0001", "test-free-0001"])
def test_reward_follows_from_full_state(name: str) -> None:
    env = registry.make(f"walkers/{name}", EnvConfig(state="full", image_size=16))
    env.begin(0)
    generator = np.random.default_rng(0)
    for _ in range(30):
        reward, _, _, _ = env.advance(generator.uniform(-1, 1, env.model.nu))
        state = dict(zip(env.embodiment_spec.state_names, env._state().tolist(), strict=True))
        up = (
            np.cos(state["pitch"])
            if "pitch" in state
            else 1 - 2 * (state["qx"] ** 2 + state["qy"] ** 2)
        )
        parts = {"height": state["height"], "upright": up, "speed": state["centre_vx"]}
        (again,) = rewards(
            env.morphology, **{key: np.array([value]) for key, value in parts.items()}
        )
        assert 0 <= reward <= 1
        assert reward == pytest.approx(again, abs=1e-5)


def test_rewards_rise_up_to_walking() -> None:
    morphology = draw_morphology("test-planar-0000")
    speed = morphology.speed * np.array([-1, 0, 0.4, 1, 3])
    stands = rewards(
        morphology, height=np.full(5, morphology.hips_height), upright=np.ones(5), speed=speed
    )
    np.testing.assert_allclose(stands, [1 / 6, 1 / 6, 0.5, 1, 1])
    lies = rewards(
        morphology, height=np.full(5, 0.4 * morphology.hips_height), upright=np.ones(5), speed=speed
    )
    assert not lies.any()


def test_success_is_a_second_of_walking() -> None:
    env = registry.make("walkers/train-planar-0000")
    env.begin(0)
    solved = [env.advance(env.expert_action())[3]["success"] for _ in range(60)]
    assert not any(solved[:24]) and all(solved[-10:])


def episode_return(name: str, steps: int, *, expert: bool) -> float:
    env = registry.make(f"walkers/{name}")
    env.begin(0)
    generator = np.random.default_rng(0)
    random = generator.uniform(-1, 1, (steps, env.model.nu))
    return sum(
        env.advance(env.expert_action() if expert else random[step])[0] for step in range(steps)
    )


@pytest.mark.parametrize(
    "name", ["test-planar-0000", *(pytest.param(n, marks=pytest.mark.slow) for n in FURTHER)]
)
def test_planning_on_simulator_beats_chance(name: str) -> None:
    planned, chance = (episode_return(name, 80, expert=expert) for expert in (True, False))
    assert planned > 2 * chance


@pytest.mark.parametrize("name", ["train-planar-0001", "validation-planar-0002"])
def test_expert_walks_on_two_legs(name: str) -> None:
    assert episode_return(name, 100, expert=True) > 60


@pytest.mark.slow
def test_experts_are_recorded_clean_and_noisy(tmp_path: Path) -> None:
    dataset = collect(
        ["walkers/train-planar-0000"],
        episodes=2,
        output=tmp_path / "walker",
        config=EnvConfig(image_size=16, max_steps=40),
        noise=Noise(fraction=0.5, std=0.2),
        workers=1,
    )
    assert dataset.num_episodes == 2 and dataset.num_frames == 80


@pytest.mark.parametrize("config", [EnvConfig(goal="hidden"), EnvConfig(context=1)])
def test_hidden_or_fixed_goal_is_refused(config: EnvConfig) -> None:
    with pytest.raises(UserError, match="no goals"):
        registry.make("walkers/train-free-0000", config)


def test_camera_follows_the_walker() -> None:
    env = registry.make("walkers/train-planar-0000", EnvConfig(image_size=48))
    env.reset(seed=0)
    env.data.qpos[0] += 50.0
    env.advance(np.zeros(env.model.nu))
    image = env.observe()["images"]["side"].astype(int)
    saturation = image.max(axis=-1) - image.min(axis=-1)
    assert (saturation > 60).mean() > 0.02, "the body is out of sight"
    env.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_shared_layout_moves_walkers_equally(kind: str) -> None:
    names = [
        f"walkers/{universe}-{kind}-{index:04d}"
        for universe in ("train", "test")
        for index in range(3)
    ]
    shared = [registry.make(name, EnvConfig(state="shared")) for name in names]
    assert all(env.embodiment_spec == shared[0].embodiment_spec for env in shared)
    for name, env in zip(names, shared, strict=True):
        assert isinstance(env, Walker)
        own = registry.make(name, EnvConfig(state="full"))
        env.begin(3)
        own.begin(3)
        generator = np.random.default_rng(0)
        for _ in range(5):
            action = generator.uniform(-1, 1, env.embodiment_spec.action.dimension).astype(
                np.float32
            )
            reward = env.advance(action)[0]
            mine = [
                env.embodiment_spec.action.names.index(joint)
                for joint in own.embodiment_spec.action.names
            ]
            assert own.advance(action[mine])[0] == reward
        values = dict(zip(env.embodiment_spec.state_names, env.observe()["state"], strict=True))
        seen = dict(zip(own.embodiment_spec.state_names, own.observe()["state"], strict=True))
        assert {name: values[name] for name in seen} == seen
        absent = set(env.embodiment_spec.action.names) - set(own.embodiment_spec.action.names)
        assert all(
            values[joint] == values[f"{joint}_velocity"] == values[f"{joint}_there"] == 0
            for joint in absent
        )
        assert all(
            values[f"{joint}_there"] == 1 and values[f"{joint}_length"] > 0
            for joint in own.embodiment_spec.action.names
        )
        expert = env.expert_action()
        assert (
            expert.shape == (env.embodiment_spec.action.dimension,)
            and np.abs(expert[mine]).max() > 0
        )
        assert not expert[[env.embodiment_spec.action.names.index(joint) for joint in absent]].any()


def test_common_state_needs_many_embodiments() -> None:
    with pytest.raises(UserError, match="pointmass has no layout of the state"):
        registry.make("pointmass/reach", EnvConfig(state="shared"))
