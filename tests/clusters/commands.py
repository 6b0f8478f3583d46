"""Commands that tests run on a cluster, of whichever kind."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]


def wait_until(holds: Callable[[], bool], seconds: float = 600) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it does not come"
        time.sleep(0.02)


def environment(
    variables: Mapping[str, str] | None = None, source: Path = ROOT / "src"
) -> dict[str, str]:
    """The variables of a process that imports this package from `source`, with more of them."""
    paths = os.pathsep.join([str(source), str(ROOT / "tests")])
    fixed = {"PYTHONPATH": paths, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **fixed, **(variables or {})}


class Commands:
    """What all kinds of clusters have in common."""

    def __init__(self, python: Path, address: str, *flags: str, **variables: str) -> None:
        """Args:
        python: The interpreter of commands.
        address: The executor's.
        flags: Others that it needs.
        variables: Of the commands.
        """
        self.address, self.where = address, ("--executor", address, *flags)
        self._python, self._variables = python, variables
        self._commands: list[subprocess.Popen[str]] = []

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """Start `python ARGUMENTS` in a process group of its own. It is killed in the end."""
        process = subprocess.Popen(
            [str(self._python), *map(str, arguments)],
            env=environment(self._variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        self._commands.append(process)
        return process

    def command(self, *arguments: object, code: int = 0) -> str:
        """Run `manyparts ARGUMENTS`, which ends with this code, and return what it prints."""
        process = self.start("-m", "manyparts", *arguments)
        printed, errors = process.communicate(timeout=900)
        assert process.returncode == code, (process.returncode, printed, errors[-3000:])
        return printed + errors

    def lose(self, process: int) -> bool:
        """Kill the node of a process, and return whether it is one that may die."""
        raise NotImplementedError

    def restore(self) -> None:
        """Bring the node back."""
        raise NotImplementedError

    def close(self) -> None:
        """End everything."""
        for process in self._commands:
            process.kill()
            process.communicate()
