"""Environments by id: found in their modules, guessed, declared, and checked before agents act."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from envs import gym_worlds

from manyparts.core.errors import EnvironmentWarning, UserError
from manyparts.core.spec import ActionContract
from manyparts.envs import registry
from manyparts.envs.base import EnvConfig
from manyparts.envs.gym import preflight as preflighting
from manyparts.envs.gym.check import check as check_of
from manyparts.envs.gym.guess import _declared, declare, guess, words_of
from manyparts.envs.gym.opening import open_environment, resolve
from manyparts.envs.gym.preflight import findings, preflight
from manyparts.envs.gym.suite import gym_suite
from manyparts.envs.gym.task import GymTask

MODULE = gym_worlds.__name__
CHOICES = ActionContract.discrete(("a", "b"), frame="unknown", control_rate_hz=10)


def named(kind: str) -> str:
    return f"gym:{MODULE}:{kind}-v0"


def wrong(task: str) -> dict[str, str]:
    """The checks that fail."""
    return {each.name: each.detail for each in findings(task) if not each.works}


def test_module_is_imported_as_gymnasium_does() -> None:
    assert resolve(named("Dot")) == (MODULE, "Dot-v0")
    assert resolve("gym:CartPole-v1") == ("", "CartPole-v1")
    assert resolve("gym:Dot-v0") == ("envs", "Dot-v0"), "it is registered by now"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gym:", "gym: names no environment; expected gym:ID or gym:MODULE:ID"),
        ("gym:os.path;x:Dot-v0", "names no environment; expected gym:ID or gym:MODULE:ID"),
        ("gym:no_such_module:Dot-v0", "needs the module no_such_module, which is not installed"),
        (f"gym:{MODULE}:Doot-v0", "no environment is called 'Doot-v0'; did you mean Dot-v0"),
        ("gym:CartPole-v7", "no environment is called 'CartPole-v7'.*did you mean CartPole-v"),
    ],
)
def test_wrong_id_names_near_ones(name: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        registry.make(name)
    assert "\n" not in str(error.value) and str(error.value).count(", ") < 12


def test_module_that_does_not_load_is_named(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "broken_world.py").write_text("raise OSError('no display\\nat all')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(
        UserError, match=r"broken_world does not load \(OSError: no display\)"
    ) as error:
        registry.make("gym:broken_world:Any-v0")
    assert "\n" not in str(error.value)


def test_unknown_suite_of_an_id_says_how_it_is_tried() -> None:
    with pytest.raises(UserError, match="or gym:gym_pusht/PushT-v0 for a Gymnasium environment"):
        registry.make("gym_pusht/PushT-v0")


def test_guess_finds_keys_and_says_them() -> None:
    guessed = guess(named("Dot"))
    task = guessed.task
    assert task.cameras == {"pixels_top": "pixels/top"} and task.state == ("position",)
    assert task.success == "info:is_success" and task.goal == "desired_goal"
    assert task.instruction == "obs:mission" and task.max_steps == 20 and task.rate_hz == 10
    line = str(guessed)
    assert "\n" not in line and line.startswith(f"{named('Dot')}: guessed")
    for part in ("pixels/top", "position", "info:is_success", "desired_goal", "20 steps at 10 Hz"):
        assert part in line


def test_what_cannot_be_drawn_has_no_camera() -> None:
    line = str(guess(named("Undrawn")))
    assert "cameras none; state position" in line
    assert "no camera, as it cannot be drawn here: RuntimeError: pygame is not installed" in line
    assert wrong(named("Undrawn")) == {}
    assert guess(named("Seen")).task.cameras == {"render": "render"}, "what a function makes"


def test_guess_says_what_it_lacks() -> None:
    assert "success unknown" in str(guess(named("Silent")))
    assert "its horizon is unknown, 200 steps assumed" in str(guess(named("Endless")))
    floats = str(guess(named("Floats")))
    assert "left out pixels/top, float32 (32, 32, 3)" in floats and "cameras render" in floats
    cartpole = str(guess("gym:CartPole-v1"))
    assert "state the whole observation" in cartpole and "action 2 choices" in cartpole


@pytest.mark.parametrize(
    ("id_", "words"),
    [
        ("gym_pusht/PushT-v0", "push t"),
        ("FetchPickAndPlace-v4", "fetch pick and place"),
        ("visual-cube-single-v0", "visual cube single"),
        ("LunarLander", "lunar lander"),
    ],
)
def test_id_becomes_words(id_: str, words: str) -> None:
    assert words_of(id_) == words


def test_declaration_in_the_module_is_no_guess(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "declared_world.py").write_text(
        "import gymnasium\n"
        "from manyparts import GymTask, declare\n"
        f"from {MODULE} import Dot\n"
        "gymnasium.register('Declared-v0', entry_point=Dot, max_episode_steps=7)\n"
        "declare(GymTask(id='Declared-v0', instruction='go to the line', state=('position',)))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    meant = guess("gym:declared_world:Declared-v0")
    assert not meant.guessed and str(meant).startswith("gym:declared_world:Declared-v0: declared")
    assert meant.task.success is None and meant.task.max_steps == 7 and not meant.task.cameras
    env = registry.make("gym:declared_world:Declared-v0")
    assert registry.instructions(env.task).instruction == "go to the line"
    sys.modules.pop("declared_world")


def test_a_later_declaration_replaces_what_was_guessed() -> None:
    name = named("Dot")
    assert guess(name).task.max_steps is None or guess(name).guessed
    before = dict(_declared)
    try:
        declare(GymTask(id="Dot-v0", instruction="go there", state=("position",), max_steps=7))
        assert registry.instructions(name).instruction == "go there"
        assert registry.make(name, EnvConfig(image_size=16)).horizon == 7
    finally:
        _declared.clear()
        _declared.update(before)
        guess.cache_clear()


def test_splits_of_few_seeds_are_said() -> None:
    task = GymTask(
        id="Dot-v0",
        package=MODULE,
        instruction="go",
        state=("position",),
        splits={"train": range(100), "evaluation": range(100, 150)},
    )
    with contextlib.closing(open_environment(task)) as env:
        (found,) = (each for each in check_of(env, task) if each.name == "splits")
    assert found.works and found.notable
    assert "train has 100 seeds, evaluation has 50 seeds, which are drawn with" in found.detail


def test_task_by_id_is_a_suite_of_its_own() -> None:
    name = named("Dot")
    assert registry.suite_of(name) == name and registry.is_known(name)
    assert registry.expand([name]) == [name] and registry.has_own_instructions(name)
    env = registry.make(name, EnvConfig(image_size=16))
    observation, _ = env.reset(seed=1)
    assert env.task == name and env.observation_space.contains(observation)
    versions = registry.versions(name)
    assert versions["gymnasium"] and "info:is_success" in versions["declaration"]
    with pytest.raises(UserError, match="has no expert; choices: --policy random"):
        registry.require_expert([name])


def test_sound_environment_passes_every_check() -> None:
    names = {each.name for each in findings(named("Dot"))}
    assert {"runs", "seeds", "steps", "spaces", "reward", "success", "state"} <= names
    assert {"camera pixels_top", "instruction", "horizon"} <= names
    for sound in (named("Dot"), named("Silent"), named("Choices"), named("Global")):
        assert wrong(sound) == {}
        notable = [each.detail for each in findings(sound) if each.notable]
        assert bool(notable) is (sound == named("Global"))
        assert all(detail.startswith("reset(seed=...) alone gives other") for detail in notable)
    assert wrong("pointmass/reach") == {}, "this library's own environments keep their promises"


def test_seeds_that_differ_are_named_and_nothing_else() -> None:
    failed = wrong(named("Forgetful"))
    assert list(failed) == ["seeds"]
    assert failed["seeds"].startswith("seeds 0, 1, 2 gave another start at the second reset, in ")


def test_steps_that_differ_are_named_and_nothing_else() -> None:
    failed = wrong(named("Restless"))
    assert list(failed) == ["steps"] and "seed" not in failed["steps"]
    assert failed["steps"].startswith("step 1 came out differently after the same actions")


def test_spaces_that_lie_are_named_and_nothing_else() -> None:
    failed = wrong(named("Liar"))
    assert list(failed) == ["spaces"] and "does not hold position (" in failed["spaces"]


@pytest.mark.parametrize(
    ("kind", "check", "says"),
    [
        ("Vector", "reward", r"its reward is a vector of shape (2,)"),
        ("Floats", "camera render", "it shows float32 of shape (32, 32, 3); expected an image"),
        ("Growing", "camera pixels_top", "images of several sizes"),
    ],
)
def test_each_broken_promise_has_its_check(kind: str, check: str, says: str) -> None:
    assert says in wrong(named(kind))[check]


@pytest.mark.parametrize(
    ("changes", "check", "says"),
    [
        ({"goal": "desired"}, "goal", "the observation has no 'desired'"),
        (
            {"max_steps": 500},
            "horizon",
            "declared are 500 steps, and the environment ends after 20",
        ),
        ({"action": CHOICES}, "actions", "does not fit"),
        ({"cameras": {"one": "render"}}, "runs", "pygame is not installed"),
    ],
)
def test_what_is_declared_falsely_has_its_check(
    changes: dict[str, Any], check: str, says: str
) -> None:
    task = replace(GymTask(id="Undrawn-v0", instruction="go", state=("position",)), **changes)
    task = replace(task, package=MODULE, kwargs={"render_mode": "rgb_array"})
    with contextlib.closing(open_environment(task)) as env:
        failed = {each.name: each.detail for each in check_of(env, task) if not each.works}
    assert says in failed.pop(check)
    assert list(failed) == (["camera one"] if check == "runs" else []), failed


def test_numpys_generator_is_recommended_where_it_helps(monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "global_world.py").write_text(
        "from manyparts import GymTask, declare\n"
        f"import {MODULE}\n"
        "declare(GymTask(id='Global-v0', instruction='go', state=('position',)))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    failed = wrong("gym:global_world:Global-v0")
    assert 'declare seeding="numpy"' in failed["seeds"]
    sys.modules.pop("global_world")
    from manyparts.envs.gym import guess as guessing

    del guessing._declared["Global-v0"]


def test_checks_leave_the_callers_generator_alone() -> None:
    guess.cache_clear()
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    findings(named("Global"))
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_preflight_says_the_guess_once_and_warns(capsys, monkeypatch) -> None:
    monkeypatch.setattr(preflighting, "_said", set())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        preflight([named("Dot"), named("Forgetful"), "pointmass/reach"])
        preflight([named("Dot")])
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in said] == [named("Dot"), named("Forgetful")]
    texts = [str(each.message) for each in caught if each.category is EnvironmentWarning]
    assert len(texts) == 1 and texts[0].startswith(f"{named('Forgetful')}: seeds 0, 1 gave another")


def test_preflight_refuses_what_no_agent_can_act_in() -> None:
    with pytest.raises(UserError, match=rf"{named('Vector')}: its reward is a vector"):
        preflight([named("Vector")])


def test_no_more_steps_are_promised_than_episodes_have(suite_of_dots: str) -> None:
    preflight([named("Dot"), suite_of_dots, "pointmass/reach"], 20)
    for name in (named("Dot"), suite_of_dots):
        with pytest.raises(UserError, match=r"max_steps is 60, and episodes of .* end after 20"):
            preflight(["pointmass/reach", name], 60)


@pytest.fixture
def suite_of_dots() -> Iterator[str]:
    task = GymTask(id="Dot-v0", package=MODULE, instruction="go", state=("position",))
    registry.register_suite("few", gym_suite("few", {"dot": task}, renderer=lambda: "numpy"))
    yield "few/dot"
    del registry._registered["few"]
    registry.suite_names.cache_clear()
