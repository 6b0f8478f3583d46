"""Processes on the nodes of a Ray cluster that others start and stop.

Nothing passes through Ray but names of modules, paths and numbers. A task on a node starts a
process of its own, in which signals work as on this machine, and waits for it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from manyparts.core.errors import UserError
from manyparts.core.executors import process
from manyparts.core.executors.nodes import described, require_fitting, require_shared, token_in
from manyparts.core.executors.process import FAILED, INTERRUPTED
from manyparts.core.extras import in_a_line, install_command, load_package
from manyparts.core.naming import NAME
from manyparts.core.printing import counted, say
from manyparts.core.storage.caches import CACHE_VARIABLES, chosen_root, temporary_root

MAX_RETRIES = 3  # of a process, when its node dies
_SECONDS_TO_CONNECT = 5.0
_SECONDS_TO_ANSWER = 60.0  # each node; it may have to start Python, and read files for a hash
_SECONDS_TO_END = 10.0
_SECONDS_BETWEEN_LOOKS = 0.05
_USUAL_PORT = 6379


class RayExecutor:
    """The `Executor` of a Ray cluster. All processes end when this one does, or on `close`.

    A process is started again, on another node, if its node dies. Each node keeps its caches for
    itself: in its own MANYPARTS_CACHE, else in its folder for temporary files.
    """

    def __init__(
        self,
        host: str,
        shared: Path,
        variables: Mapping[str, str],
        inputs: Sequence[Path] = (),
    ) -> None:
        """Connect to a cluster of which this machine is a node, and ask every node what it has.

        Args:
            host: "HOST:PORT".
            shared: A folder that all nodes must see under this path.
            variables: Environment variables of the processes, besides those of their node.
            inputs: Files that all nodes must see with the same content.

        Raises:
            UserError: Ray is not installed, nobody answers, or a node does not fit this machine.
        """
        self._address = f"ray://{host}"
        self._variables = dict(variables)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before Ray is imported
        self._ray = load_package("ray", f"executor {self._address}", install_command("ray"))
        require_listener(self._address, host)
        self._tasks: dict[int, Any] = {}  # by number: what Ray knows them by
        self._logs: dict[int, Path] = {}
        self._codes: dict[int, int] = {}
        self._connect(host)
        try:
            self._inspect(shared.resolve(), [str(path.resolve()) for path in inputs])
        except BaseException:
            self._ray.shutdown()
            raise
        self._task = self._ray.remote(carry_out_here)

    @property
    def nodes(self) -> tuple[int, ...]:
        return self._cores

    def start(self, module: str, folder: Path, log: Path, *, cores: int, gpu: bool = False) -> int:
        number = len(self._tasks)
        self._logs[number] = log
        task = self._task.options(
            num_cpus=min(cores, max(self._cores)),
            num_gpus=1 if gpu and self._has_gpus else 0,
            max_retries=MAX_RETRIES,
            scheduling_strategy="SPREAD",
            name=f"{NAME} {folder.name}",
        )
        self._tasks[number] = task.remote(
            module,
            str(folder.resolve()),
            str(log.resolve()),
            cores,
            self._variables,
            os.getcwd(),
            json.dumps(self._here | {"inputs": {}}),
        )
        return number

    def exit_code(self, number: int) -> int | None:
        if number not in self._codes:
            ended, _ = self._ray.wait([self._tasks[number]], timeout=0)
            if not ended:
                return None
            self._codes[number] = self._code(number)
        return self._codes[number]

    def interrupt(self, number: int) -> None:
        if self.exit_code(number) is None:
            self._ray.cancel(self._tasks[number])  # a KeyboardInterrupt in the task

    def close(self) -> None:
        with contextlib.suppress(Exception):  # the cluster may be gone
            running = [self._tasks[each] for each in self._tasks if each not in self._codes]
            for task in running:
                self._ray.cancel(task, force=True)
            if running:
                self._ray.wait(running, num_returns=len(running), timeout=_SECONDS_TO_END)
        self._ray.shutdown()

    def _code(self, number: int) -> int:
        """Return the exit code of a process that has ended; where Ray has none, the log says
        why."""
        try:
            return self._ray.get(self._tasks[number])
        except self._ray.exceptions.TaskCancelledError:
            return INTERRUPTED
        except Exception as error:  # Ray's own, and a UserError of the task
            cause = getattr(error, "cause", None)
            text = str(cause) if isinstance(cause, UserError) else in_a_line(error)
            with contextlib.suppress(OSError), self._logs[number].open("a") as log:
                log.write(f"error: {text}\n")
            return FAILED

    def _connect(self, host: str) -> None:
        """Connect to the cluster, within a minute.

        Raises:
            UserError: It is no cluster that this machine is a node of.
        """
        reason = _trial(host)
        if reason is None:
            try:
                self._ray.init(
                    address=host,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    configure_logging=False,
                )
                return
            except Exception as error:  # Ray has no one class of errors
                reason = in_a_line(error)
        raise UserError(
            f"{self._address} is no Ray cluster that this machine is a node of ({reason}); start "
            f"one with `ray start --head`, join it from here with `ray start --address {host}`, "
            "and use the same Ray and Python on all nodes"
        )

    def _inspect(self, shared: Path, inputs: list[str]) -> None:
        """Note the nodes' cores, and require that all of them fit this machine.

        Raises:
            UserError: One does not.
        """
        nodes = [
            node
            for node in self._ray.nodes()
            if node["Alive"] and node["Resources"].get("CPU", 0) >= 1
        ]
        if not nodes:
            raise UserError(f"no node of {self._address} has a core; see `ray status`")
        self._cores = tuple(int(node["Resources"]["CPU"]) for node in nodes)
        self._has_gpus = any(node["Resources"].get("GPU", 0) >= 1 for node in nodes)
        with token_in(shared) as token:
            self._here = described(str(token), inputs)
            asked = [self._asked(node["NodeID"], str(token), inputs) for node in nodes]
            self._ray.wait(asked, num_returns=len(asked), timeout=_SECONDS_TO_ANSWER)
            for node, answer in zip(nodes, asked, strict=True):
                name = f"node {node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
                there = self._answer(name, answer)
                require_shared(name, there, self._here, shared)
                require_fitting(name, there, self._here)
        if not self._ray.available_resources().get("CPU", 0):
            cores = counted(sum(self._cores), "core")
            say(f"all {cores} of {self._address} are in use; this waits for them", error=True)

    def _asked(self, node: str, token: str, inputs: list[str]) -> Any:
        """Let a node describe itself; return what Ray knows the answer by."""
        strategies = load_package(
            "ray.util.scheduling_strategies", self._address, install_command("ray")
        )
        here = strategies.NodeAffinitySchedulingStrategy(node, soft=False)
        task = self._ray.remote(described)
        options = task.options(num_cpus=0, max_retries=0, scheduling_strategy=here)
        return options.remote(token, inputs)

    def _answer(self, name: str, answer: Any) -> dict[str, Any]:
        try:
            return self._ray.get(answer, timeout=0)
        except self._ray.exceptions.GetTimeoutError:
            raise UserError(f"{name} has not answered for {_SECONDS_TO_ANSWER:g} s") from None
        except Exception as error:  # of the node, or of Ray
            if f"No module named '{NAME}" in str(error):
                raise UserError(
                    f"{name} has no {NAME}; install it in the Python that runs Ray there"
                ) from error
            raise UserError(f"{name} is of no use: {in_a_line(error)}") from error


def _trial(host: str) -> str | None:
    """Connect in a process of its own, and return why that failed; None if it did not.

    Ray waits for ever where somebody else listens, and may end the process that waits.
    """
    code = f"import ray, sys; ray.init(address={host!r}, log_to_driver=False); ray.shutdown()"
    try:
        trial = subprocess.run(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS_TO_ANSWER,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer for {_SECONDS_TO_ANSWER:g} s"
    if trial.returncode == 0:
        return None
    lines = [line for line in trial.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"exit code {trial.returncode}"


def carry_out_here(
    module: str,
    folder: str,
    log: str,
    cores: int,
    variables: dict[str, str],
    working_folder: str,
    wanted: str,
) -> int:
    """Do on this node what a folder says, in a process of its own; return its exit code.

    Args:
        module: See `Executor.start`, also for the next three.
        folder: The folder.
        log: The file.
        cores: How many cores it may use.
        variables: Environment variables, besides those of this node.
        working_folder: The runner's, which is used if it exists here.
        wanted: What the runner says of its machine, as JSON; see `described`.

    Raises:
        UserError: This node, which may have joined late, does not fit that machine.
    """
    # Ray was perhaps started by a shell in the background, which lets it ignore interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    where = f"node {socket.gethostname()}"
    require_fitting(where, _described_once(), json.loads(wanted))
    if not Path(folder).is_dir():
        raise UserError(f"{where} does not see {folder}")
    words = (module, folder, str(cores), log)
    starter, writing_end = os.pipe()
    try:
        with open(log, "ab") as output:
            child = subprocess.Popen(
                [sys.executable, "-m", process.__name__, *words, str(starter)],
                pass_fds=[starter],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment(variables),
                cwd=working_folder if Path(working_folder).is_dir() else folder,
                process_group=0,
            )
        return _waited_for(child)
    finally:
        os.close(starter)
        os.close(writing_end)  # the process ends with this task, whatever ends it


def _waited_for(child: subprocess.Popen[bytes]) -> int:
    """Return the exit code of a process, to which a cancelled task passes SIGINT on."""
    while True:
        try:
            # Ray's interrupt is seen between two steps of Python alone, so nothing here may block.
            while child.poll() is None:
                time.sleep(_SECONDS_BETWEEN_LOOKS)
            return child.returncode
        except KeyboardInterrupt:
            child.send_signal(signal.SIGINT)


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a process on this node."""
    environment = {**os.environ, **variables}
    if chosen_root() is None:
        # Not in the home folder, which several nodes may share.
        environment[CACHE_VARIABLES[0]] = str(temporary_root())
    home = Path(process.__file__).parents[3]
    if home.name not in ("site-packages", "dist-packages"):  # sources that Ray's path names
        paths = (str(home), environment.get("PYTHONPATH", ""))
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return environment


@functools.cache
def _described_once() -> dict[str, Any]:
    return described("", [])


def require_listener(address: str, host: str) -> None:
    """Require that somebody listens, since Ray itself waits for long.

    Raises:
        UserError: Nobody does, or the address is none.
    """
    name, colon, port = host.rpartition(":")
    if not (name and colon and port.isascii() and port.isdigit()):
        raise UserError(
            f"executor is {address!r}; expected ray://HOST:PORT, such as "
            f"ray://{name or host or '10.0.0.1'}:{_USUAL_PORT}"
        )
    try:
        with socket.create_connection((name, int(port)), timeout=_SECONDS_TO_CONNECT):
            pass
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"nobody answers at {address} ({reason}); `ray start --head` prints its address, "
            f"usually of port {_USUAL_PORT}"
        ) from error
