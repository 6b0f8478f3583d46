"""metrics.jsonl and TensorBoard: one row now and then, cut back to the checkpoint when a run
resumes."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from manyparts.core.errors import SurroundingsWarning, UserError
from manyparts.core.extras import in_a_line
from manyparts.core.storage.atomic import write_atomically


class Metrics:
    """Rows of a run's folder. step: how many steps are done; rows of later ones, left by a kill,
    are removed."""

    def __init__(self, run: Path, step: int) -> None:
        self.path = run / "metrics.jsonl"
        _cut_back(self.path, step)
        self._file = self.path.open("a", encoding="utf-8")
        self._board = _tensorboard(run / "tensorboard", step)

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a row, which has a `step`. Raises UserError if the disk is full."""
        with self._explained():
            self._file.write(json.dumps(dict(row)) + "\n")
            self._file.flush()
        with self._explained(), self._without_a_broken_board():
            if self._board is not None:
                for name, value in row.items():
                    if name != "step":
                        self._board.add_scalar(name, value, row["step"])

    def close(self) -> None:
        with self._explained():
            self._file.close()
        with self._explained(), self._without_a_broken_board():
            if self._board is not None:
                self._board.close()

    def __enter__(self) -> Metrics:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:  # a disk that is full now was told of already
            with contextlib.suppress(UserError):
                self.close()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror or error}") from error

    @contextlib.contextmanager
    def _without_a_broken_board(self) -> Iterator[None]:
        """TensorBoard is an extra: if it fails, the run goes on without it. A full disk is no
        failure of its own."""
        try:
            yield
        except OSError:
            raise
        except Exception as error:
            self._board = None
            _tell_of_broken_board(error)


class Meter:
    """Means of numbers over the steps since the last row; part of a checkpoint, so that a resumed
    run's rows are the same."""

    def __init__(self, sums: Mapping[str, tuple[float, int]] | None = None) -> None:
        self.sums = dict(sums or {})

    def add(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = (total + value, count + 1)

    def take(self) -> dict[str, float]:
        """The means, after which counting begins anew."""
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
            break  # torn by a kill; it was the last
        if row["step"] <= step:
            kept.append(line + "\n")
    write_atomically(path, "".join(kept).encode())


def _tensorboard(folder: Path, step: int) -> Any:
    """A writer, or None where TensorBoard is not installed or does not work."""
    try:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(folder), purge_step=step + 1 if step else None)
    except ModuleNotFoundError:
        return None
    except OSError:  # the disk
        raise
    except Exception as error:  # an installed package may raise anything when it is imported
        _tell_of_broken_board(error)
        return None


def _tell_of_broken_board(error: Exception) -> None:
    warnings.warn(
        f"TensorBoard is installed but does not work ({in_a_line(error)}): curves are in metrics.jsonl alone",
        SurroundingsWarning,
        stacklevel=2,
    )
