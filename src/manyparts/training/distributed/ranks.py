"""Processes that share each batch, launched here or by torchrun: join them, sum their numbers, end
them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import Tensor
from torch.distributed import Store, TCPStore, rendezvous  # pyright: ignore[reportPrivateImportUsage]

from manyparts.core.devices import default_threads, threads
from manyparts.core.errors import UserError
from manyparts.core.host.cores import cores
from manyparts.core.host.launchers import Launch, launched_with_others
from manyparts.core.host.processes import ending
from manyparts.core.storage.caches import CACHE_VARIABLES, cache_root

WORKER = "manyparts.training.distributed.worker"
# Rank 0 may validate for long. A process that dies is noticed at once, without a timeout.
_TIMEOUT = timedelta(hours=12)
_SILENT_SECONDS = 5.0  # of waiting for other processes, before it is printed


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together. If it is alone, every exchange is free."""

    rank: int = 0
    """The index of this process, in [0, world)."""

    world: int = 1
    """How many processes train together."""

    @property
    def first(self) -> bool:
        """Whether this process logs, validates and writes."""
        return self.rank == 0

    def add(self, tensor: Tensor) -> None:
        """Replace the tensor by its sum over all ranks. Raises `LostPeerError` if another process
        has died, as all exchanges do."""
        if self.world > 1:
            with _peers():
                torch.distributed.all_reduce(tensor)

    def broadcast(self, tensor: Tensor) -> None:
        """Replace the tensor by that of rank 0."""
        if self.world > 1:
            with _peers():
                torch.distributed.broadcast(tensor, src=0)

    def broadcast_object(self, message: Any = None) -> Any:
        """Send JSON values from rank 0 to all ranks, which wait for them. Returns them on every
        rank."""
        if self.world == 1:
            return message
        text = torch.frombuffer(bytearray(json.dumps(message).encode()), dtype=torch.uint8)
        length = torch.tensor([len(text)])
        self.broadcast(length)  # first, so that the other ranks can make room
        text = text if self.first else torch.empty(int(length), dtype=torch.uint8)
        self.broadcast(text)
        return json.loads(bytes(text.tolist()))

    def gather(self, tensor: Tensor) -> Tensor:
        """The tensors (n, ...) of all ranks in their order, as one (world * n, ...)."""
        if self.world == 1:
            return tensor
        parts = [torch.empty_like(tensor) for _ in range(self.world)]
        with _peers():
            torch.distributed.all_gather(parts, tensor)
        return torch.cat(parts)


class LostPeerError(UserError):
    """Another process of those that train together has gone."""

    def __init__(self) -> None:
        super().__init__(
            "another training process has died (killed, or out of memory?); --resume continues "
            "from the last checkpoint"
        )


def first_process() -> bool:
    """Whether this process prints and writes: rank 0 of those launched together, or the only
    process."""
    launched = launched_with_others()
    return launched is None or launched.rank == 0


@contextlib.contextmanager
def torchrun_ranks(device: torch.device) -> Iterator[Ranks]:
    """This process's rank among those of torchrun while the block runs, or `Ranks()` outside of
    torchrun. GPUs exchange numbers by nccl, CPUs by gloo.

    Raises:
        UserError: the other processes do not come in time.
    """
    launched = launched_with_others()
    if launched is None:
        with threads(default_threads()):
            yield Ranks()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    with threads_for(launched.local_world):
        store = _meet(launched)
        with _peers():
            torch.distributed.init_process_group(
                backend,
                store=store,
                rank=launched.rank,
                world_size=launched.world,
                timeout=_TIMEOUT,
            )
        try:
            yield Ranks(launched.rank, launched.world)
        finally:
            torch.distributed.destroy_process_group()


def _meet(launched: Launch) -> Store:
    """The store of all processes, once all have come. Raises UserError if they do not come in
    time."""
    announced = threading.Timer(_SILENT_SECONDS, print, [launched.waiting()], {"file": sys.stderr})
    announced.daemon = True
    announced.start()
    try:
        launched.await_first()
        timeout = timedelta(seconds=launched.patience_seconds)
        meetings = rendezvous("env://", launched.rank, launched.world, timeout=timeout)
        store, _, _ = next(iter(meetings))
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(f"{launched.missing()} ({(str(error).splitlines() or [''])[0]})") from error
    finally:
        announced.cancel()
    store.set_timeout(_TIMEOUT)
    return store


@contextlib.contextmanager
def launch(world: int, assignment: Mapping[str, Any]) -> Iterator[Ranks]:
    """Be rank 0 of `world` processes while the block runs; it starts the others, and ends them.

    They run `manyparts.training.distributed.worker`, not the caller's script, so that a script
    without a main guard can train.

    Args:
        world: how many processes train together; 1 starts none.
        assignment: JSON values from which a worker reads what to train, see `Run.assignment`. It
            also gets `rank`, `world` and `port`.
    """
    if world == 1:
        yield Ranks()
        return
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    workers = [
        _start({**assignment, "world": world, "port": store.port, "rank": rank})
        for rank in range(1, world)
    ]
    try:
        with threads_for(world):
            _await_workers(store, workers)
            yield _join(store, 0, world)
    finally:
        _end(workers)
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def join(rank: int, world: int, port: int) -> Ranks:
    """Join the processes that rank 0 launched on this machine.

    Args:
        rank: this process's, from 1 to `world` - 1.
        world: number of processes, rank 0 included.
        port: the port of rank 0's store.
    """
    store = TCPStore("127.0.0.1", port, is_master=False)
    store.set(f"ready-{rank}", "")
    return _join(store, rank, world)


def threads_for(world: int) -> AbstractContextManager[None]:
    """While the block runs, torch uses this process's part of the cores."""
    return threads(max(1, cores() // world))


def _join(store: Store, rank: int, world: int) -> Ranks:
    with _peers():
        torch.distributed.init_process_group(
            "gloo", store=store, rank=rank, world_size=world, timeout=_TIMEOUT
        )
    return Ranks(rank, world)


def _start(assignment: Mapping[str, Any]) -> subprocess.Popen[bytes]:
    """A worker with an assignment, on this package and this cache."""
    home = str(Path(__file__).parents[3])
    paths = os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])
    shared = {"PYTHONPATH": paths, CACHE_VARIABLES[0]: str(cache_root())}
    worker = subprocess.Popen(
        [sys.executable, "-m", WORKER], stdin=subprocess.PIPE, env=os.environ | shared
    )
    assert worker.stdin is not None
    worker.stdin.write(json.dumps(assignment).encode() + b"\n")
    worker.stdin.flush()  # and stays open: its end tells the worker that rank 0 is gone
    return worker


def _await_workers(store: Store, workers: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait until every worker is ready. Raises UserError if one ends instead."""
    while not store.check([f"ready-{rank}" for rank in range(1, len(workers) + 1)]):
        for worker in workers:
            if worker.poll() is not None:
                raise UserError(
                    "a training process ended before it started to train: "
                    f"{ending(worker.returncode)}"
                )
        time.sleep(0.02)


def _end(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    """Close the workers' standard input, at which they end, and kill those that do not."""
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.close()
    for worker in workers:
        try:
            worker.wait(timeout=10)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


@contextlib.contextmanager
def _peers() -> Iterator[None]:
    """Errors of an exchange as `LostPeerError`."""
    try:
        yield
    except RuntimeError as error:
        raise LostPeerError from error
