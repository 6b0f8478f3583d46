"""Whether this process is one of several that train together, as torchrun and other launchers say
in variables."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass

from manyparts.core.errors import UserError

VARIABLES = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
UNSET = f"for one process alone: unset {' '.join(VARIABLES)}"
# What launchers set besides: torchrun a name of the run, the others the number of processes that
# they have started.
_TORCHRUN = "TORCHELASTIC_RUN_ID"
_AGENT = "TORCHELASTIC_USE_AGENT_STORE"  # torchrun itself is where the processes meet
_COUNTS = ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
_PATIENCE_SECONDS = 600.0
_IMPATIENCE_SECONDS = 30.0
_SECONDS_BETWEEN_LOOKS = 0.5


@dataclass(frozen=True)
class Launch:
    """This process among those that were launched together.

    rank, local_rank: its number among all, and among those of this machine. world, local_world: how
    many these are. patience_seconds: how long to wait for the others to come up: short where
    nothing but the variables speaks of them.
    """

    rank: int
    local_rank: int
    world: int
    local_world: int
    address: str
    port: int
    patience_seconds: float

    def await_first(self) -> None:
        """Until the first process answers, as a client must before it can join. Not for the first
        process itself.

        Raises:
            OSError: it does not answer in time, or its name is unknown.
        """
        if self.rank == 0 or os.environ.get(_AGENT):
            return
        until = time.monotonic() + self.patience_seconds
        while True:
            try:
                socket.create_connection(
                    (self.address, self.port), timeout=_SECONDS_BETWEEN_LOOKS
                ).close()
                return
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(_SECONDS_BETWEEN_LOOKS)

    def waiting(self) -> str:
        """What to say while the others are waited for."""
        others = f"{self.world - 1} other process{'es' if self.world > 2 else ''}"
        return f"WORLD_SIZE is {self.world}: waiting for {others} at {self.address}:{self.port}"

    def missing(self) -> str:
        """What to say when the others do not come."""
        return (
            f"WORLD_SIZE is {self.world}, but not all {self.world} training processes came to "
            f"{self.address}:{self.port} within {self.patience_seconds:.0f} s. Start them with torchrun, or {UNSET}"
        )


def launched_with_others() -> Launch | None:
    """What the variables say; None for a process of its own, as one in a world of one process is.

    A cluster or a container may have set the variables for other work, so they are checked.

    Raises:
        UserError: WORLD_SIZE names several processes, and another variable is missing or is no such
        number.
    """
    if not os.environ.get("WORLD_SIZE"):
        return None
    world = _number("WORLD_SIZE", range(1, 1 << 20))
    if world == 1:
        return None
    missing = [name for name in VARIABLES if not os.environ.get(name)]
    if missing:
        raise UserError(
            f"WORLD_SIZE is {world}, so that many processes should train together, but {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not set. Start them with torchrun, or {UNSET}"
        )
    return Launch(
        rank=_number("RANK", range(world)),
        local_rank=_number("LOCAL_RANK", range(world)),
        world=world,
        local_world=_number("LOCAL_WORLD_SIZE", range(1, world + 1))
        if os.environ.get("LOCAL_WORLD_SIZE")
        else world,
        address=os.environ["MASTER_ADDR"],
        port=_number("MASTER_PORT", range(1 << 16)),
        patience_seconds=_PATIENCE_SECONDS if _has_launcher(world) else _IMPATIENCE_SECONDS,
    )


def _number(variable: str, choices: range) -> int:
    text = os.environ[variable]
    try:
        number = int(text)
    except ValueError:
        number = choices.start - 1
    if number not in choices:
        raise UserError(
            f"{variable} is {text!r}; expected {choices.start} to {choices.stop - 1}, or {UNSET}"
        )
    return number


def _has_launcher(world: int) -> bool:
    """Whether a launcher is at work that starts as many processes as WORLD_SIZE says."""
    return bool(os.environ.get(_TORCHRUN)) or any(
        os.environ.get(name) == str(world) for name in _COUNTS
    )
