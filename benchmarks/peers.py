"""Another project's program, in a process of its own that answers line by line."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path


class Peer:
    """See the module. It has started when this returns, and ends with the block.

    Args:
        python: The interpreter of the environment that has the other project.
        script: The program, which prints a line once it is ready.
        arguments: Of the program.
    """

    def __init__(self, python: Path, script: Path, *arguments: str) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [str(python), str(script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._answer()

    def ask(self, question: str) -> float:
        """Return the number that the program answers to a line."""
        assert self._process.stdin is not None
        print(question, file=self._process.stdin, flush=True)
        return float(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            raise RuntimeError(f"{self._process.args} ended: {self._log.read()[-2000:]}")
        return line

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()  # it ends, and its workers with it
        self._process.wait()
        self._log.close()
