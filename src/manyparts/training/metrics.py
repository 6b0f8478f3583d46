"""metrics.jsonl and trackers: a row every few steps, cut back to the checkpoint on resuming."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from manyparts.core.errors import UserError
from manyparts.core.storage.atomic import write_atomically
from manyparts.training.trackers import Trackers


class Metrics:
    """Writes the metrics of a run, as a context manager.

    Attributes:
        path: of metrics.jsonl.
    """

    def __init__(self, run: Path, step: int, track: str | None = None) -> None:
        """Open the metrics in the folder `run`, of which `step` steps are done. Rows of later
        steps, left by a run that was killed, are removed. TensorBoard gets each row, too, if it is
        installed, and so does `track`."""
        self.path = run / "metrics.jsonl"
        _cut_back(self.path, step)
        self._file = self.path.open("a", encoding="utf-8")
        self._trackers = Trackers(run, step, track)

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a row, which has a `step`.

        Raises:
            UserError: the disk is full.
        """
        with self._explained():
            self._file.write(json.dumps(dict(row)) + "\n")
            self._file.flush()
        numbers = {name: value for name, value in row.items() if name != "step"}
        with self._explained():
            self._trackers.write(row["step"], numbers)

    def close(self) -> None:
        """Write what is buffered, and close the files."""
        with self._explained():
            self._file.close()
        with self._explained():
            self._trackers.close()

    def __enter__(self) -> Metrics:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:  # the error that ends the block matters more than one of closing, such as a full disk
            with contextlib.suppress(UserError):
                self.close()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Errors of the disk as UserError."""
        try:
            yield
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror or error}") from error


class Meter:
    """Means of numbers over the steps since the last row.

    It is part of a checkpoint, so that a resumed run writes the rows of one that never stopped.

    Attributes:
        sums: name to the sum of its values and their count.
    """

    def __init__(self, sums: Mapping[str, tuple[float, int]] | None = None) -> None:
        self.sums = dict(sums or {})

    def add(self, values: Mapping[str, float]) -> None:
        """Count one step's values."""
        for name, value in values.items():
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = (total + value, count + 1)

    def take(self) -> dict[str, float]:
        """The means so far; counting then starts again from zero."""
        means = {name: total / count for name, (total, count) in self.sums.items()}
        self.sums = {}
        return means


def _cut_back(path: Path, step: int) -> None:
    """Keep the whole rows of steps up to `step`."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            break  # half a row, left by a kill, is always the last
        if row["step"] <= step:
            kept.append(line + "\n")
    write_atomically(path, "".join(kept).encode())
