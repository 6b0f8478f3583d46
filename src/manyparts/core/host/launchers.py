"""Whether this process is one of several that train together.

torchrun and other launchers say so in environment variables.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass

from manyparts.core.errors import UserError

VARIABLES = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
UNSET = f"for one process alone: unset {' '.join(VARIABLES)}"
# Variables that launchers set, too: torchrun the name of the run, the others the number of
# processes that they have started.
_TORCHRUN_NAME = "TORCHELASTIC_RUN_ID"
_TORCHRUN_STORE = "TORCHELASTIC_USE_AGENT_STORE"  # set if torchrun holds the processes' store
_PROCESS_COUNTS = ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
_TIMEOUT_SECONDS = 600.0
_TIMEOUT_SECONDS_WITHOUT_LAUNCHER = 30.0  # only the variables speak of other processes
_SECONDS_BETWEEN_LOOKS = 0.5


@dataclass(frozen=True)
class Launch:
    """This process among those that were launched together."""

    rank: int
    """Its number among all processes."""
    local_rank: int
    """Its number among those of this machine."""
    world: int
    """The number of all processes."""
    local_world: int
    """The number of processes of this machine."""
    address: str
    """The host of the first process."""
    port: int
    """The port at which the first process listens."""
    patience_seconds: float
    """How long to wait for the others; short if no launcher is seen that starts them."""

    def await_first(self) -> None:
        """Wait until the first process answers, before which no other can join.

        Raises:
            OSError: It does not answer in time, or its host is unknown.
        """
        if self.rank == 0 or os.environ.get(_TORCHRUN_STORE):
            return
        deadline = time.monotonic() + self.patience_seconds
        while True:
            try:
                socket.create_connection(
                    (self.address, self.port), timeout=_SECONDS_BETWEEN_LOOKS
                ).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_SECONDS_BETWEEN_LOOKS)

    def waiting(self) -> str:
        """Return what to print while the others are waited for."""
        others = f"{self.world - 1} other process{'es' if self.world > 2 else ''}"
        return f"WORLD_SIZE is {self.world}: waiting for {others} at {self.address}:{self.port}"

    def missing(self) -> str:
        """Return what to print when the others do not come."""
        return (
            f"WORLD_SIZE is {self.world}, but not all {self.world} training processes came to "
            f"{self.address}:{self.port} within {self.patience_seconds:.0f} s. "
            f"Start them with torchrun, or {UNSET}"
        )


def launched_with_others() -> Launch | None:
    """Return what the variables say; None for a single process.

    A cluster or a container may have set the variables for other work, so they are checked.

    Raises:
        UserError: WORLD_SIZE names several processes, and another variable is missing or is out of
            range.
    """
    if not os.environ.get("WORLD_SIZE"):
        return None
    world = _number("WORLD_SIZE", range(1, 1 << 20))
    if world == 1:
        return None
    missing = [name for name in VARIABLES if not os.environ.get(name)]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise UserError(
            f"WORLD_SIZE is {world}, so that many processes should train together, but "
            f"{', '.join(missing)} {verb} not set. Start them with torchrun, or {UNSET}"
        )
    local_world = world
    if os.environ.get("LOCAL_WORLD_SIZE"):
        local_world = _number("LOCAL_WORLD_SIZE", range(1, world + 1))
    patience = _TIMEOUT_SECONDS if _has_launcher(world) else _TIMEOUT_SECONDS_WITHOUT_LAUNCHER
    return Launch(
        rank=_number("RANK", range(world)),
        local_rank=_number("LOCAL_RANK", range(world)),
        world=world,
        local_world=local_world,
        address=os.environ["MASTER_ADDR"],
        port=_number("MASTER_PORT", range(1 << 16)),
        patience_seconds=patience,
    )


def _number(variable: str, choices: range) -> int:
    text = os.environ[variable]
    try:
        number = int(text)
    except ValueError:
        number = choices.start - 1  # not allowed either
    if number not in choices:
        raise UserError(
            f"{variable} is {text!r}; expected {choices.start} to {choices.stop - 1}, or {UNSET}"
        )
    return number


def _has_launcher(world: int) -> bool:
    """Return whether a launcher has started as many processes as WORLD_SIZE says."""
    if os.environ.get(_TORCHRUN_NAME):
        return True
    return any(os.environ.get(name) == str(world) for name in _PROCESS_COUNTS)
