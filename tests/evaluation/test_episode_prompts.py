"""Prompts of evaluated episodes: images of the right scenes, the same in every run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from evaluation.evaluating import CONFIG, TASKS, make_run
from factories import ANY_PROMPT, INSTRUCTIONS_ALONE

from manyparts.core.errors import UserError
from manyparts.core.records import Prompt
from manyparts.envs.base import Environment
from manyparts.envs.registry import instructions, make
from manyparts.evaluation import episodes, protocol
from manyparts.evaluation.episode_prompts import episode_prompt
from manyparts.evaluation.prompt_kinds import Prompts, kinds_for
from manyparts.evaluation.prompt_results import PromptStudy
from manyparts.evaluation.prompt_study import study_prompts
from manyparts.evaluation.protocol import evaluate

CAMERA = next(iter(make(TASKS[0], CONFIG).embodiment_spec.cameras))


@pytest.fixture(scope="module")
def env() -> Environment:
    return make(TASKS[0], CONFIG, split="evaluation")


def prompt_of(
    kind: Prompts, env: Environment, *, task: str = TASKS[0], index: int = 0, seed: int = 5
) -> Prompt:
    return episode_prompt(kind, task, index, seed, env, CONFIG, ANY_PROMPT)


def test_goal_image_shows_solved_scene(env: Environment) -> None:
    goal = prompt_of("goal_image", env).goal
    assert goal is not None
    start = env.reset(seed=5)[0]["images"][CAMERA]
    other = prompt_of("goal_image", env, seed=6).goal
    assert other is not None
    assert not np.array_equal(goal[CAMERA], start) and not np.array_equal(
        goal[CAMERA], other[CAMERA]
    )


def test_half_of_patches_are_grey(env: Environment) -> None:
    whole, half = prompt_of("goal_image", env).goal, prompt_of("half_goal_image", env).goal
    assert whole is not None and half is not None
    same = (whole[CAMERA] == half[CAMERA]).all(-1).reshape(8, 2, 8, 2).all((1, 3))
    assert 32 <= same.sum() < 64
    assert (half[CAMERA][~same.repeat(2, 0).repeat(2, 1)] == 127).all()


def test_watched_demonstration_has_no_actions(
    env: Environment,
) -> None:
    shown, watched = (
        prompt_of("demonstration", env).demonstration,
        prompt_of("watched", env).demonstration,
    )
    assert (
        shown is not None
        and watched is not None
        and shown.action is not None
        and watched.action is None
    )
    assert shown.images[CAMERA].shape == (3, 16, 16, 3) and shown.action.shape[:2] == (
        3,
        ANY_PROMPT.chunk,
    )
    assert np.array_equal(shown.images[CAMERA], watched.images[CAMERA])
    after_the_end = env.embodiment_spec.action.normalise(shown.action[-1, 1:])
    assert len(after_the_end) and not after_the_end.any()  # as in training


def test_instructions_are_of_prompt_task(env: Environment) -> None:
    assert (
        prompt_of("instruction", env, task=TASKS[1]).instruction
        == instructions(TASKS[1]).instruction
    )
    assert prompt_of("held_out", env, index=1).instruction == instructions(TASKS[0]).held_out[1]
    both = prompt_of("instruction+goal_image", env)
    assert both.instruction and both.goal is not None and both.demonstration is None
    assert prompt_of("none", env) == Prompt()


@pytest.mark.parametrize("kind", get_args(Prompts))
@pytest.mark.slow
def test_agent_is_evaluated_under_every_kind(kind: Prompts, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", window=ANY_PROMPT)
    result = evaluate(run, tasks=TASKS[:1], episodes=1, prompts=kind, max_steps=4, workers=1)
    assert len(result.episodes) == 1 and result.provenance["prompts"] == kind


def test_prompt_of_another_task_is_recorded(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    result = evaluate(
        run, tasks=TASKS[:1], episodes=1, prompt_task=TASKS[1], max_steps=4, workers=1
    )
    assert result.episodes[0].prompt == instructions(TASKS[1]).instruction
    assert result.provenance["prompt_task"] == TASKS[1]
    with pytest.raises(UserError, match="not trained on prompts of"):
        evaluate(
            run,
            tasks=TASKS[:1],
            episodes=1,
            prompts="goal_image",
            workers=1,
            output=tmp_path / "other",
        )


def test_instruction_agent_takes_only_instructions() -> None:
    assert kinds_for(INSTRUCTIONS_ALONE) == ["instruction", "held_out", "none"]
    assert set(kinds_for(ANY_PROMPT)) == set(get_args(Prompts))


@pytest.mark.slow
def test_prompt_study_covers_kinds_and_scenes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    study = study_prompts(run, episodes=1, max_steps=4, workers=1)
    assert list(study.kinds) == ["instruction", "held_out", "none"]
    assert list(study.matrix) == list(TASKS) and all(
        list(row) == list(TASKS) for row in study.matrix.values()
    )
    assert PromptStudy.load(run) == study and (study.episodes, study.matrix_with) == (
        1,
        "instruction",
    )
    written = (run / "prompts" / "prompts.json").read_bytes()
    study_prompts(run, episodes=1, max_steps=4, workers=1)
    assert (run / "prompts" / "prompts.json").read_bytes() == written


@pytest.mark.parametrize("kind", ["goal_image", "half_goal_image", "demonstration"])
def test_prompts_are_made_in_whole_episodes(kind: Prompts, tmp_path: Path) -> None:
    """An expert that shows the goal needs longer than an episode that was cut to three steps."""
    short = make(TASKS[0], replace(CONFIG, max_steps=3), split="evaluation")
    whole = make(TASKS[0], CONFIG, split="evaluation")
    prompts = [prompt_of(kind, each) for each in (short, whole)]
    shown = [
        each.demonstration.images if each.demonstration is not None else each.goal
        for each in prompts
    ]
    assert shown[0] is not None and shown[1] is not None
    assert np.array_equal(shown[0][CAMERA], shown[1][CAMERA])
    cut = episode_prompt(kind, TASKS[0], 0, 5, short, short.config, ANY_PROMPT)
    images = cut.goal if cut.demonstration is None else cut.demonstration.images
    assert images is not None and not np.array_equal(images[CAMERA], shown[1][CAMERA])


def test_evaluation_cuts_episodes_and_not_what_they_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, asked = make_run(tmp_path / "run", window=ANY_PROMPT), []
    original = episodes.episode_prompt

    def watched(*arguments: Any, **more: Any) -> Prompt:
        asked.append(original(*arguments, **more))
        return asked[-1]

    monkeypatch.setattr(episodes, "episode_prompt", watched)
    made: list[Any] = []
    monkeypatch.setattr(protocol, "_evaluate_checkpoint", lambda *given, **_: made.append(given))
    evaluate(run, tasks=TASKS[0], episodes=1, max_steps=3, prompts="goal_image", output=tmp_path)
    ((_, _, config, *_),) = made
    record = episodes.run_episode(config, episodes.EvaluationJob(TASKS[0], 0))
    assert record.length == 3
    whole = make(TASKS[0], CONFIG, split="evaluation")
    seed = episodes.episode_seed(config.seed, TASKS[0], 0)
    own = prompt_of("goal_image", whole, seed=seed).goal
    assert own is not None and np.array_equal(asked[0].goal[CAMERA], own[CAMERA])
