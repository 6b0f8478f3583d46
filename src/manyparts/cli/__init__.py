"""The command line: a table of commands, each a thin module, and the one function in which errors
become a line."""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from manyparts.core.errors import (
    DatasetWarning,
    EnvironmentWarning,
    SurroundingsWarning,
    UserError,
    closest,
)
from manyparts.core.naming import VERSION
from manyparts.core.printing import say
from manyparts.core.provenance import running_command

COMMANDS = {
    "quickstart": "collect six tasks, train both phases, evaluate on unseen goals, report",
    "doctor": "what works on this machine, what is missing, and the command that repairs it",
    "collect": "record demonstrations of tasks into a dataset",
    "data": "look at a dataset: `manyparts data info PATH`",
    "train": "train one phase of a method on a dataset",
    "evaluate": "success of an agent on goals it never saw, or the difference of two results",
    "serve": "an agent behind a socket, for robots and other projects' clients",
    "play": "watch an agent live in a page, prompt it and take over, or record episodes by hand",
    "export": "a policy as ONNX graphs with a contract, for programs without torch",
    "push": "an agent or a dataset to the Hugging Face Hub, with a card",
    "track": "a run's curves in TensorBoard, Weights & Biases, MLflow or trackio",
    "predict": "how far ahead a dynamics model predicts: errors of its predictions fed back",
    "prompts": "success of an agent by kind of prompt, and with the prompts of other tasks",
    "study": "run a declared comparison of methods over seeds, and print its tables",
    "report": "one HTML file that shows what a run can do, with videos",
    "list": "presets, tasks, studies, methods, planners, plug-ins or benchmarks, by name",
    "bench": "measure the speed claims, both sides in one run",
}
_ABOUT = (
    "manyparts: pretrain one agent on many tasks' trajectories, then prompt it, tune it, or let it "
    "plan."
)
_MODULES = {"list": "listing"}  # a module `list` would hide the builtin in this one
_MACHINE_ERRORS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the words after `manyparts`; None: those of this process.

    Returns:
        The exit code: 0 done, 1 a check failed, 2 bad input, 130 interrupted, 141 nobody reads the
        output.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # A letter that the terminal's encoding lacks is shown as its number.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with warnings.catch_warnings():
            _print_own_warnings_as_lines()
            _print_any_text()
            return run_command(arguments)
    except UserError as error:
        return _fail(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno not in _MACHINE_ERRORS:
            raise
        file = f": {error.filename}" if error.filename else ""
        return _fail(f"{error.strerror}{file}")
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130


def run_command(arguments: Sequence[str]) -> int:
    """Run one command, which provenance records, and return its exit code. Errors are raised."""
    with running_command(["manyparts", *arguments]):
        return _dispatch(list(arguments))


def _dispatch(arguments: list[str]) -> int:
    if len(arguments) > 1 and arguments[0] == "help":
        arguments = [*arguments[1:], "--help"]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if arguments[0] in ("-V", "--version"):
        print(f"manyparts {VERSION}")
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        if name.startswith("-"):
            raise UserError(
                f"{name} stands before the command; write it after: manyparts COMMAND {name}; "
                "`manyparts help` shows all commands"
            )
        near = closest(name, COMMANDS, command="manyparts help")
        raise UserError(f"unknown command {name!r}; {near}")
    module = _MODULES.get(name, name)
    return importlib.import_module(f"manyparts.cli.{module}").main(rest) or 0


def _print_any_text() -> None:
    """Print letters that the locale lacks (LC_ALL=C) as their numbers, instead of failing."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _print_own_warnings_as_lines() -> None:
    """Print warnings of this library without file and line of the code, since their cause is in
    the user's files or machine."""
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if issubclass(category, DatasetWarning | EnvironmentWarning | SurroundingsWarning):
            say(f"warning: {' '.join(str(message).split())}", error=True)
        else:
            usual(message, category, *rest, **more)

    warnings.showwarning = show


def _fail(message: str) -> int:
    say(f"error: {' '.join(message.split())}", error=True)
    return 2


def _help() -> str:
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:{width}}  {summary}" for name, summary in COMMANDS.items())
    return (
        f"usage: manyparts COMMAND [FLAGS]\n\n{_ABOUT}\n\ncommands:\n{rows}\n\n"
        "`manyparts COMMAND --help` documents every flag. `manyparts --version` prints the version."
    )
