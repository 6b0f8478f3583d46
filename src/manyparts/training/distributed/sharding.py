"""Sharding of weights among the processes that train together (FSDP2), and gathering to save them.

Each process keeps its part of every parameter, of its gradient and of its optimiser state. The
whole weights of a block are gathered while the block before it computes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from manyparts.core.errors import UserError
from manyparts.objectives.system import System


def shard(system: System, world: int, device: torch.device) -> None:
    """Leave this process only its part of every parameter.

    Gradients are then means over the processes. A parameter may take part in a loss on some
    processes only.

    Args:
        system: with equal values on all processes.
        world: how many processes there are.
        device: of this process.

    Raises:
        UserError: PyTorch is too old.
    """
    if not hasattr(FSDPModule, "set_reduce_scatter_unused_params"):
        raise UserError(
            f"sharding 'fsdp' needs a newer PyTorch than {torch.__version__}; it is tested with "
            "2.13: upgrade PyTorch, or set sharding to none"
        )
    mesh = init_device_mesh(device.type, (world,))
    for module in list(system.modules()):
        if isinstance(module, nn.ModuleList):
            for block in module:
                fully_shard(block, mesh=mesh)
    root = fully_shard(system, mesh=mesh, reshard_after_forward=True)
    root.set_reduce_scatter_unused_params(True)
    register_fsdp_forward_method(system, "losses")


def whole(tensor: Tensor) -> Tensor:
    """The whole tensor of which every process has a part; any other tensor as it is. All processes
    have to call this in the same order."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def part(tensor: Tensor, parameter: Tensor) -> Tensor:
    """This process's part of a whole tensor.

    Args:
        tensor: whole, in the shape of the whole parameter.
        parameter: cut over the processes, or not.

    Returns:
        The tensor, cut as `parameter` is; the whole one if that is not sharded.
    """
    if not isinstance(parameter, DTensor):
        return tensor
    return distribute_tensor(
        tensor.to(parameter.device), parameter.device_mesh, parameter.placements
    )
