"""Episodes of real use as a dataset: what clients showed, and what they were answered.

A row is a request: its observation, and the actions that were carried out until the next one. If an
answer has several actions, they are merged as a view merges them that keeps every n-th frame.
"""

from __future__ import annotations

import contextlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.extras import in_a_line
from manyparts.core.printing import say
from manyparts.core.records import Episode
from manyparts.core.spec import TaskEntry
from manyparts.core.storage.locks import hold_beside
from manyparts.data.dataset import DatasetWriter, EpisodeDataset, append
from manyparts.data.formats.arrays import UNKNOWN
from manyparts.data.formats.lerobot.appending import require_appendable
from manyparts.embodiment.views.source import Source
from manyparts.embodiment.views.view import View
from manyparts.serving.description import Description
from manyparts.serving.session import Answer, Request

SERVED = "served.jsonl"
_NO_INSTRUCTION = "act"
_MAX_BYTES = 256 * 2**20  # of the images of an episode that no client ends
_MAX_WAITING = 2**30  # bytes of images that wait for a slow disk


@dataclass
class Row:
    """A request that was answered."""

    images: dict[str, np.ndarray]
    """Camera to its image."""
    state: np.ndarray
    """(s,)."""
    actions: np.ndarray
    """float32 (T, a), those that were sent; later, those that were carried out."""
    instruction: str | None
    """What was asked for."""
    milliseconds: float
    """How long the agent took."""
    held: bool
    """Whether the robot was held still."""

    @property
    def num_bytes(self) -> int:
        """Bytes of its images."""
        return sum(image.nbytes for image in self.images.values())


class Recorder:
    """Writes finished episodes into a dataset, one after the other, in a thread of its own.

    The dataset is whole after each of them. If the disk is full, it says so and records no more,
    and the server goes on.

    Args:
        path: The dataset's folder; if it is there, episodes are added.
        description: The robot's, and how many actions an answer has.

    Raises:
        UserError: The folder holds something else or cannot be written, another program adds to it,
            or nothing says how actions are merged.
    """

    def __init__(self, path: Path, description: Description) -> None:
        self.path, self._tasks = path, {task.instruction: task for task in description.tasks}
        every = description.actions
        try:
            self._source = Source(description.spec, View(every=every))
        except UserError as error:
            raise UserError(f"--record with {every} actions per answer: {error}, or serve with "
                            "--actions 1") from error  # fmt: skip
        self.spec = self._source.viewed()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="record")
        self._is_full, self._waiting_bytes, self._counting = False, 0, threading.Lock()
        self._notes: list[str] = []
        self._last: DatasetWriter | None = None
        with contextlib.ExitStack() as held:
            held.enter_context(hold_beside(path, what=f"--record {path}"))
            if path.exists():
                self._require_own(path)
            self._held = held.pop_all()

    def client(self) -> ClientRecord:
        """Return what keeps the episodes of one client."""
        return ClientRecord(self)

    def close(self) -> None:
        """Wait until all episodes are written."""
        self._thread.shutdown(wait=True)
        self._held.close()

    def write(self, rows: list[Row], seed: int) -> None:
        """Have an episode written, without waiting for it.

        Args:
            rows: Its requests.
            seed: What the client named as its seed; -1 for none.
        """
        size = sum(row.num_bytes for row in rows)
        with self._counting:
            is_slow = 0 < self._waiting_bytes > _MAX_WAITING - size
            self._waiting_bytes += 0 if is_slow else size
        if is_slow:
            say(f"warning: --record {self.path} is slow: an episode is not recorded", error=True)
            return
        self._thread.submit(self._write, rows, seed, size)

    def _write(self, rows: list[Row], seed: int, size: int) -> None:
        try:
            if not self._is_full:
                self._add(rows, seed)
        except Exception as error:  # the server goes on, whatever a stranger's episode holds
            self._is_full = _is_of_the_disk(error)
            known = isinstance(error, UserError | OSError)
            why = str(error) if known else in_a_line(error)
            left = "nothing more is recorded" if self._is_full else "an episode is not recorded"
            say(f"warning: --record {self.path}: {why}; {left}", error=True)
        finally:
            with self._counting:
                self._waiting_bytes -= size

    def _add(self, rows: list[Row], seed: int) -> None:
        """Add an episode to the dataset."""
        task = self._task_of(rows[0].instruction or _NO_INSTRUCTION)
        episode = self._episode(rows, task, seed)
        note = self._noted(rows, task)
        with self._writer([task]) as writer:
            writer.add(episode)
            lines = "".join(f"{line}\n" for line in [*self._notes, note])
            writer.attach(f"meta/{SERVED}", lines.encode())
        self._notes.append(note)
        self._last = writer

    def _writer(self, tasks: list[TaskEntry]) -> DatasetWriter:
        rate = self.spec.action.control_rate_hz
        if self.path.exists():
            return append(
                self.path, self.spec, fps=rate, tasks=tasks, environment={}, after=self._last
            )
        return DatasetWriter(
            self.path,
            self.spec,
            fps=rate,
            tasks=tasks,
            environment={},
            expert=False,
            knows_success=False,
            knows_reward=False,
        )

    def _episode(self, rows: list[Row], task: TaskEntry, seed: int) -> Episode:
        self._require_whole_answers(rows[:-1])
        merged = [self._source.actions(row.actions, row.state[None]) for row in rows]
        action = np.concatenate(merged)
        return Episode(
            task=task.name,
            instruction=task.instruction,
            seed=seed,
            images={
                camera: np.stack([row.images[camera] for row in rows])
                for camera in self.spec.cameras
            },
            state=np.stack([row.state for row in rows]).astype(np.float32),
            action=action,
            expert_action=action,
            reward=np.zeros(len(rows), np.float32),
            success=np.zeros(len(rows), bool),
        )

    def _require_whole_answers(self, rows: list[Row]) -> None:
        """Raise UserError unless every answer was carried out whole: all rows of a dataset last
        equally long."""
        every = self._source.view.every
        for row in rows:
            if len(row.actions) != every:
                raise UserError(
                    f"a client carried out {len(row.actions)} of the {every} actions of an answer, "
                    f"and rows are of {every}; serve with --actions {len(row.actions)}, or 1"
                )

    def _task_of(self, instruction: str) -> TaskEntry:
        if instruction not in self._tasks:
            taken = {task.name for task in self._tasks.values()}
            number = next(n for n in range(len(taken) + 1) if f"{UNKNOWN}/{n}" not in taken)
            self._tasks[instruction] = TaskEntry(f"{UNKNOWN}/{number}", instruction, ())
        return self._tasks[instruction]

    def _noted(self, rows: list[Row], task: TaskEntry) -> str:
        """The line on an episode in `served.jsonl`."""
        milliseconds = [row.milliseconds for row in rows if not row.held]
        p50, p99 = np.percentile(milliseconds, (50, 99)) if milliseconds else (0.0, 0.0)
        line = {
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "task": task.name,
            "requests": len(rows),
            "actions": int(sum(len(row.actions) for row in rows)),
            "held": sum(row.held for row in rows),
            "infer_ms": {"p50": round(p50, 3), "p99": round(p99, 3)},
        }
        return json.dumps(line)

    def _require_own(self, path: Path) -> None:
        """Raise UserError unless episodes of this robot can be added to a dataset."""
        dataset = EpisodeDataset.open(path)
        if differences := dataset.spec.differences(self.spec):
            raise UserError(
                f"--record {path} holds episodes of another robot or another --actions: "
                f"{differences[0]}; choose another folder"
            )
        try:
            rate = self.spec.action.control_rate_hz
            require_appendable(path, self.spec, fps=rate, environment={})
        except UserError as error:
            raise UserError(f"--record: {error}; choose another folder") from error
        known = {task.name: task.instruction for task in self._tasks.values()}
        for task in dataset.tasks:
            if known.get(task.name, task.instruction) != task.instruction:
                raise UserError(
                    f"--record {path} has the instruction {task.instruction!r} for {task.name}, "
                    f"which is {known[task.name]!r} here; choose another folder"
                )
        self._tasks |= {task.instruction: task for task in dataset.tasks}
        notes = path / "meta" / SERVED
        if notes.is_file():
            self._notes = notes.read_text(encoding="utf-8").splitlines()


class ClientRecord:
    """The episodes of one client. See `link.Record`."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._rows: list[Row] = []
        self._seed, self._bytes = -1, 0

    def add(self, request: Request, answer: Answer) -> str:
        """See `link.Record`."""
        if self._rows and request.executed is not None:
            self._cut(request.executed)
        why = self._written_if_cut(request)
        if request.seed is not None and not self._rows:  # a later one is not what the agent drew by
            self._seed = request.seed
        row = Row(
            images=dict(request.images),
            state=request.state,
            actions=answer.actions,
            instruction=_instruction_in(request),
            milliseconds=answer.milliseconds,
            held=bool(answer.held),
        )
        self._rows.append(row)
        self._bytes += row.num_bytes
        return why

    def ended(self) -> None:
        """See `link.Record`."""
        rows, self._rows = self._rows, []
        seed, self._seed, self._bytes = self._seed, -1, 0
        if rows:
            self._recorder.write(rows, seed)

    def _written_if_cut(self, request: Request) -> str:
        """Have the rows so far written where one episode cannot hold them and a request, and return
        why."""
        if not self._rows:
            return ""
        why = ""
        if self._rows[0].instruction != _instruction_in(request):
            why = "it is asked for something else now"
        elif self._bytes > _MAX_BYTES:
            why = "it is long"
        if why:
            self.ended()
        return why

    def _cut(self, executed: int) -> None:
        """Keep of the last row what was carried out; a row of nothing goes."""
        last = self._rows[-1]
        last.actions = last.actions[:executed]
        if not len(last.actions):
            self._rows.pop()


def _instruction_in(request: Request) -> str | None:
    return None if request.prompt is None else request.prompt.instruction


def _is_of_the_disk(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, is one of files: a disk that is full or gone."""
    return error is not None and (isinstance(error, OSError) or _is_of_the_disk(error.__cause__))
