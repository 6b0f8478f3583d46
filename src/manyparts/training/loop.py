"""The training loop of every method: draw, step, log, validate, save."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from manyparts.core.errors import UserError
from manyparts.core.printing import counted, first_of, say
from manyparts.core.progress import progress_bar
from manyparts.core.randomness import derive_seed
from manyparts.core.records import Batch
from manyparts.data.sampling.base import WindowSource
from manyparts.models.checkpoint import CheckpointInfo
from manyparts.training import checkpoint
from manyparts.training.augmentation import augment
from manyparts.training.metrics import Meter, Metrics
from manyparts.training.run import Run
from manyparts.training.update import Learner, NonFiniteError, StepReport
from manyparts.training.validation import Validation

_SHOWN_WINDOWS = 4
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


@dataclass(frozen=True)
class TrainContext:
    """All that a process trains with."""

    run: Run
    """The run, with its config and folder."""

    learner: Learner
    """The system, with its optimiser."""

    windows: WindowSource
    """The windows that batches are drawn from."""

    validation: Validation | None
    """Measures the system on what it did not learn from; None if this process does not, or there is
    nothing."""

    info: CheckpointInfo
    """The description that checkpoints carry."""


def fit(context: TrainContext, start: int, meter: Meter) -> None:
    """Train from step `start` to the last. Only rank 0 logs, validates and writes.

    Args:
        context: what is trained, on what.
        start: how many steps are done.
        meter: the running means after these steps.

    Raises:
        KeyboardInterrupt: one of `STOP_SIGNALS` came. The current step was finished, and a
            checkpoint written.
        UserError: a loss is not finite, and the message names the step, the loss and the windows;
            or there is no batch, or no validation, such as from an environment that fails. What was
            learned until then is saved.
    """
    if not context.run.ranks.first:
        _follow(context, start)
        return
    config, pace = context.run.config, _Pace(context.run.config.batch_size)
    with (
        Metrics(context.run.output, start, context.run.track) as metrics,
        interruption() as is_interrupted,
        progress_bar(f"training {config.phase} of {config.method}", config.steps) as bar,
    ):
        for step, parts in _drawn_or_saved(context, start, meter):
            report = _step_or_explain(context, step, parts, stop=is_interrupted(), meter=meter)
            done = step + 1
            meter.add(_numbers_of(context, step, report))
            pace.tick()
            bar.show(done, _note(context, report, pace))
            try:
                row = _row(context, report, parts, done, meter, pace)
            except UserError as error:  # of a validation, which is then left out
                raise _kept(context, done, meter, error) from error
            if row:
                metrics.write({"step": done} | row)
            if _is_saved(context, done, report):
                _save(context, done, meter)
            if report.stop and done < config.steps:
                raise _interrupted(context, done)
            pace.resume()
        bar.summary = _summary(context, start, pace)


def _drawn_or_saved(
    context: TrainContext, start: int, meter: Meter
) -> Iterator[tuple[int, dict[int, Batch]]]:
    """As `drawn_ahead`. If there is no batch, what was learned until then is saved."""
    done = start
    try:
        for step, parts in drawn_ahead(context, start):
            yield step, parts
            done = step + 1
    except UserError as error:
        raise error if done == start else _kept(context, done, meter, error) from error


def _kept(context: TrainContext, done: int, meter: Meter, error: UserError) -> UserError:
    """Save what was learned when an error stops a run. Return the error that says so."""
    # Several processes save together, and the others do not know of the error.
    if context.run.ranks.world > 1:
        return error
    try:
        _save(context, done, meter)
    except UserError:  # such as of a full disk, which may be what `error` says, too
        return error
    return UserError(
        f"{error}; {counted(done, 'optimiser step')} are saved, and --resume continues from "
        f"{context.run.output}"
    )


def drawn_ahead(context: TrainContext, start: int) -> Iterator[tuple[int, dict[int, Batch]]]:
    """Yield each step with this rank's parts of its batch. While a step trains, a thread draws the
    next one's parts.

    Args:
        context: what is trained, on what.
        start: how many steps are done.

    Yields:
        The step, and its parts by their index, see `draw`.
    """
    steps = range(start, context.run.config.steps)
    with ThreadPoolExecutor(1) as thread:
        ahead: list[Future[dict[int, Batch]]] = []
        for step in steps:
            context.windows.prepare(step, context.learner)
            parts = ahead.pop().result() if ahead else draw(context, step)
            if step + 1 in steps and context.windows.is_ready(step + 1):
                ahead.append(thread.submit(draw, context, step + 1))
            yield step, parts


def draw(context: TrainContext, step: int) -> dict[int, Batch]:
    """This rank's parts of a step's batch.

    They are a pure function of (seed, step). Images are augmented on the GPU, since a CPU would
    take longer to augment them than the GPU to train on them.

    Args:
        context: what is trained, on what.
        step: the step's number, from 0.

    Returns:
        Index among all parts of all ranks to the part, on the learner's device.
    """
    config, ranks, device = context.run.config, context.run.ranks, context.learner.device
    parts = config.optimizer.accumulation
    drawn = {}
    # Rank r has parts r * accumulation and following, so that a batch is cut into the same parts
    # whether they are computed by ranks at once, or one after the other.
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


@contextlib.contextmanager
def interruption() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether one of `STOP_SIGNALS` came.

    A second signal of the same kind is handled as it was before this block. In a thread other than
    the main one, no signal is seen.

    Slurm warns with SIGUSR1 before a job runs out of time (`sbatch --signal=USR1@120`). A terminal
    that is closed sends SIGHUP, which nohup makes processes ignore, so it is then left alone. A
    shell makes its background jobs ignore SIGINT; here it stops them too.
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
    """Windows per second of training alone: time between `tick` and `resume`, in which the run is
    validated and saved, does not count."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size, self.seconds, self.steps = batch_size, 0.0, 0
        self._since = time.monotonic()
        self._marked = (0, 0.0)

    def tick(self) -> None:
        """Count a step, which has ended now."""
        self.seconds += time.monotonic() - self._since
        self.steps += 1

    def resume(self) -> None:
        """Start the time of the next step."""
        self._since = time.monotonic()

    def rate(self) -> float:
        """Windows per second since the last `mark`."""
        steps, seconds = self.steps - self._marked[0], self.seconds - self._marked[1]
        return steps * self.batch_size / max(seconds, 1e-9)

    def mark(self) -> None:
        """Let `rate` count from now on."""
        self._marked = (self.steps, self.seconds)


def _follow(context: TrainContext, start: int) -> None:
    """The loop of ranks other than 0: step until the last, or until rank 0 stops. Where weights are
    sharded, these ranks also take part in validating and saving."""
    learner, output, info = context.learner, context.run.output, context.info
    with interruption():  # rank 0 decides when to stop, and sends it with the losses
        for step, parts in drawn_ahead(context, start):
            try:
                report = learner.step(step, parts)
            except NonFiniteError:
                checkpoint.save(output, step, learner, Meter(), info)
                return  # rank 0 reports the error
            if context.validation is not None and _is_validated(context, step + 1):
                context.validation.measure(learner)
            if _is_saved(context, step + 1, report):
                checkpoint.save(output, step + 1, learner, Meter(), info)
            if report.stop:
                return


def _is_due(context: TrainContext, done: int, every_steps: int) -> bool:
    """Whether something that is done every so many steps, and at last, is done now."""
    return done == context.run.config.steps or done % every_steps == 0


def _is_validated(context: TrainContext, done: int) -> bool:
    return _is_due(context, done, context.run.config.validate_every_steps)


def _is_saved(context: TrainContext, done: int, report: StepReport) -> bool:
    return report.stop or _is_due(context, done, context.run.config.checkpoint_every_steps)


def _save(context: TrainContext, done: int, meter: Meter) -> Path:
    """Write a checkpoint after so many steps, with the state of what is drawn from."""
    saved = checkpoint.save(
        context.run.output,
        done,
        context.learner,
        meter,
        context.info,
        source=context.windows.state(),
    )
    context.windows.after_save()
    return saved


def _numbers_of(context: TrainContext, step: int, report: StepReport) -> dict[str, float]:
    """What one step adds to the running means."""
    numbers = {**report.losses, **report.metrics}
    for name, fraction in context.windows.fractions(step, context.run.config.batch_size).items():
        numbers[f"fraction/{name}"] = fraction
    return numbers | {"gradient_norm": report.gradient_norm}


def _row(
    context: TrainContext,
    report: StepReport,
    parts: Mapping[int, Batch],
    done: int,
    meter: Meter,
    pace: _Pace,
) -> dict[str, float]:
    """What is logged after this step; empty if nothing is."""
    config, row = context.run.config, {}
    if _is_due(context, done, config.log_every_steps):
        row = meter.take()
        row["learning_rate"] = report.learning_rate
        row["samples_per_second"] = pace.rate()
        for suffix, count in context.windows.epochs(done * config.batch_size).items():
            row[f"epoch{suffix}"] = count
        if config.log_gradients:
            row |= context.learner.gradient_norms(done - 1, parts)
        pace.mark()
    if context.validation is not None and _is_validated(context, done):
        row |= context.validation.measure(context.learner)
    # Also with a row of a validation alone, which is a point of the learning curve.
    return {**row, **context.windows.progress()} if row else row


def _step_or_explain(
    context: TrainContext, step: int, parts: Mapping[int, Batch], *, stop: bool, meter: Meter
) -> StepReport:
    """Train one step. If a loss is not finite, save the state before it and raise UserError."""
    try:
        return context.learner.step(step, parts, stop=stop)
    except NonFiniteError as error:
        saved = _save(context, step, meter)
        windows = [context.windows.describe(window) for window in error.windows]
        shown = first_of(windows, _SHOWN_WINDOWS, separator="; ")
        raise UserError(
            f"step {step}: {error} in {shown}. The state before this step is saved in {saved}; "
            "look at this data, lower the learning rate, or use precision fp32"
        ) from error


def _note(context: TrainContext, report: StepReport, pace: _Pace) -> str:
    parts = [f"{name.removeprefix('loss/')} {value:.4f}" for name, value in report.losses.items()]
    # A source that grows knows the whole work's pace, which matters more than the losses.
    notes = context.windows.notes()
    return ", ".join([*notes, *parts] if notes else [*parts, f"{pace.rate():.0f} samples/s"])


def _summary(context: TrainContext, start: int, pace: _Pace) -> str:
    config = context.run.config
    name = f"trained {config.phase} of {config.method}"
    if start >= config.steps:
        return f"{name} before: all {counted(config.steps, 'step')} were done"
    rate = pace.steps * config.batch_size / max(pace.seconds, 1e-9)
    return f"{name}: {counted(pace.steps, 'step')} in {pace.seconds:.0f} s ({rate:.0f} samples/s)"


def _interrupted(context: TrainContext, done: int) -> KeyboardInterrupt:
    print(file=sys.stderr)
    say(
        f"stopped after step {done} of {context.run.config.steps}; --resume continues from "
        f"{context.run.output}",
        error=True,
    )
    return KeyboardInterrupt()
