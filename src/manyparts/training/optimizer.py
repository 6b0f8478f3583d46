"""What is trained and how: frozen parameters, weight decay, AdamW, and gradients summed over
processes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from manyparts.core.errors import UserError
from manyparts.models.checkpoint import matches
from manyparts.training.config import OptimizerConfig
from manyparts.training.distributed.ranks import Ranks
from manyparts.training.distributed.sharding import whole

_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase)


def train_only(system: nn.Module, patterns: Sequence[str]) -> None:
    """Freeze every parameter with a name that matches none of the patterns.

    Args:
        system: what a module froze by itself stays frozen.
        patterns: see `models.checkpoint.matches`; empty: nothing is frozen.

    Raises:
        UserError: a pattern matches no parameter, or nothing is left to train.
    """
    require_patterns(dict(system.named_parameters()), patterns, "train_only")
    for name, parameter in system.named_parameters():
        parameter.requires_grad_(
            parameter.requires_grad and (not patterns or matches(name, patterns))
        )
    if not trained(system):
        raise UserError(f"train_only {', '.join(patterns)!r} leaves nothing to train")


def trained(system: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that take a gradient, by name."""
    return {
        name: parameter for name, parameter in system.named_parameters() if parameter.requires_grad
    }


def set_training_mode(system: nn.Module) -> None:
    """Set modules that learn to training mode, and those without a trained parameter to evaluation
    mode, without dropout."""
    system.train()
    for module in system.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def decayed(system: nn.Module) -> set[str]:
    """Names of the parameters with weight decay: matrices of linear maps and convolutions.

    Norms, biases, embeddings and parameters of no such layer (learned tokens, tables) have none.
    """
    names = set()
    for prefix, module in system.named_modules():
        if isinstance(module, (nn.Embedding, *_NORMS)):
            continue
        for name, parameter in module.named_parameters(recurse=False):
            if name.endswith("weight") and parameter.ndim >= 2:
                names.add(f"{prefix}.{name}" if prefix else name)
    return names


def build_optimizer(system: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW over what is trained, in groups by weight decay and by the factor of the learning rate.

    Args:
        system: the system; its frozen parameters are left out.
        config: learning rate, betas, weight decay and rates.

    Raises:
        UserError: a pattern of `rates` fits no parameter.
    """
    matrices, parameters = decayed(system), trained(system)
    require_patterns(parameters, [pattern for pattern, _ in config.rates], "optimizer.rates")
    # The factor of the learning rate and whether weights decay, to parameters. Checkpoints hold
    # groups by their order, of which those at the whole learning rate come first.
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {(1.0, True): [], (1.0, False): []}
    for name, parameter in parameters.items():
        key = _factor(name, config.rates), name in matrices
        groups.setdefault(key, []).append(parameter)
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in parameters.values())
    return torch.optim.AdamW(
        [
            {
                "params": of_group,
                "weight_decay": config.weight_decay if decays else 0.0,
                "factor": factor,
            }
            for (factor, decays), of_group in groups.items()
            if of_group
        ],
        lr=config.learning_rate,
        betas=config.betas,
        fused=fused,
    )


def require_patterns(names: Iterable[str], patterns: Sequence[str], setting: str) -> None:
    """Require that each pattern fits a parameter.

    Args:
        names: of the parameters.
        patterns: see `models.checkpoint.matches`.
        setting: what the patterns are called in a config.

    Raises:
        UserError: one fits none.
    """
    names = list(names)
    for pattern in patterns:
        if not any(matches(name, [pattern]) for name in names):
            tops = sorted({".".join(name.split(".")[:2]) for name in names})
            raise UserError(
                f"{setting} pattern {pattern!r} fits no parameter; their names begin with "
                f"{', '.join(tops)}"
            )


def _factor(name: str, rates: Sequence[tuple[str, float]]) -> float:
    """The factor of a parameter's learning rate."""
    return next((factor for pattern, factor in rates if matches(name, [pattern])), 1.0)


def complete_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Give a gradient of zero to each parameter that took no part in the step, since AdamW neither
    decays nor moves parameters without a gradient."""
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)


def add_up_gradients(parameters: Sequence[nn.Parameter], ranks: Ranks) -> None:
    """Replace every gradient by its sum over all ranks.

    All are exchanged as one vector, which is faster than one exchange each.

    Args:
        parameters: every one has a gradient, see `complete_gradients`.
        ranks: the processes; a single one changes nothing.
    """
    if ranks.world == 1:
        return
    flat = torch.cat(
        [parameter.grad.flatten() for parameter in parameters if parameter.grad is not None]
    )
    ranks.add(flat)
    sizes = [parameter.numel() for parameter in parameters]
    for parameter, total in zip(parameters, flat.split(sizes), strict=True):
        parameter.grad = total.view_as(parameter)


def gradient_norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    """The Euclidean norm of all gradients together, a tensor ()."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return whole(nn.utils.get_total_norm(gradients))
