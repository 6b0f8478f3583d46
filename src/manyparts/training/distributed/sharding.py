"""Weights shared out among the processes that train together (FSDP2), and gathered again to be
saved.

Each process keeps its part of every parameter, of its gradient and of its optimiser state; a
block's weights are gathered while it computes, which overlaps with the block before it.
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
    """Leave this process its part of every parameter of `system`, whose values are the same on all
    `world` of them.

    Gradients then come back as means over the processes; a parameter may take part in some
    processes alone. Raises UserError under an older PyTorch.
    """
    if not hasattr(FSDPModule, "set_reduce_scatter_unused_params"):
        raise UserError(
            f"sharding 'fsdp' needs a newer PyTorch than {torch.__version__}; it is tested with 2.13"
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
    """The tensor of which every process has a part; any other as it is. All processes have to call
    it alike."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def part(tensor: Tensor, parameter: Tensor) -> Tensor:
    """This process's part of a whole tensor, shared out as `parameter` is, if it is."""
    if not isinstance(parameter, DTensor):
        return tensor
    return distribute_tensor(
        tensor.to(parameter.device), parameter.device_mesh, parameter.placements
    )
