"""Episodes that an agent which learned by acting plays now, for its world model to predict."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from jaxtyping import Float

from manyparts.agents.latent import Carry, LatentAgent
from manyparts.agents.loading import load
from manyparts.core.errors import UserError
from manyparts.core.progress import progress_bar
from manyparts.core.randomness import derive_seed
from manyparts.core.records import Episode
from manyparts.core.spec import TaskEntry
from manyparts.core.storage.atomic import make_folder, write_atomically
from manyparts.data.dataset import DatasetWriter, EpisodeDataset
from manyparts.envs import registry
from manyparts.envs.base import Environment
from manyparts.evaluation.prediction.forecasters import SEEN_BY_WORLDS
from manyparts.evaluation.prediction.imagined import show
from manyparts.evaluation.prediction.open_loop import imagine, open_loop
from manyparts.models.checkpoint import load_info, resolve
from manyparts.models.dynamics.taught_world import TaughtWorld
from manyparts.rollout.loop import EpisodeResult, Step, rollout

WEIGHTS = "weights.json"
HORIZONS = (1, 5, 10, 25, 45)
"""Steps ahead that are usually predicted: with 5 seen, films of 50 steps."""


@dataclass(frozen=True)
class TeacherWeights:
    """How much each teacher counted in some episodes."""

    names: tuple[str, ...]
    """The teachers' sources."""

    episodes: tuple[Float[np.ndarray, "_ k"], ...]
    """Of each episode the weights at its actions, one row each, which adds up to 1."""

    def write(self, folder: Path) -> None:
        """Write weights.json into a folder, which is made if it does not exist."""
        make_folder(folder)
        episodes = [np.round(each.astype(float), 4).tolist() for each in self.episodes]
        content = {"names": list(self.names), "episodes": episodes}
        write_atomically(folder / WEIGHTS, json.dumps(content).encode())

    @classmethod
    def read(cls, folder: Path) -> TeacherWeights | None:
        """What `write` left in a folder; None if nothing is there.

        Raises:
            UserError: the file cannot be read.
        """
        path = folder / WEIGHTS
        if not path.exists():
            return None
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return cls(tuple(values["names"]), tuple(map(np.array, values["episodes"])))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"cannot read {path}: {error}") from None


def task_of(run: str | Path) -> str | None:
    """The task that the agent of a run learned by acting in; None if it learned from datasets.

    Raises:
        UserError: there is no run, or its checkpoint cannot be read.
    """
    return load_info(resolve(run)).provenance.get("environment")


def record(
    run: str | Path, folder: Path, *, episodes: int, seed: int = 0
) -> tuple[EpisodeDataset, TeacherWeights | None]:
    """Let the agent of a run play in its own environment, without exploration, and record it.

    Goals are of the training split, in which other commands find the same scenes by a dataset's
    seeds. The starts are none that the agent learned from. A frame is one action.

    Args:
        run: a run or checkpoint folder of an agent that learned by acting.
        folder: the dataset's, which must not exist.
        episodes: how many are played.
        seed: of the starts.

    Returns:
        The dataset, and the weights of the agent's teachers; None if it has none.

    Raises:
        UserError: the agent learned from datasets, or its simulator is missing.
    """
    task, agent = task_of(run), load(run)
    if task is None or not isinstance(agent, LatentAgent):
        raise UserError(f"{run} did not learn by acting, so it has no environment to play in")
    weights = []
    with (
        closing(registry.make(task, agent.environment)) as env,
        _writer(folder, env, agent) as writer,
        progress_bar("episodes of its own", episodes) as bar,
    ):
        for number in range(episodes):
            steps = _Recorded(agent)
            start = derive_seed("own episodes", seed, number)
            result = rollout(env, agent, seed=start, prompt=None, explore=False, on_step=steps.add)
            writer.add(steps.episode(result))
            weights.append(np.array(steps.weights, np.float32))
            bar.show(number + 1, "")
    taught = None
    if isinstance(agent.model, TaughtWorld):
        taught = TeacherWeights(agent.model.teachers.names, tuple(weights))
    return EpisodeDataset.open(folder), taught


@contextmanager
def own_episodes(
    run: str | Path, output: Path, *, episodes: int, seed: int = 0
) -> Iterator[EpisodeDataset]:
    """Yield the dataset of `record`, which is deleted afterwards. The weights of teachers are
    written into `output`.

    Args:
        run: as in `record`.
        output: the folder of the run's predictions.
        episodes: as in `record`.
        seed: as in `record`.

    Raises:
        UserError: as in `record`.
    """
    with TemporaryDirectory() as folder:
        dataset, weights = record(run, Path(folder) / "episodes", episodes=episodes, seed=seed)
        (output / WEIGHTS).unlink(missing_ok=True)
        if weights is not None:
            weights.write(output)
        yield dataset


def predict_own(
    run: str | Path, output: Path, *, episodes: int = 4, windows: int = 16, shown: int = 2
) -> None:
    """Predict episodes that the agent of a run plays, and write errors, curves and films.

    Args:
        run: as in `record`.
        output: the folder of the run's predictions.
        episodes: as in `record`.
        windows: number of predictions.
        shown: of which so many are drawn.

    Raises:
        UserError: as in `record`.
    """
    with own_episodes(run, output, episodes=episodes) as data:
        seen, horizons = fitting(data)
        open_loop(run, data, horizons=horizons, windows=windows, seen=seen, output=output)
        films = imagine(run, data, horizon=max(horizons), windows=shown, seen=seen)
        show(films, data, output)


def fitting(dataset: EpisodeDataset, seen: int | None = None) -> tuple[int, tuple[int, ...]]:
    """How many observations are seen in episodes, and the `HORIZONS` that fit into the longest one
    after them. If some do not, its own end is one, too.

    Args:
        dataset: with the episodes.
        seen: observations before the first prediction; None: 5, fewer of shorter episodes.
    """
    longest = int(np.diff(dataset.starts).max())
    seen = max(1, min(SEEN_BY_WORLDS, longest - 1)) if seen is None else seen
    ahead = max(1, longest - seen)
    return seen, tuple(sorted({min(each, ahead) for each in HORIZONS}))


@dataclass
class _Recorded:
    """One episode, step by step."""

    agent: LatentAgent
    images: list[dict[str, np.ndarray]] = field(default_factory=list)
    state: list[np.ndarray] = field(default_factory=list)
    action: list[np.ndarray] = field(default_factory=list)
    reward: list[float] = field(default_factory=list)
    success: list[bool | None] = field(default_factory=list)
    weights: list[np.ndarray] = field(default_factory=list)

    def add(self, step: Step) -> None:
        """Add a step."""
        assert step.observation is not None
        self.images.append(dict(step.observation["images"]))
        self.state.append(step.observation["state"])
        self.action.append(step.action)
        self.reward.append(step.reward)
        self.success.append(step.success)
        if isinstance(self.agent.model, TaughtWorld):
            self.weights.append(_weights(self.agent.model, step.carry))

    def episode(self, result: EpisodeResult) -> Episode:
        """The whole episode."""
        action = np.stack(self.action).astype(np.float32)
        return Episode(
            task=result.task,
            instruction=registry.instructions(result.task).instruction,
            seed=result.seed,
            images={
                name: np.stack([images[name] for images in self.images]) for name in self.images[0]
            },
            state=np.stack(self.state).astype(np.float32),
            action=action,
            expert_action=action,
            reward=np.array(self.reward, np.float32),
            success=np.array(self.success, bool),
            terminated=result.terminated,
        )


@torch.inference_mode()
def _weights(model: TaughtWorld, carry: Carry) -> Float[np.ndarray, "k"]:
    """How much each teacher counts after an observation."""
    assert carry.taught is not None
    taught = carry.taught
    return model.relevance(carry.state.features, taught.features, taught.surprise)[0].numpy()


def _writer(folder: Path, env: Environment, agent: LatentAgent) -> DatasetWriter:
    """Writes a dataset of an environment."""
    spec, instructions = env.embodiment_spec, registry.instructions(env.task)
    return DatasetWriter(
        folder,
        spec,
        fps=spec.action.control_rate_hz,
        tasks=[TaskEntry(env.task, instructions.instruction, instructions.paraphrases)],
        environment=agent.environment,
        images="png",
        expert=False,
        terminates=env.can_terminate,
        knows_success=env.knows_success,
    )
