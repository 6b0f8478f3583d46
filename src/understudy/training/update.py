"""One optimiser step: losses of every part of a batch, one weighted sum, one update."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from understudy.objectives.system import System
from understudy.rollout.seeds import derive_seed
from understudy.training.averaging import AveragedWeights
from understudy.training.config import TrainConfig
from understudy.training.distributed import Ranks
from understudy.training.optimizer import FlatGradients, build_optimizer, set_training_mode, train_only, trained
from understudy.training.schedule import learning_rate
from understudy.types import Batch, Loss, UserError


@dataclass(frozen=True)
class StepReport:
    """losses: each loss's mean over the whole batch, and their weighted sum as "loss". metrics: what objectives log.

    gradient_norm: before clipping. stop: whether rank 0 was asked to stop.
    """

    losses: Mapping[str, float]
    metrics: Mapping[str, float]
    gradient_norm: float
    learning_rate: float
    stop: bool


class NonFiniteError(UserError):
    """A loss or its gradient is not a number; nothing was updated. windows: those of the batch that it came from."""

    def __init__(self, names: Iterable[str], windows: Iterable[int]) -> None:
        self.names, self.windows = tuple(names), tuple(windows)
        super().__init__(f"{', '.join(self.names)} not finite")


class Learner:
    """A system and what moves it. All randomness of a step is a pure function of (seed, step, part of the batch)."""

    def __init__(self, system: System, config: TrainConfig, ranks: Ranks, device: torch.device) -> None:
        """Moves the system to `device` and freezes what `config` does not train."""
        assert set(system.weights) == set(config.objectives), (set(system.weights), set(config.objectives))
        self.system, self.config, self.ranks, self.device = system.to(device), config, ranks, device
        train_only(system, config.train_only)
        set_training_mode(system)
        if config.compile:
            compile_blocks(system)
        self.optimizer = build_optimizer(system, config.optimizer)
        self.gradients = FlatGradients(list(trained(system).values()))
        self.averages = AveragedWeights(system, config.ema_decay) if config.ema_decay else None

    def step(self, step: int, parts: Mapping[int, Batch], *, stop: bool = False) -> StepReport:
        """Train on this rank's parts of a batch, by their number in it; each part counts alike, and within a part each
        loss is a mean over the elements of all ranks together. stop: a wish that is told to all ranks.

        Raises NonFiniteError, before anything moves.
        """
        self.system.set_progress(step / self.config.steps)
        self.gradients.zero()
        tallies = [self._backward(step, number, batch, stop, len(parts)) for number, batch in parts.items()]
        self.ranks.add(self.gradients.flat)
        norm = float(self.gradients.clip(self.config.optimizer.clip_norm))
        if not math.isfinite(norm):
            raise NonFiniteError(["the gradient"], self._all_windows(parts.values()))
        rate = learning_rate(self.config.optimizer, step, self.config.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.system.after_step()
        if self.averages is not None:
            self.averages.update(step)
        means = {name: sum(tally.means[name] for tally in tallies) / len(tallies) for name in tallies[0].means}
        metrics = {name: sum(tally.metrics[name] for tally in tallies) / len(tallies) for name in tallies[0].metrics}
        losses = {"loss": self._weighted(means)} | {f"loss/{name}": value for name, value in means.items()}
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
        bf16 = self.config.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            losses = self.system.losses(batch.to(self.device), torch.Generator().manual_seed(seed))
        assert set(losses) == set(self.system.weights), (set(losses), set(self.system.weights))
        return losses

    def _backward(self, step: int, number: int, batch: Batch, stop: bool, parts: int) -> Tally:
        torch.manual_seed(derive_seed("dropout", self.config.seed, step, number))
        losses = self._losses(batch, derive_seed("masks", self.config.seed, step, number))
        sums = {name: (loss.value.float() * loss.mask).sum() for name, loss in losses.items()}
        tally = _tally(losses, sums, stop, self.ranks)
        bad = [name for name, mean in tally.means.items() if not math.isfinite(mean)]
        if bad:
            rows = _bad_rows([losses[name] for name in bad], batch)
            raise NonFiniteError([f"loss {name}" for name in bad], self._agree(rows, batch))
        total = torch.stack([self.system.weights[name] * sums[name] / tally.counts[name] for name in losses]).sum()
        (total / parts).backward()
        return tally

    def _weighted(self, means: Mapping[str, float]) -> float:
        return sum(self.system.weights[name] * mean for name, mean in means.items())

    def _agree(self, bad: Tensor, batch: Batch) -> list[int]:
        """The windows, of all ranks, whose rows are bad; all windows where no single row is to blame."""
        windows = torch.where(bad.cpu(), batch.window.cpu(), -1)
        everyone = self.ranks.gather(torch.stack([windows, batch.window.cpu()], dim=1))
        named = [window for window in everyone[:, 0].tolist() if window >= 0]
        return named or everyone[:, 1].tolist()

    def _all_windows(self, batches: Iterable[Batch]) -> list[int]:
        return self.ranks.gather(torch.cat([batch.window.cpu() for batch in batches])).tolist()


@dataclass(frozen=True)
class Tally:
    """Of one part of the batch, over all ranks. counts: elements of each loss, at least 1."""

    means: Mapping[str, float]
    counts: Mapping[str, float]
    metrics: Mapping[str, float]
    stop: bool


def compile_blocks(system: nn.Module) -> None:
    """Compile the members of every list of modules, which are the repeated blocks: one short compilation for all."""
    for module in system.modules():
        if isinstance(module, nn.ModuleList):
            for block in module:
                block.compile()


def _tally(losses: Mapping[str, Loss], sums: Mapping[str, Tensor], stop: bool, ranks: Ranks) -> Tally:
    """Sums, counts, metrics and the wish to stop travel in one small vector."""
    counts = [loss.mask.sum() for loss in losses.values()]
    metrics = {f"{name}/{key}": value for name, loss in losses.items() for key, value in loss.metrics.items()}
    numbers = [*sums.values(), *counts, *metrics.values()]
    packed = torch.stack([number.detach().float() for number in numbers]).cpu()
    packed = torch.cat([packed, torch.tensor([float(stop)])])
    ranks.add(packed)
    values = iter(packed.tolist())
    totals = {name: next(values) for name in losses}
    least_one = {name: max(next(values), 1.0) for name in losses}
    return Tally(
        means={name: totals[name] / least_one[name] for name in losses},
        counts=least_one,
        metrics={name: next(values) / ranks.world for name in metrics},
        stop=next(values) > 0,
    )


def _bad_rows(losses: Iterable[Loss], batch: Batch) -> Tensor:
    """bool (b,): windows whose sum is not finite, in losses that have one row a window."""
    bad = torch.zeros(len(batch), dtype=torch.bool)
    for loss in losses:
        if loss.value.ndim and len(loss.value) == len(batch):
            bad |= ~(loss.value.float() * loss.mask).flatten(1).sum(dim=1).isfinite().cpu()
    return bad
