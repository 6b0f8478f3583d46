"""The interface of executors, and the one that an address names."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from manyparts.core.errors import UserError
from manyparts.core.printing import counted

LOCAL = "local"
_RAY, _SLURM = "ray://", "slurm"


class Executor(Protocol):
    """Starts processes, each of which does what a folder says, and learns how they end.

    Code and data reach a process by paths alone: it imports a module by name, and reads and writes
    files. What a folder says can be done again after a kill, and is then only finished. So an
    executor may start a process again on another machine if one dies.
    """

    @property
    def nodes(self) -> tuple[int, ...]:
        """How many cores each machine has, the capacity. No process is given more than one has."""
        ...

    def start(self, module: str, folder: Path, log: Path, *, cores: int, gpu: bool = False) -> int:
        """Start a process, now or once there is room for it.

        Args:
            module: The module to import; its function `carry_out(folder, cores)` is called.
            folder: The folder that says what to do.
            log: The file that the process's output is appended to.
            cores: How many cores it may use.
            gpu: Whether it computes on a GPU if there are any.

        Returns:
            The number by which this object knows the process.
        """
        ...

    def exit_code(self, number: int) -> int | None:
        """Return None while a process runs, then its exit code.

        0: done. 1: failed, or its machine died too often; the log says it. 2: bad input. 130:
        interrupted. Negative: the number of the signal that ended it.
        """
        ...

    def interrupt(self, number: int) -> None:
        """Send SIGINT to a process, if it runs. One that was not started yet never is."""
        ...

    def close(self) -> None:
        """Kill all processes that run."""
        ...


def is_local(address: str) -> bool:
    """Return whether an address means this machine.

    Raises:
        UserError: It is no address of an executor.
    """
    if address == LOCAL:
        return True
    if not address.startswith(_RAY) and address.partition(":")[0] != _SLURM:
        raise UserError(
            f"executor is {address!r}; choices: {LOCAL}, {_RAY}HOST:PORT, {_SLURM}, "
            f"{_SLURM}:PARTITION"
        )
    return False


def workers_on(nodes: Sequence[int], workers: int | None, address: str) -> int:
    """Return how many cores work uses.

    Args:
        nodes: The cores of each machine.
        workers: What was asked for; None for all.
        address: The executor's.

    Raises:
        UserError: A cluster has fewer, or it is one of Slurm, where nobody takes all.
    """
    capacity = sum(nodes)
    if workers is None and address.startswith(_SLURM):
        raise UserError(
            f"executor {address} needs --workers: how many of its {counted(capacity, 'core')} to "
            "ask for"
        )
    if workers is None:
        return capacity
    if workers > capacity and not is_local(address):
        raise UserError(
            f"workers is {workers}, and the {counted(len(nodes), 'node')} of {address} have "
            f"{counted(capacity, 'core')}; choose fewer, or add nodes"
        )
    return workers


@contextlib.contextmanager
def opened(
    address: str,
    shared: Path,
    *,
    variables: Mapping[str, str],
    preloaded: Sequence[str] = (),
    inputs: Sequence[Path] = (),
) -> Iterator[Executor]:
    """Yield the executor of an address. All its processes end with the block.

    Args:
        address: "local", "ray://HOST:PORT" as `ray start --head` prints it, "slurm" or
            "slurm:PARTITION".
        shared: A folder that exists, and that all machines must see under this path.
        variables: Environment variables of the processes, besides those of their machine.
        preloaded: Modules that many processes need; see `LocalExecutor`.
        inputs: Files outside of `shared` that all machines must see with the same content.

    Raises:
        UserError: Nobody answers there, or the machines do not fit this one.
    """
    if is_local(address):
        from manyparts.core.executors.local import LocalExecutor

        environment = {**os.environ, **variables}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        with contextlib.closing(LocalExecutor(environment, preloaded)) as executor:
            yield executor
        return
    if address.startswith(_RAY):
        from manyparts.core.executors.ray_cluster import RayExecutor

        cluster = RayExecutor(address.removeprefix(_RAY), shared, variables, inputs)
    else:
        from manyparts.core.executors.slurm_jobs import SlurmExecutor

        cluster = SlurmExecutor(address, shared, variables, inputs)
    with contextlib.closing(cluster) as executor:
        yield executor
