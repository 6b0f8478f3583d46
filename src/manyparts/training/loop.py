"""THE training loop, for every method: draw, step, log, validate, save."""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from manyparts.core.errors import UserError
from manyparts.core.printing import say
from manyparts.core.progress import progress_bar
from manyparts.core.randomness import derive_seed
from manyparts.core.records import Batch
from manyparts.data.sampling.base import WindowSource
from manyparts.models.checkpoint import CheckpointInfo
from manyparts.training import checkpoint
from manyparts.training.augmentation import augment
from manyparts.training.config import TrainConfig
from manyparts.training.distributed.ranks import Ranks
from manyparts.training.metrics import Meter, Metrics
from manyparts.training.update import Learner, NonFiniteError, StepReport

VALIDATION_BATCHES = 8
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


@dataclass(frozen=True)
class TrainContext:
    """All that a process trains with. validation: windows of held-out episodes; None where this
    process does not validate, or there are none. output: the run's folder."""

    config: TrainConfig
    learner: Learner
    windows: WindowSource
    validation: WindowSource | None
    info: CheckpointInfo
    output: Path
    ranks: Ranks


def fit(context: TrainContext, start: int, meter: Meter) -> None:
    """Train from step `start` to the last. Only rank 0 logs, validates and writes.

    SIGINT, SIGTERM or SIGUSR1 ends the run after the step under way with a checkpoint and
    KeyboardInterrupt. A loss that is not finite raises UserError naming the step, the loss and the
    windows; the state before it is kept.
    """
    if not context.ranks.first:
        _follow(context, start)
        return
    config, pace = context.config, _Pace(context.config.batch_size)
    with (
        Metrics(context.output, start) as metrics,
        interruption() as asked,
        progress_bar(f"{config.method} {config.phase}", config.steps) as bar,
    ):
        for step, parts in drawn_ahead(context, start):
            report = _step_or_explain(context, step, parts, stop=asked(), meter=meter)
            done, last = step + 1, step + 1 == config.steps
            fractions = {
                f"fraction/{name}": part
                for name, part in context.windows.fractions(step, config.batch_size).items()
            }
            meter.add(
                dict(report.losses)
                | dict(report.metrics)
                | fractions
                | {"gradient_norm": report.gradient_norm}
            )
            pace.tick()
            bar.show(done, _note(report, pace))
            row = _row(context, report, done, meter, pace)
            if row:
                metrics.write({"step": done} | row)
            if _is_saved(context, done, report):
                checkpoint.save(context.output, done, context.learner, meter, context.info)
            if report.stop and not last:
                raise _interrupted(context, done)
            pace.resume()
        bar.summary = _summary(context, start, pace)


def drawn_ahead(context: TrainContext, start: int) -> Iterator[tuple[int, dict[int, Batch]]]:
    """Each step with this rank's parts of its batch; the next step's are drawn by a thread
    meanwhile."""
    steps = range(start, context.config.steps)
    with ThreadPoolExecutor(1) as thread:
        ahead = [thread.submit(draw, context, step) for step in steps[:1]]
        for step in steps:
            parts = ahead.pop().result()
            if step + 1 in steps:
                ahead.append(thread.submit(draw, context, step + 1))
            yield step, parts


def draw(context: TrainContext, step: int) -> dict[int, Batch]:
    """This rank's parts of a step's batch, by their number among all parts: a pure function of
    (seed, step). A GPU augments what it trains on, which takes a processor longer than the step."""
    config, ranks, device = context.config, context.ranks, context.learner.device
    parts = config.optimizer.accumulation
    drawn = {}
    for number in range(ranks.rank * parts, (ranks.rank + 1) * parts):
        batch = context.windows.batch(
            step, config.batch_size, rank=number, world_size=ranks.world * parts
        )
        if device.type == "cuda":
            batch = batch.pinned().to(device, non_blocking=True)
        generator = torch.Generator().manual_seed(
            derive_seed("augmentation", config.seed, step, number)
        )
        drawn[number] = augment(batch, config.augmentation, generator)
    return drawn


def validate(context: TrainContext) -> dict[str, float]:
    """Mean losses of held-out windows, always the same ones, under the weights that a checkpoint is
    evaluated by; of several embodiments also each one's."""
    assert context.validation is not None
    size = min(context.config.batch_size, context.validation.num_windows)
    batches = min(VALIDATION_BATCHES, math.ceil(context.validation.num_windows / size))
    averages = context.learner.averages
    sums: dict[str, list[float]] = {}
    with averages.applied() if averages is not None else contextlib.nullcontext():
        for number in range(batches):
            batch = context.validation.batch(number, size)
            for name, loss in context.learner.evaluate(number, batch).items():
                weight = loss.mask.float()
                value = loss.value.float() * weight
                for whose, rows in _rows_by_embodiment(context, batch).items():
                    total, count = sums.setdefault(name + whose, [0.0, 0.0])
                    sums[name + whose] = [
                        total + float(value[rows].sum()),
                        count + float(weight[rows].sum()),
                    ]
    return {f"validation/{name}": total / max(count, 1.0) for name, (total, count) in sums.items()}


@contextlib.contextmanager
def interruption() -> Iterator[Callable[[], bool]]:
    """Yields a function that tells whether one of `STOP_SIGNALS` came; a second one acts as without
    us.

    Slurm warns with SIGUSR1 before the time of a job is over (`sbatch --signal=USR1@120`). A
    terminal that is closed sends SIGHUP, unless nohup ignores it. A shell lets its background jobs
    ignore SIGINT; here it counts all the same.
    """
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came.is_set
        return
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    if before[signal.SIGHUP] is signal.SIG_IGN:
        del before[signal.SIGHUP]

    def note(number: int, frame: object) -> None:
        came.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, note)
    try:
        yield came.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Pace:
    """Windows a second, of training alone: time between `tick` and `resume` (validating, saving)
    does not count."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size, self.seconds, self.steps = batch_size, 0.0, 0
        self._since = time.monotonic()
        self._marked = (0, 0.0)

    def tick(self) -> None:
        self.seconds += time.monotonic() - self._since
        self.steps += 1

    def resume(self) -> None:
        self._since = time.monotonic()

    def rate(self) -> float:
        """Since the last `mark`."""
        steps, seconds = self.steps - self._marked[0], self.seconds - self._marked[1]
        return steps * self.batch_size / max(seconds, 1e-9)

    def mark(self) -> None:
        self._marked = (self.steps, self.seconds)


def _follow(context: TrainContext, start: int) -> None:
    """The part of ranks other than 0: step, until the last or until rank 0 was asked to stop; where
    weights are shared out, also take part in validating and saving."""
    with interruption():  # rank 0 tells when to stop
        for step, parts in drawn_ahead(context, start):
            try:
                report = context.learner.step(step, parts)
            except NonFiniteError:
                checkpoint.save(context.output, step, context.learner, Meter(), context.info)
                return  # rank 0 tells of it
            if _is_validated(context, step + 1):
                validate(context)
            if _is_saved(context, step + 1, report):
                checkpoint.save(context.output, step + 1, context.learner, Meter(), context.info)
            if report.stop:
                return


def _is_validated(context: TrainContext, done: int) -> bool:
    last = done == context.config.steps
    return context.validation is not None and (
        last or done % context.config.validate_every_steps == 0
    )


def _is_saved(context: TrainContext, done: int, report: StepReport) -> bool:
    return (
        done == context.config.steps
        or report.stop
        or done % context.config.checkpoint_every_steps == 0
    )


def _row(
    context: TrainContext, report: StepReport, done: int, meter: Meter, pace: _Pace
) -> dict[str, float]:
    """What is to be logged now, if anything."""
    config, row = context.config, {}
    last = done == config.steps
    if last or done % config.log_every_steps == 0:
        row = meter.take() | {
            "learning_rate": report.learning_rate,
            "samples_per_second": pace.rate(),
        }
        row |= {
            f"epoch{whose}": count
            for whose, count in context.windows.epochs(done * config.batch_size).items()
        }
        pace.mark()
    if _is_validated(context, done):
        row |= validate(context)
    return row


def _step_or_explain(
    context: TrainContext, step: int, parts: Mapping[int, Batch], *, stop: bool, meter: Meter
) -> StepReport:
    try:
        return context.learner.step(step, parts, stop=stop)
    except NonFiniteError as error:
        kept = checkpoint.save(context.output, step, context.learner, meter, context.info)
        windows = [context.windows.describe(window) for window in error.windows]
        more = f" and {len(windows) - 4} more windows" if len(windows) > 4 else ""
        raise UserError(
            f"step {step}: {error} in {'; '.join(windows[:4])}{more}. The state before this step is kept in {kept}; "
            "look at this data, lower the learning rate, or use precision fp32"
        ) from error


def _rows_by_embodiment(context: TrainContext, batch: Batch) -> dict[str, slice | Tensor]:
    """All rows of a batch as "", and those of each of several embodiments as "/name"."""
    everyone: dict[str, slice | Tensor] = {"": slice(None)}
    if batch.embodiment is None:
        return everyone
    return everyone | {
        f"/{name}": batch.embodiment == number
        for number, name in enumerate(context.info.embodiment_set.names)
    }


def _note(report: StepReport, pace: _Pace) -> str:
    parts = [f"{name.removeprefix('loss/')} {value:.4f}" for name, value in report.losses.items()]
    return ", ".join([*parts, f"{pace.rate():.0f} samples/s"])


def _summary(context: TrainContext, start: int, pace: _Pace) -> str:
    config = context.config
    if start >= config.steps:
        return f"{config.method} {config.phase}: all {config.steps} steps were done before"
    rate = pace.steps * config.batch_size / max(pace.seconds, 1e-9)
    return f"{config.method} {config.phase}: {pace.steps} steps in {pace.seconds:.0f} s ({rate:.0f} samples/s)"


def _interrupted(context: TrainContext, done: int) -> KeyboardInterrupt:
    print(file=sys.stderr)
    say(
        f"stopped after step {done} of {context.config.steps}; --resume continues from {context.output}",
        error=True,
    )
    return KeyboardInterrupt()
