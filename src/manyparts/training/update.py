"""One optimiser step: losses of every part of a batch, one weighted sum, one update."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from manyparts.core.errors import UserError
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
    """losses: each loss's mean over the whole batch, and their weighted sum as "loss". metrics:
    what objectives log.

    gradient_norm: before clipping. stop: whether rank 0 was asked to stop.
    """

    losses: Mapping[str, float]
    metrics: Mapping[str, float]
    gradient_norm: float
    learning_rate: float
    stop: bool


class NonFiniteError(UserError):
    """A loss or its gradient is not a number; nothing was updated. windows: those of the batch that
    it came from."""

    def __init__(self, names: Iterable[str], windows: Iterable[int]) -> None:
        self.names, self.windows = tuple(names), tuple(windows)
        super().__init__(f"{', '.join(self.names)} not finite")


class Learner:
    """A system and what moves it. All randomness of a step is a pure function of (seed, step, part
    of the batch)."""

    def __init__(
        self, system: System, config: TrainConfig, ranks: Ranks, device: torch.device
    ) -> None:
        """Moves the system to `device`, freezes what `config` does not train, and shares weights
        out among the ranks where `config` says so; the ranks' systems have to be alike."""
        assert set(system.weights) == set(config.objectives), (
            set(system.weights),
            set(config.objectives),
        )
        self.system, self.config, self.ranks, self.device = system.to(device), config, ranks, device
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

    def step(self, step: int, parts: Mapping[int, Batch], *, stop: bool = False) -> StepReport:
        """Train on this rank's parts of a batch, by their number in it; each part counts alike, and
        within a part each loss is a mean over the elements of all ranks together. stop: a wish that
        is told to all ranks.

        Raises NonFiniteError, before anything moves. The host waits for the device once, when all
        is computed but the update.
        """
        self.system.set_progress(step / self.config.steps)
        self.optimizer.zero_grad()
        done = [
            self._backward(step, number, batch, stop, len(parts)) for number, batch in parts.items()
        ]
        complete_gradients(self.parameters)
        if not self.sharded:
            add_up_gradients(self.parameters, self.ranks)
        norms = gradient_norm(self.parameters)
        numbers = torch.cat([*(part.numbers for part in done), norms[None]]).cpu()
        *rows, (norm,) = (
            row.tolist() for row in numbers.split([*(len(part.numbers) for part in done), 1])
        )
        tallies = [part.tally(row, self.ranks.world) for part, row in zip(done, rows, strict=True)]
        self._require_finite(done, tallies, norm)
        if norm > self.config.optimizer.clip_norm:
            nn.utils.clip_grads_with_norm_(self.parameters, self.config.optimizer.clip_norm, norms)
        rate = learning_rate(self.config.optimizer, step, self.config.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.system.after_step()
        if self.averages is not None:
            self.averages.update(step)
        means = {
            name: sum(tally.means[name] for tally in tallies) / len(tallies)
            for name in tallies[0].means
        }
        metrics = {
            name: sum(tally.metrics[name] for tally in tallies) / len(tallies)
            for name in tallies[0].metrics
        }
        losses = {"loss": self._weighted(means)} | {
            f"loss/{name}": value for name, value in means.items()
        }
        return StepReport(losses, metrics, norm, rate, any(tally.stop for tally in tallies))

    @torch.no_grad()
    def evaluate(self, number: int, batch: Batch) -> dict[str, Loss]:
        """The losses of a validation batch, in evaluation mode."""
        self.system.eval()
        try:
            return self._losses(batch, derive_seed("validation", self.config.seed, number))
        finally:
            set_training_mode(self.system)

    def _losses(self, batch: Batch, seed: int) -> dict[str, Loss]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16):
            losses = self.system.losses(
                batch.to(self.device, non_blocking=True), torch.Generator().manual_seed(seed)
            )
        assert set(losses) == set(self.system.weights), (set(losses), set(self.system.weights))
        return losses

    def _seed(self, seed: int) -> None:
        """As `torch.manual_seed`, but of the devices that draw here alone: for GPUs that nobody has
        used, that writes down the caller's stack, which takes a millisecond."""
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def _backward(self, step: int, number: int, batch: Batch, stop: bool, parts: int) -> Part:
        self._seed(derive_seed("dropout", self.config.seed, step, number))
        losses = self._losses(batch, derive_seed("masks", self.config.seed, step, number))
        sums = torch.stack([(loss.value.float() * loss.mask).sum() for loss in losses.values()])
        part = Part.of(losses, sums, batch, stop, self.ranks)
        weights = torch.tensor([self.system.weights[name] for name in losses]).to(
            self.device, non_blocking=True
        )
        total = (weights * sums / part.counts).sum()
        means_over_ranks = self.ranks.world if self.sharded else 1  # where a sum is wanted
        (total * means_over_ranks / parts).backward()
        return part

    def _require_finite(self, done: Sequence[Part], tallies: Sequence[Tally], norm: float) -> None:
        """Raises NonFiniteError with the windows, of all ranks, whose rows are bad; with all if no
        row is to blame."""
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
        blamed = torch.where(rows.to(self.device), windows, -1)
        everyone = self.ranks.gather(torch.stack([blamed, windows], dim=1))
        named = [window for window in everyone[:, 0].tolist() if window >= 0]
        names = [f"loss {name}" for name in bad] or ["the gradient"]
        raise NonFiniteError(names, named or everyone[:, 1].tolist())

    def _weighted(self, means: Mapping[str, float]) -> float:
        return sum(self.system.weights[name] * mean for name, mean in means.items())


@dataclass(frozen=True)
class Tally:
    """Of one part of the batch, over all ranks."""

    means: Mapping[str, float]
    metrics: Mapping[str, float]
    stop: bool


@dataclass(frozen=True)
class Part:
    """One part of the batch, computed. losses: without gradient. numbers: sums of the losses, how
    many elements each has, metrics and the wish to stop, in one vector that all ranks have added
    up; it is on the device still."""

    losses: Mapping[str, Loss]
    batch: Batch
    numbers: Tensor

    @classmethod
    def of(
        cls, losses: Mapping[str, Loss], sums: Tensor, batch: Batch, stop: bool, ranks: Ranks
    ) -> Part:
        counts = torch.stack([loss.mask.sum() for loss in losses.values()])
        metrics = [
            value.detach().float() for loss in losses.values() for value in loss.metrics.values()
        ]
        wish = torch.full((1,), float(stop), device=sums.device)
        numbers = torch.cat(
            [sums.detach(), counts.float(), *(value[None] for value in metrics), wish]
        )
        ranks.add(numbers)
        return cls(
            {name: replace(loss, value=loss.value.detach()) for name, loss in losses.items()},
            batch,
            numbers,
        )

    @property
    def counts(self) -> Tensor:
        """How many elements each loss has, at least 1."""
        return self.numbers[len(self.losses) : 2 * len(self.losses)].clamp(min=1)

    def tally(self, numbers: Sequence[float], world: int) -> Tally:
        """What `numbers`, read from the device, say. world: how many ranks have added theirs."""
        values = iter(numbers)
        totals = {name: next(values) for name in self.losses}
        means = {name: total / max(next(values), 1.0) for name, total in totals.items()}
        metrics = [f"{name}/{key}" for name, loss in self.losses.items() for key in loss.metrics]
        return Tally(means, {name: next(values) / world for name in metrics}, next(values) > 0)


def compile_blocks(system: nn.Module) -> None:
    """Compile the members of every list of modules, which are the repeated blocks: one short
    compilation for all; and convolutions with their keypoints, whose maps are then read and written
    once."""
    for module in system.modules():
        if isinstance(module, KeypointEncoder):
            module.compile()
        if isinstance(module, nn.ModuleList):
            for block in module:
                block.compile()


def _bad_rows(losses: Iterable[Loss], batch: Batch) -> Tensor:
    """bool (b,): windows whose sum is not finite, in losses that have one row a window."""
    bad = torch.zeros(len(batch), dtype=torch.bool)
    for loss in losses:
        if loss.value.ndim and len(loss.value) == len(batch):
            bad |= ~(loss.value.float() * loss.mask).flatten(1).sum(dim=1).isfinite().cpu()
    return bad
