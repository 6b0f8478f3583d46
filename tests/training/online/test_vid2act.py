"""Teachers, students and sources: from datasets to an agent, and what learns from what."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training.online.tiny import SEEN, rows, tiny

from manyparts.agents.loading import load, load_system
from manyparts.core.errors import UserError
from manyparts.core.records import Batch
from manyparts.data.sampling.replay import Replay
from manyparts.envs.registry import make
from manyparts.evaluation.prediction.own_episodes import record
from manyparts.methods import preset
from manyparts.models.run_files import resolve
from manyparts.objectives.actor_critic import ActorCritic
from manyparts.objectives.system import System
from manyparts.rollout.collect import collect
from manyparts.training.online.train import train_online
from manyparts.training.train import train

SOURCES = ("pointmass/reach-left", "pointmass/reach-right")
STATES = {**SEEN, "cameras": ["none"], "action_repeat": 2}


OTHERS = ("distance", "uniform", "fixed:1")


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("sources")
    paths = [folder / task.partition("/")[2] for task in SOURCES]
    for task, path in zip(SOURCES, paths, strict=True):
        collect(task, episodes=4, output=path, config=STATES, keep_failures=True)
    return paths


def small(name: str, **changes: Any) -> Any:
    config = preset(name)
    latent = replace(config.model.latent, variables=3)
    model = replace(config.model, width=8, latent=latent)
    window = replace(config.window, steps=4)
    return replace(config, model=model, window=window, steps=6, batch_size=4, **changes)


@pytest.fixture(scope="module")
def teachers(datasets: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(
        small("vid2act/teachers-debug"),
        data=datasets,
        output=tmp_path_factory.mktemp("runs") / "teachers",
        device="cpu",
    )


def learn(output: Path, name: str, **changes: Any) -> Path:
    return train_online(
        changes.pop("config", None) or tiny(name),
        environment="pointmass/reach",
        output=output,
        device="cpu",
        **changes,
    )


@pytest.fixture(scope="module")
def student(teachers: Path, datasets: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learn(
        tmp_path_factory.mktemp("runs") / "student",
        "vid2act/debug",
        sources=datasets,
        teachers=teachers,
    )


def test_teachers_tell_their_sources_apart(teachers: Path) -> None:
    system, info = load_system(teachers)
    assert system.model.config.sources == 2
    assert [Path(each).name for each in info.provenance["data"]] == ["reach-left", "reach-right"]


def test_student_sees_what_its_sources_show(student: Path, teachers: Path) -> None:
    agent = load(student)
    assert dict(agent.environment) == {**agent.environment, **STATES}
    first, other = (load_system(run)[1].embodiments[0] for run in (student, teachers))
    assert first.statistics == other.statistics
    last = rows(student)[-1]
    weights = [last[f"distillation/weight/{name}"] for name in ("reach-left", "reach-right")]
    assert sum(weights) == pytest.approx(1, abs=1e-3)
    assert last["action_replay/error"] > 0


def test_weights_of_own_episodes_are_recorded(student: Path, tmp_path: Path) -> None:
    dataset, weights = record(student, tmp_path / "own", episodes=2)
    assert weights is not None and weights.names == ("reach-left", "reach-right")
    assert [len(each) for each in weights.episodes] == [len(each) for each in dataset]
    for each in weights.episodes:
        assert each.shape[1] == 2 and np.allclose(each.sum(axis=1), 1, atol=1e-5)
        assert each[:, 0].std() > 0


def test_teachers_stay_as_they_are(student: Path, teachers: Path) -> None:
    taught = load_file(resolve(teachers) / "model.safetensors")
    copied = load_file(resolve(student) / "model.safetensors")
    prefix = "model.teachers.filters.0."
    names = [name.removeprefix(prefix) for name in copied if name.startswith(prefix)]
    assert "enter.weight" in names
    for name in names:
        assert torch.equal(copied[prefix + name], taught[f"model.{name}"]), name


def test_recorded_features_are_the_teachers(student: Path) -> None:
    """What a replay holds of an episode is what teachers make of it when it is played again."""
    from manyparts.agents.noted import TAUGHT, Reader, noted, shapes_of

    system, info = load_system(student)
    codec = info.embodiments[0].codec
    replay = Replay(
        student / "replay", codec.spec, max_frames=10**6, recorded=shapes_of(system.model)
    )
    for entry, episode in replay.read():
        notes = noted(episode, system.model, Reader(system.model, codec, torch.device("cpu")))
        recorded = replay.columns(entry.number, [TAUGHT])[TAUGHT]
        # Half precision holds about three digits.
        assert np.allclose(recorded, notes[TAUGHT], atol=2e-3), entry


def test_agent_goes_on_from_its_carry(student: Path) -> None:
    agent = load(student)
    env = make("pointmass/reach", agent.environment, split="evaluation")
    observation, _ = env.reset(seed=0)
    _, carry = agent.act(None, observation, None, explore=False)
    assert carry.taught is not None and carry.taught.features.shape[:2] == (1, 2)
    once, _ = agent.act(carry, observation, None, explore=False)
    restored = type(carry).of_plain(carry.to_plain(), "cpu")
    again, _ = agent.act(restored, observation, None, explore=False)
    assert np.array_equal(once, again)
    # A checkpoint is read on the CPU, wherever the agent acts.
    moved = type(carry).of_plain(carry.to_plain(), "meta")
    states = [moved.state, *moved.taught.states]
    tensors = [moved.action, moved.taught.features, moved.taught.surprise]
    tensors += [tensor for state in states for tensor in (state.recurrent, state.drawn)]
    assert len(tensors) >= 7 and all(tensor.is_meta for tensor in tensors)


def test_a_student_is_resumed_to_the_bit(
    tmp_path: Path, student: Path, teachers: Path, datasets: list[Path]
) -> None:
    short = tiny("vid2act/debug", environment_steps=100)
    run = learn(tmp_path / "run", "", config=short, sources=datasets, teachers=teachers)
    learn(run, "vid2act/debug", sources=datasets, teachers=teachers, resume=True)
    assert rows(run)[-1] == rows(student)[-1]


@pytest.mark.parametrize(
    "relevance",
    ["prediction", *(pytest.param(each, marks=pytest.mark.slow) for each in OTHERS)],
)
def test_teachers_are_weighed_in_other_ways(tmp_path: Path, teachers: Path, relevance: str) -> None:
    config = tiny("vid2act/distilled-debug")
    config = replace(config, model=replace(config.model, relevance=relevance))
    run = learn(tmp_path / "run", "", config=config, teachers=teachers, environment_config=SEEN)
    weight = rows(run)[-1]["distillation/weight/reach-right"]
    expected = {"uniform": 0.5, "fixed:1": 1.0}.get(relevance)
    assert 0 <= weight <= 1 and expected in (None, pytest.approx(weight))


@pytest.mark.slow
def test_a_prior_draws_the_actor(tmp_path: Path, teachers: Path, datasets: list[Path]) -> None:
    config = tiny("vid2act/debug")
    behaviour = replace(config.objectives["actor_critic"], guide="prior")
    config = replace(config, objectives={**config.objectives, "actor_critic": behaviour})
    run = learn(tmp_path / "run", "", config=config, teachers=teachers, sources=datasets)
    assert np.isfinite(rows(run)[-1]["loss/actor_critic"])


def test_source_windows_are_rehearsed(tmp_path: Path, datasets: list[Path]) -> None:
    run = learn(tmp_path / "run", "vid2act/rehearsed-debug", sources=datasets)
    assert np.isfinite(rows(run)[-1]["loss/world"])
    assert sorted(path.name for path in (run / "sources").iterdir()) == ["0", "1"]


@pytest.mark.slow
def test_a_student_starts_from_a_world(tmp_path: Path, datasets: list[Path]) -> None:
    world = train(small("vid2act/world-debug"), data=datasets, output=tmp_path / "w", device="cpu")
    run = learn(tmp_path / "run", "dreamer/debug", start_from=world, environment_config=STATES)
    first, other = (load_system(each)[1].embodiments[0] for each in (run, world))
    assert first.statistics == other.statistics


def test_a_student_takes_the_world_of_an_agent(
    tmp_path: Path, datasets: list[Path], teachers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its own actor reads a guide, which that of the agent does not."""
    config = tiny("dreamer/debug", action_repeat=2)
    agent = learn(tmp_path / "agent", "", config=config, environment_config=SEEN)
    both = {"sources": datasets, "teachers": teachers}
    run = learn(tmp_path / "run", "vid2act/debug", start_from=agent, **both)
    assert "its world model; actor and critic are new" in capsys.readouterr().err
    first, other = (load_system(each)[1].embodiments[0] for each in (run, agent))
    assert first.statistics == other.statistics
    again = learn(tmp_path / "again", "", config=config, start_from=agent)
    assert "its world model, actor and critic" in capsys.readouterr().err and again.exists()


def test_named_teachers_replace_those_of_a_student(
    tmp_path: Path, student: Path, datasets: list[Path]
) -> None:
    other = train(
        small("vid2act/teachers-debug", seed=5), data=datasets, output=tmp_path / "t", device="cpu"
    )
    both = {"sources": datasets, "teachers": other}
    run = learn(tmp_path / "run", "vid2act/debug", start_from=student, **both)
    weights = load_file(resolve(other) / "model.safetensors")
    found = load_file(resolve(run) / "model.safetensors")
    for name, tensor in found.items():
        if name.startswith("model.teachers.filters.0."):
            own = name.replace("model.teachers.filters.0.", "model.")
            assert torch.equal(tensor, weights[own]), name


def test_a_guide_may_be_drawn_once_per_episode(student: Path) -> None:
    agent = load(student)
    (behaviour,) = [
        each for each in agent.system.objectives.values() if isinstance(each, ActorCritic)
    ]
    env = make("pointmass/reach", agent.environment, split="evaluation")
    observation, _ = env.reset(seed=0)

    def noises(redraw: str, seed: int) -> list[torch.Tensor]:
        behaviour.config = replace(behaviour.config, guide_redraw=redraw)
        drawn, guide, carry = [], behaviour.guide, None

        def noted(model: Any, features: Any, advice: Any, noise: torch.Tensor) -> torch.Tensor:
            drawn.append(noise)
            return guide(model, features, advice, noise)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(behaviour, "guide", noted)
            for _ in range(3):
                _, carry = agent.with_seed(seed).act(carry, observation, None, explore=True)
        return drawn

    once, other, each = noises("start", 1), noises("start", 2), noises("step", 1)
    assert torch.equal(once[0], once[1]) and torch.equal(once[0], once[2])
    assert not torch.equal(once[0], other[0]) and not torch.equal(each[0], each[1])


def gradients(system: System, batch: Batch, name: str) -> set[str]:
    """Names of the parameters that one loss reaches."""
    loss = system.losses(batch, torch.Generator().manual_seed(0))[name].mean()
    parameters = {key: each for key, each in system.named_parameters() if each.requires_grad}
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return {
        key
        for key, each in zip(parameters, found, strict=True)
        if each is not None and each.abs().sum() > 0
    }


def student_batch(run: Path, datasets: list[Path]) -> tuple[System, Batch]:
    """A student and a batch of its own windows and its sources'."""
    from manyparts.agents.noted import shapes_of
    from manyparts.data.sampling.batches import join_batches
    from manyparts.data.sampling.replayed import ReplayWindows

    system, info = load_system(run)
    codec, parts = info.embodiments[0].codec, []
    window = replace(preset("vid2act/debug").window, steps=4)
    for source, folder in ((-1, run / "replay"), (0, run / "sources/0"), (1, run / "sources/1")):
        replay = Replay(folder, codec.spec, max_frames=10**6, recorded=shapes_of(system.model))
        windows = ReplayWindows(replay, window, codec, seed=0, images=False, source=source)
        parts.append(windows.batch(0, 3))
    return system, join_batches(parts, torch.arange(9))


def test_losses_reach_only_their_own_parts(student: Path, datasets: list[Path]) -> None:
    system, batch = student_batch(student, datasets)
    behaviour = gradients(system, batch, "actor_critic")
    assert behaviour and all(name.startswith("objectives.actor_critic.") for name in behaviour)
    replayed = gradients(system, batch, "action_replay")
    assert replayed and all(name.startswith("model.action_vae.") for name in replayed)
    taught = gradients(system, batch, "distillation")
    assert {"model.project.weight", "model.weigh.weight", "model.enter.weight"} <= taught
    assert not any("teachers" in name or "action_vae" in name for name in taught)
    assert not any("teachers" in name for name in gradients(system, batch, "world"))


def test_weights_do_not_move_the_student(student: Path, datasets: list[Path]) -> None:
    """The weights read the student's states, but no gradient comes back through them."""
    system, _ = student_batch(student, datasets)
    model = system.model
    features = torch.randn(3, model.features, requires_grad=True)
    taught = torch.randn(3, 2, model.teachers.features)
    weights = model.relevance(features, taught, torch.zeros(3, 2))
    assert weights.requires_grad
    assert torch.autograd.grad(weights[:, 0].sum(), features, allow_unused=True) == (None,)


@pytest.mark.parametrize("target", [0, 1])
def test_weights_follow_the_target(student: Path, datasets: list[Path], target: int) -> None:
    """The teacher of the target itself, which sees what the student sees, is found: whichever."""
    model = student_batch(student, datasets)[0].model
    drawn = torch.Generator().manual_seed(target)
    with torch.no_grad():
        for layer in (model.project, model.weigh):
            layer.weight.normal_(std=0.1, generator=drawn)
    learned = [*model.project.parameters(), *model.weigh.parameters()]
    optimizer = torch.optim.Adam(learned, lr=0.02)
    habits = torch.randn(2, model.teachers.features, generator=drawn)
    weights = torch.zeros(2)
    for _ in range(150):
        features = torch.randn(64, model.features, generator=drawn)
        taught = torch.randn(64, 2, model.teachers.features, generator=drawn)
        taught[:, target] = features[:, : model.teachers.features]
        taught += habits
        weights = model.relevance(features, taught, torch.zeros(64, 2))
        optimizer.zero_grad()
        (weights * model.distance(features, taught)).sum(dim=-1).mean().backward()
        optimizer.step()
    assert weights.mean(dim=0)[target] > 0.9


def test_learned_weights_do_not_know_the_student(student: Path, datasets: list[Path]) -> None:
    """One linear layer for all teachers: what it reads of the student cancels in the softmax."""
    model = student_batch(student, datasets)[0].model
    torch.nn.init.normal_(model.weigh.weight)
    taught, surprise = torch.randn(3, 2, model.teachers.features), torch.zeros(3, 2)
    one, other = (model.relevance(torch.randn(3, model.features), taught, surprise) for _ in "ab")
    assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teachers": ()}, "missing --teachers"),
        ({"sources": ()}, "missing --sources, the datasets of the teachers"),
        ({"sources": slice(0, 1)}, "1 sources for 2 teachers"),
        ({"sources": slice(None, None, -1)}, "is not what the teacher reach-left learned from"),
        ({"environment_config": {"state": "proprioception"}}, "states of another embodiment"),
        ({"config": tiny("vid2act/debug", source_windows=0)}, "online.source_windows is 0; expect"),
        (
            {"environment_config": {"action_repeat": 1}},
            "holds each action for 2 steps, this run for 1",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path,
    teachers: Path,
    datasets: list[Path],
    changes: dict[str, Any],
    message: str,
) -> None:
    given: dict[str, Any] = {"teachers": teachers, "sources": datasets, **changes}
    if isinstance(given["sources"], slice):
        given["sources"] = datasets[given["sources"]]
    with pytest.raises(UserError, match=message):
        learn(tmp_path / "run", "vid2act/debug", **given)
    assert not os.path.exists(tmp_path / "run")


def test_relevance_follows_distance_and_surprise(student: Path, datasets: list[Path]) -> None:
    system, _ = student_batch(student, datasets)
    model = system.model
    features, taught = torch.randn(3, model.features), torch.randn(3, 2, model.teachers.features)
    surprise = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0]])
    scores = {"prediction": -surprise, "distance": -model.distance(features, taught)}
    for relevance, score in scores.items():
        model.config = replace(model.config, relevance=relevance, temperature=0.5)
        expected = (score / 0.5).softmax(dim=-1)
        assert torch.allclose(model.relevance(features, taught, surprise), expected)
