"""One optimiser step: the losses of every part of a batch, their weighted sum, one update."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from manyparts.core.errors import UserError
from manyparts.core.host.memory import keep_freed_memory
from manyparts.core.randomness import derive_seed
from manyparts.core.records import Batch, Loss
from manyparts.models.encoders import KeypointEncoder
from manyparts.objectives.system import System
from manyparts.training.averaging import AveragedWeights
from manyparts.training.config import TrainConfig
from manyparts.training.distributed.ranks import Ranks
from manyparts.training.distributed.sharding import shard
from manyparts.training.optimizer import (
    add_up_gradients,
    build_optimizer,
    complete_gradients,
    gradient_norm,
    set_training_mode,
    train_only,
    trained,
)
from manyparts.training.precision import computed_precision
from manyparts.training.schedule import learning_rate


@dataclass(frozen=True)
class StepReport:
    """The numbers of one optimiser step."""

    losses: Mapping[str, float]
    """The weighted sum as "loss", then the mean over the batch of each objective, as
    "loss/NAME"."""

    metrics: Mapping[str, float]
    """What objectives log, as "NAME/METRIC"."""

    gradient_norm: float
    """The norm of all gradients together before they were clipped."""

    learning_rate: float
    """Of this step."""

    stop: bool
    """Whether rank 0 was asked to stop."""


class NonFiniteError(UserError):
    """A loss or a gradient is not finite; nothing was updated.

    Attributes:
        names: the losses, such as "loss behaviour_cloning", or "the gradient".
        windows: those of the batch that it came from, as in `Batch.window`.
    """

    def __init__(self, names: Iterable[str], windows: Iterable[int]) -> None:
        self.names, self.windows = tuple(names), tuple(windows)
        super().__init__(f"{', '.join(self.names)} not finite")


class Learner:
    """A system with its optimiser.

    All randomness of a step is a pure function of (seed, step, part of the batch).

    Attributes:
        system: on `device`.
        config: the run's.
        ranks: the processes that share each batch.
        device: of this process.
        sharded: whether each rank holds only its part of the weights.
        optimizer: of the trained parameters.
        parameters: those that are trained.
        averages: the moving average of weights; None if there is none.
    """

    def __init__(
        self, system: System, config: TrainConfig, ranks: Ranks, device: torch.device
    ) -> None:
        """Move the system to `device`, freeze what `config` does not train, and shard weights if
        `config` says so. The systems of all ranks must have equal weights."""
        assert set(system.weights) == set(config.objectives), (
            set(system.weights),
            set(config.objectives),
        )
        if device.type == "cpu":
            keep_freed_memory()
        self.system = system.to(device)
        self.config, self.ranks, self.device = config, ranks, device
        self._bf16 = computed_precision(config.precision, device) == "bf16"
        train_only(system, config.train_only)
        set_training_mode(system)
        if config.compile:
            compile_blocks(system)
        self.sharded = config.sharding == "fsdp" and ranks.world > 1
        if self.sharded:
            shard(system, ranks.world, device)
        self.optimizer = build_optimizer(system, config.optimizer)
        self.parameters = list(trained(system).values())
        self.averages = AveragedWeights(system, config.ema_decay) if config.ema_decay else None

    def averaged(self) -> AbstractContextManager[None]:
        """Give the system the weights that a checkpoint holds while the block runs: the averaged
        ones, if there are any."""
        return nullcontext() if self.averages is None else self.averages.applied()

    def step(self, step: int, parts: Mapping[int, Batch], *, stop: bool = False) -> StepReport:
        """Train on this rank's parts of a batch.

        The host waits for the device only once, when all but the update is computed.

        Args:
            step: counted from 0.
            parts: by their index in the batch. Every part has the same weight; within a part, each
                loss is a mean over the elements of all ranks together.
            stop: whether this rank was asked to stop, which all ranks then report.

        Raises:
            NonFiniteError: before any weight changes.
        """
        self.system.set_progress(step / self.config.steps)
        self.optimizer.zero_grad()
        done = [
            self._backward(step, number, batch, stop, len(parts)) for number, batch in parts.items()
        ]
        complete_gradients(self.parameters)
        if not self.sharded:
            add_up_gradients(self.parameters, self.ranks)
        norm_on_device = gradient_norm(self.parameters)
        # Everything that the host needs comes in one transfer, which is the only wait.
        numbers = torch.cat([*(part.numbers for part in done), norm_on_device[None]]).cpu()
        sizes = [*(len(part.numbers) for part in done), 1]
        *rows, (norm,) = (row.tolist() for row in numbers.split(sizes))
        tallies = [part.tally(row, self.ranks.world) for part, row in zip(done, rows, strict=True)]
        self._require_finite(done, tallies, norm)
        if norm > self.config.optimizer.clip_norm:
            nn.utils.clip_grads_with_norm_(
                self.parameters, self.config.optimizer.clip_norm, norm_on_device
            )
        rate = learning_rate(self.config.optimizer, step, self.config.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("factor", 1.0)  # checkpoints of 0.1 have no factors
        self.optimizer.step()
        self.system.after_step()
        if self.averages is not None:
            self.averages.update(step)
        means = _mean([tally.means for tally in tallies])
        losses = {"loss": self._weighted(means)}
        losses |= {f"loss/{name}": value for name, value in means.items()}
        return StepReport(
            losses=losses,
            metrics=_mean([tally.metrics for tally in tallies]),
            gradient_norm=norm,
            learning_rate=rate,
            stop=any(tally.stop for tally in tallies),
        )

    @torch.no_grad()
    def evaluate(self, number: int, batch: Batch) -> dict[str, Loss]:
        """The losses of a validation batch, in evaluation mode.

        Args:
            number: the batch's number, which seeds what is drawn at random.
            batch: its windows.

        Returns:
            Name to loss, without gradient.
        """
        self.system.eval()
        try:
            return self._losses(batch, derive_seed("validation", self.config.seed, number))
        finally:
            set_training_mode(self.system)

    def gradient_norms(self, step: int, parts: Mapping[int, Batch]) -> dict[str, float]:
        """The norm of each loss's own gradient, with its weight, on the first part of a batch.

        Nothing is updated.

        Args:
            step: counted from 0, which seeds what is drawn at random, as in `step`.
            parts: see `step`.

        Returns:
            Numbers by names such as gradient/behaviour_cloning.
        """
        number, batch = next(iter(parts.items()))
        self._seed(derive_seed("dropout", self.config.seed, step, number))
        losses = self._losses(batch, derive_seed("masks", self.config.seed, step, number))
        norms = {}
        for name, loss in losses.items():
            weighted = self.system.weights[name] * loss.mean()
            gradients = torch.autograd.grad(
                weighted, self.parameters, retain_graph=True, allow_unused=True
            )
            found = [each for each in gradients if each is not None]
            norms[f"gradient/{name}"] = float(nn.utils.get_total_norm(found)) if found else 0.0
        return norms

    def _losses(self, batch: Batch, seed: int) -> dict[str, Loss]:
        """The losses of a batch; `seed` draws masks and the like."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16):
            losses = self.system.losses(
                batch.to(self.device, non_blocking=True), torch.Generator().manual_seed(seed)
            )
        assert set(losses) == set(self.system.weights), (set(losses), set(self.system.weights))
        return losses

    def _seed(self, seed: int) -> None:
        """As `torch.manual_seed`, but only for the devices that draw here: for GPUs that are not
        used yet, that function records the caller's stack, which takes a millisecond."""
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def _backward(self, step: int, number: int, batch: Batch, stop: bool, parts: int) -> Part:
        """Add the gradients of one of this rank's `parts` parts, which has index `number`."""
        self._seed(derive_seed("dropout", self.config.seed, step, number))
        losses = self._losses(batch, derive_seed("masks", self.config.seed, step, number))
        sums = torch.stack([(loss.value.float() * loss.mask).sum() for loss in losses.values()])
        part = Part.of(losses, sums, batch, stop, self.ranks)
        weights = torch.tensor([self.system.weights[name] for name in losses]).to(
            self.device, non_blocking=True
        )
        # `sums` are this rank's alone, but `part.counts` are of all ranks: the gradients of all
        # ranks add up to those of means over all. Sharding averages them instead of adding up.
        total = (weights * sums / part.counts).sum()
        correction = self.ranks.world if self.sharded else 1
        (total * correction / parts).backward()
        return part

    def _require_finite(self, done: Sequence[Part], tallies: Sequence[Tally], norm: float) -> None:
        """Raise NonFiniteError if a loss or the gradient norm is not finite, with the windows of
        all ranks in which a loss is not; with all windows if there are none."""
        losses = list(self.system.weights)
        bad = [
            name
            for name in losses
            if not all(math.isfinite(tally.means[name]) for tally in tallies)
        ]
        if not bad and math.isfinite(norm):
            return
        windows = torch.cat([part.batch.window.to(self.device) for part in done])
        rows = torch.cat(
            [_bad_rows([part.losses[name] for name in bad], part.batch) for part in done]
        )
        bad_windows = torch.where(rows.to(self.device), windows, -1)
        of_all_ranks = self.ranks.gather(torch.stack([bad_windows, windows], dim=1))
        bad_of_all = [window for window in of_all_ranks[:, 0].tolist() if window >= 0]
        names = [f"loss {name}" for name in bad] or ["the gradient"]
        raise NonFiniteError(names, bad_of_all or of_all_ranks[:, 1].tolist())

    def _weighted(self, means: Mapping[str, float]) -> float:
        return sum(self.system.weights[name] * mean for name, mean in means.items())


@dataclass(frozen=True)
class Tally:
    """The numbers of one part of a batch over all ranks, on the host."""

    means: Mapping[str, float]
    """Loss to its mean over elements."""

    metrics: Mapping[str, float]
    """Metric, as "LOSS/METRIC", to its mean over ranks."""

    stop: bool
    """Whether a rank was asked to stop."""


@dataclass(frozen=True)
class Part:
    """One part of a batch, after its losses were computed."""

    losses: Mapping[str, Loss]
    """Losses without gradient."""

    batch: Batch
    """The windows of this part."""

    numbers: Tensor
    """The sums of the losses, the number of elements of each, metrics, and 1 for each rank that was
    asked to stop. It is one vector on the device, so that ranks add it up in one exchange."""

    @classmethod
    def of(
        cls, losses: Mapping[str, Loss], sums: Tensor, batch: Batch, stop: bool, ranks: Ranks
    ) -> Part:
        """Exchange the numbers of a part with all ranks.

        Args:
            losses: name to loss.
            sums: (losses,), of each loss over its elements, on the device.
            batch: the windows of this part.
            stop: whether this rank was asked to stop.
            ranks: the processes that share the batch.
        """
        counts = torch.stack([loss.mask.sum() for loss in losses.values()])
        metrics: list[Tensor] = []
        for loss in losses.values():
            metrics += [value.detach().float() for value in loss.metrics.values()]
        stops = torch.full((1,), float(stop), device=sums.device)
        numbers = torch.cat(
            [sums.detach(), counts.float(), *(value[None] for value in metrics), stops]
        )
        ranks.add(numbers)
        detached = {name: replace(loss, value=loss.value.detach()) for name, loss in losses.items()}
        return cls(detached, batch, numbers)

    @property
    def counts(self) -> Tensor:
        """How many elements each loss has on all ranks, at least 1: a tensor (losses,)."""
        return self.numbers[len(self.losses) : 2 * len(self.losses)].clamp(min=1)

    def tally(self, numbers: Sequence[float], world: int) -> Tally:
        """The tally in the numbers of all ranks.

        Args:
            numbers: those of `Part.numbers` after the exchange, read from the device.
            world: how many ranks have added theirs.
        """
        values = iter(numbers)  # in the order of `of`
        totals = {name: next(values) for name in self.losses}
        means = {name: total / max(next(values), 1.0) for name, total in totals.items()}
        metrics: list[str] = []
        for name, loss in self.losses.items():
            metrics += [f"{name}/{key}" for key in loss.metrics]
        return Tally(means, {name: next(values) / world for name in metrics}, next(values) > 0)


def compile_blocks(system: nn.Module) -> None:
    """Compile the members of every list of modules, and keypoint encoders.

    Lists hold the repeated blocks, which share one short compilation. A compiled keypoint encoder
    reads and writes its feature maps only once.
    """
    for module in system.modules():
        if isinstance(module, KeypointEncoder):
            module.compile()
        if isinstance(module, nn.ModuleList):
            for block in module:
                block.compile()


def _mean(records: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The means of several records with equal names."""
    return {name: sum(each[name] for each in records) / len(records) for name in records[0]}


def _bad_rows(losses: Iterable[Loss], batch: Batch) -> Tensor:
    """bool (b,): windows with a sum that is not finite, in losses that have one row per window."""
    bad = torch.zeros(len(batch), dtype=torch.bool)
    for loss in losses:
        if loss.value.ndim and len(loss.value) == len(batch):
            bad |= ~(loss.value.float() * loss.mask).flatten(1).sum(dim=1).isfinite().cpu()
    return bad
