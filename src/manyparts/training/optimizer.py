"""What is trained, and how: frozen parts, decay groups, AdamW, and the gradients of all processes
together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from manyparts.core.errors import UserError
from manyparts.models.checkpoint import matches
from manyparts.training.config import OptimizerConfig
from manyparts.training.distributed.ranks import Ranks
from manyparts.training.distributed.sharding import whole

_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase)


def train_only(system: nn.Module, patterns: Sequence[str]) -> None:
    """Freeze every parameter whose name fits none of `patterns`; without patterns, none. What a
    module froze by itself stays frozen. Raises UserError for a pattern that fits no parameter, or
    if nothing is left to train.
    """
    names = [name for name, _ in system.named_parameters()]
    for pattern in patterns:
        if not any(matches(name, [pattern]) for name in names):
            tops = sorted({".".join(name.split(".")[:2]) for name in names})
            raise UserError(
                f"train_only pattern {pattern!r} fits no parameter; they begin with {', '.join(tops)}"
            )
    for name, parameter in system.named_parameters():
        parameter.requires_grad_(
            parameter.requires_grad and (not patterns or matches(name, patterns))
        )
    if not trained(system):
        raise UserError(f"train_only {', '.join(patterns)!r} leaves nothing to train")


def trained(system: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that take gradient, by name."""
    return {
        name: parameter for name, parameter in system.named_parameters() if parameter.requires_grad
    }


def set_training_mode(system: nn.Module) -> None:
    """Training mode for modules that learn; evaluation mode, without dropout, for those that are
    frozen whole."""
    system.train()
    for module in system.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def decayed(system: nn.Module) -> set[str]:
    """Names of the parameters that decay: the matrices of linear maps and convolutions. Norms,
    biases, embeddings and lone parameters (learned tokens, tables) do not."""
    names = set()
    for prefix, module in system.named_modules():
        if isinstance(module, (nn.Embedding, *_NORMS)):
            continue
        for name, parameter in module.named_parameters(recurse=False):
            if name.endswith("weight") and parameter.ndim >= 2:
                names.add(f"{prefix}.{name}" if prefix else name)
    return names


def build_optimizer(system: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW over what is trained, in two groups: with and without decay."""
    matrices = decayed(system)
    parameters = trained(system)
    groups = [
        {
            "params": [
                parameter for name, parameter in parameters.items() if (name in matrices) == decays
            ],
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for decays in (True, False)
    ]
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in parameters.values())
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=fused)


def complete_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Give a gradient of zero to each parameter that took no part in the step, so that all decay
    alike."""
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)


def add_up_gradients(parameters: Sequence[nn.Parameter], ranks: Ranks) -> None:
    """Replace every gradient by its sum over all ranks, exchanged as one vector."""
    if ranks.world == 1:
        return
    flat = torch.cat(
        [parameter.grad.flatten() for parameter in parameters if parameter.grad is not None]
    )
    ranks.add(flat)
    for parameter, total in zip(
        parameters, flat.split([p.numel() for p in parameters]), strict=True
    ):
        parameter.grad = total.view_as(parameter)


def gradient_norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    """The norm of all gradients together, ()."""
    return whole(nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))
