"""Saved episodes as a dataset: ordinary episodes, and a line on each of who acted."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from manyparts.core.errors import UserError
from manyparts.core.printing import counted
from manyparts.core.serialisation import to_jsonable
from manyparts.core.spec import Spec
from manyparts.core.storage.locks import hold_beside
from manyparts.data.dataset import DatasetWriter, EpisodeDataset, append
from manyparts.envs.base import EnvConfig, Environment
from manyparts.playing.trace import Played

PLAYED = "meta/played.jsonl"


class Recorder:
    """Adds episodes to a dataset, which is whole after each of them.

    Args:
        path: The dataset's folder; if it is there, episodes are added.
        facts: What is noted with each episode, as JSON values.
        robots: Those that are played with.
        config: What their environments show.

    Attributes:
        saved: Episodes that this recorder has added.

    Raises:
        UserError: The folder holds something else than episodes of this robot that were saved here,
            or cannot be written; another program adds to it; or there are several robots.
    """

    def __init__(
        self, path: Path, facts: Mapping[str, Any], robots: Sequence[Spec], config: EnvConfig
    ) -> None:
        self.path, self.saved = path, 0
        self._facts = facts
        self._notes: list[str] = []
        self._last: DatasetWriter | None = None
        self._next_seed: dict[str, int] = {}
        self.episodes = 0
        self._knows_success: bool | None = None
        for other in robots[1:]:
            if differences := robots[0].differences(other):
                raise UserError(
                    f"--output {path}: a dataset is of one robot, and these tasks have several "
                    f"({differences[0]}); choose --tasks of one"
                )
        with contextlib.ExitStack() as held:
            held.enter_context(hold_beside(path, what=f"--output {path}"))
            if path.exists():
                self._continue(path, robots[0], config)
            self._held = held.pop_all()

    def close(self) -> None:
        """Let other programs add episodes."""
        self._held.close()

    def next_seed(self, task: str) -> int:
        """Return the first seed above those of all saved episodes of a task.

        Args:
            task: The environment's task.
        """
        return self._next_seed.get(task, 0)

    def save(
        self,
        parts: Sequence[Played],
        env: Environment,
        config: EnvConfig,
        facts: Mapping[str, Any],
    ) -> str:
        """Add an episode, or several parts of it, or leave everything as it was.

        Args:
            parts: The episode, or its parts, at least one.
            env: Its environment.
            config: What that shows.
            facts: What is noted of this episode besides, as JSON values.

        Returns:
            What was saved, in words.

        Raises:
            UserError: It does not fit the dataset's episodes, or the disk is full.
        """
        first = parts[0]
        self._require_equal_knowledge(first)
        added = [json.dumps(self._noted(part, env, facts)) for part in parts]
        with self._writer(first, env, to_jsonable(config)) as writer:
            for part in parts:
                writer.add(part.episode)
            lines = "".join(f"{line}\n" for line in [*self._notes, *added])
            writer.attach(PLAYED, lines.encode())
        self._last = writer
        self._notes += added
        self._knows_success = first.knows_success
        number = self.episodes
        self.saved, self.episodes = self.saved + len(parts), self.episodes + len(parts)
        self._use(env.task, first.episode.seed)
        steps = counted(sum(len(part.episode) for part in parts), "step")
        if len(parts) > 1:
            return f"{steps} saved as episodes {number} to {self.episodes - 1}"
        words = f"{steps} saved as episode {number}"
        return words + (f"; {counted(first.cut, 'step')} before are left out" if first.cut else "")

    def _writer(
        self, played: Played, env: Environment, environment: Mapping[str, Any]
    ) -> DatasetWriter:
        spec = env.embodiment_spec
        rate = spec.action.control_rate_hz
        if self.path.exists():
            return append(
                self.path,
                spec,
                fps=rate,
                tasks=[played.entry],
                environment=environment,
                after=self._last,
            )
        return DatasetWriter(
            self.path,
            spec,
            fps=rate,
            tasks=[played.entry],
            environment=environment,
            expert=False,
            terminates=env.can_terminate,
            knows_success=played.knows_success,
        )

    def _noted(self, played: Played, env: Environment, facts: Mapping[str, Any]) -> dict[str, Any]:
        success = bool(played.episode.success.any()) if played.knows_success else None
        actors = {actor for actor, _ in played.acted}
        return {
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "task": played.entry.name,
            "environment_task": env.task,
            "said": played.said,
            "seed": played.episode.seed,
            "reproduces": env.reproduces and not played.pushes and not played.cut,
            "steps": len(played.episode),
            "by": actors.pop() if len(actors) == 1 else "agent and hand",
            "acted": [list(each) for each in played.acted],
            "pushed_before": list(played.pushes),
            "left_out_before": played.cut,
            "success": success,
            "success_said_by": played.said_by,
            **self._facts,
            **facts,
        }

    def _require_equal_knowledge(self, played: Played) -> None:
        """Raise UserError where success of one episode is known and that of others is not."""
        if self._knows_success in (None, played.knows_success):
            return
        if self._knows_success:
            raise UserError(
                f"{self.path} knows of each episode whether it succeeded; of this one nobody does: "
                "say whether it did what was asked, or save it into another --output"
            )
        raise UserError(
            f"{self.path} does not say which episodes succeeded, and of this one it is known: "
            "save it into another --output"
        )

    def _continue(self, path: Path, robot: Spec, config: EnvConfig) -> None:
        dataset = EpisodeDataset.open(path)
        differences = dataset.spec.differences(robot)
        if dataset.environment != to_jsonable(config):
            differences.append("another environment")
        if differences:
            raise UserError(
                f"--output {path} holds episodes of another robot or of other settings: "
                f"{differences[0]}; choose another folder"
            )
        notes = path / PLAYED
        if not notes.is_file():
            raise UserError(
                f"--output {path} holds a dataset that was not recorded here; choose a new folder, "
                "since training mixes datasets"
            )
        try:
            self._notes = notes.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{notes} cannot be read: {error}") from error
        if len(self._notes) != dataset.num_episodes:
            lines, episodes = counted(len(self._notes), "line"), dataset.num_episodes
            raise UserError(
                f"{notes} has {lines} for {counted(episodes, 'episode')}: the dataset was edited; "
                "choose a new folder"
            )
        self.episodes, self._knows_success = dataset.num_episodes, dataset.knows_success
        for index in range(dataset.num_episodes):
            task = dataset.tasks[dataset.episode_task[index]].environment
            self._use(task, dataset.seed(index))

    def _use(self, task: str, seed: int) -> None:
        self._next_seed[task] = max(self._next_seed.get(task, 0), seed + 1)
