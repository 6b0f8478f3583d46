"""The files of an exported policy: its contract, and the graphs that onnxruntime runs."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.extras import in_a_line, install_command, load_package
from manyparts.models.run_files import CONTRACT, EXPORTED

POLICY, PROMPT = EXPORTED, "prompt.onnx"
FORMAT, VERSION = "manyparts-policy", 1
CARRY_IN, CARRY_OUT, CHUNK, COUNT = "carry_in_", "carry_out_", "chunk", "count"
_MAX_CONTRACT = 16 * 2**20  # bytes
_MAX_NUMBERS = 2**26  # of an image, of a prompt's images, or of a part of the memory
CARRIED = ("float32", "int64")


def is_exported(path: str | Path) -> bool:
    """Return whether a folder holds an exported policy."""
    return (Path(path) / CONTRACT).is_file() and (Path(path) / POLICY).is_file()


@dataclass(frozen=True)
class Computation:
    """An exported graph that can be run."""

    inputs: tuple[str, ...]
    """Names of its inputs."""

    outputs: tuple[str, ...]
    """Names of its outputs, in their order."""

    run: Callable[[Mapping[str, np.ndarray]], Sequence[np.ndarray]]
    """Computes the outputs from inputs by name."""

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs by name; other arrays than its inputs are left out."""
        chosen = {name: inputs[name] for name in self.inputs}
        return dict(zip(self.outputs, self.run(chosen), strict=True))


def read_contract(path: Path) -> dict[str, Any]:
    """Read the contract of an exported policy.

    Raises:
        UserError: It is missing, torn, or of another version.
    """
    try:
        if path.stat().st_size > _MAX_CONTRACT:
            raise UserError(f"{path} has more than {_MAX_CONTRACT} bytes")
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is torn: {str(error).splitlines()[0]}") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise UserError(f"{path} is not the contract of an exported policy")
    if values.get("version") != VERSION:
        raise UserError(
            f"{path} is of version {values.get('version')!r}; this manyparts reads {VERSION}"
        )
    return values


@contextlib.contextmanager
def understood(path: Path) -> Iterator[None]:
    """Turn errors of a contract that lacks something, or says what is not so, into one line.

    Args:
        path: The contract.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is incomplete or damaged ({in_a_line(error)})") from error


def computation_of(path: Path, threads: int) -> Computation:
    """Return a graph as onnxruntime runs it.

    Args:
        path: Its file.
        threads: Of each computation.

    Raises:
        UserError: The file is missing or torn, or onnxruntime is not installed.
    """
    runtime = load_package("onnxruntime", "an exported policy", install_command("export"))
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4  # what it would log is in its errors
    if not path.is_file():
        raise UserError(f"{path} is missing")
    try:
        session = runtime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # of onnxruntime, which has a class for each kind of fault
        raise UserError(f"{path} cannot be read by onnxruntime: {_reason(error)}") from error
    outputs = [item.name for item in session.get_outputs()]

    def run(inputs: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        try:
            # Without their names onnxruntime asks for them at each call: 2 % of a decision.
            return session.run(outputs, dict(inputs))
        except Exception as error:
            raise UserError(f"{path} cannot be run by onnxruntime: {_reason(error)}") from error

    names = tuple(item.name for item in session.get_inputs())
    return Computation(names, tuple(outputs), run)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def require_bounded(name: str, shape: Sequence[int]) -> None:
    """Refuse more numbers than anybody means.

    Args:
        name: What has the shape.
        shape: The shape.

    Raises:
        ValueError: There are too many, or a size is negative.
    """
    if min(shape, default=1) < 0 or math.prod(shape) > _MAX_NUMBERS:
        raise ValueError(f"{name} has the shape {list(shape)}, and {_MAX_NUMBERS} numbers may be")
