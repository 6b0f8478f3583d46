"""`manyparts serve`: an agent behind a socket."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from manyparts.cli.parsing import parse
from manyparts.cli.planners import planner_of, with_planner
from manyparts.core.errors import UserError
from manyparts.core.printing import say
from manyparts.core.records import Precision

if TYPE_CHECKING:
    from manyparts.agents.loading import LearnedAgent


@dataclass(frozen=True)
class Options:
    """Serve an agent, so that a robot, a simulator or a benchmark in another program acts by it.

    Two protocols are spoken on one port: openpi's at ws://HOST:PORT/ and vla-eval's at
    ws://HOST:PORT/vla-eval. GET /healthz says whether it runs. Answers are finite and within the
    bounds of the robot's actions. A request that is late or broken gets `hold`, and never the last
    actions again. Ctrl-C answers what is under way, and ends.
    """

    run: Positional[Annotated[Path | None, arg(metavar="RUN")]] = None
    """A run or checkpoint folder, or the name of an agent that comes with the package."""

    host: str = "127.0.0.1"
    """The address to listen on. Any other than this machine's own needs a key."""

    port: int = 8000
    """The port; 0 takes a free one, which is printed."""

    key_file: Path | None = None
    """A file with the key that clients have to send, at least 8 letters."""

    without_key: bool = False
    """Listen on other addresses without a key: everybody who reaches them moves the robot."""

    certificate: Path | None = None
    """A certificate file, for encrypted connections (wss://)."""

    private_key: Path | None = None
    """The private key of the certificate."""

    sessions: int = 16
    """Clients at once; others are sent away."""

    max_megabytes: float = 32
    """Size of a message at most."""

    actions: int | None = None
    """Actions of an answer at most; if left out, as many as the agent plans at once."""

    max_change: float | None = None
    """How far each number may move from one action to the next, as a fraction of its range; if left
    out, as far as it likes."""

    deadline_ms: float | None = None
    """An answer that takes longer holds the robot instead; if left out, clients wait."""

    batch_wait_ms: float = 0
    """How long a request waits for others, to be answered together; 0 answers each alone."""

    record: Path | None = None
    """Folder of a dataset to which the clients' episodes are added, a row for each request."""

    embodiment: str | None = None
    """The robot to act for, if the agent learned several."""

    device: str = "cpu"
    """Where the agent runs: auto, cpu, cuda, cuda:1, mps."""

    precision: Precision = "fp32"
    """Number format of the agent's computations."""

    planner: Literal["random-shooting", "cem", "mppi", "policy"] | None = None
    """What a dynamics model acts with; `manyparts serve --planner mppi --help` lists its settings.
    Plug-ins add others."""


def main(arguments: Sequence[str]) -> int:
    """Run `manyparts serve`, and return its exit code."""
    planner = planner_of(arguments)
    options = parse(with_planner(Options, planner), arguments, command="serve")
    if options.run is None:
        raise UserError("missing RUN, the folder of the agent to serve")
    _serve(options)
    return 0


def _serve(options: Options) -> None:
    from manyparts.agents.loading import load
    from manyparts.core.keys import read_key
    from manyparts.core.messages import Limits
    from manyparts.serving.description import Description
    from manyparts.serving.recording import Recorder
    from manyparts.serving.safety import Guard
    from manyparts.serving.server import MIN_KEY, Access, run
    from manyparts.serving.service import Service
    from manyparts.serving.session import Conversation

    if not 0 < options.max_megabytes <= 1024:
        raise UserError(
            f"--max-megabytes is {options.max_megabytes:g}; expected more than 0, and at most 1024"
        )
    access = Access(
        host=options.host,
        port=options.port,
        key=None if options.key_file is None else read_key(options.key_file, at_least=MIN_KEY),
        without_key=options.without_key,
        certificate=options.certificate,
        private_key=options.private_key,
        sessions=options.sessions,
    )
    assert options.run is not None
    agent = load(
        options.run,
        options.device,
        embodiment=options.embodiment,
        precision=options.precision,
        planner=getattr(options, "planner_config", None),
    )
    guard = Guard(agent.spec, options.max_change)
    description = Description.of(agent, options.actions, options.max_change)
    service = Service(
        Conversation(agent, guard, options.actions, held=description.actions),
        description,
        deadline_ms=options.deadline_ms,
        batch_wait_ms=options.batch_wait_ms,
    )
    recorder = None if options.record is None else Recorder(options.record, description)
    message_bytes = round(options.max_megabytes * 2**20)
    limits = Limits(message_bytes=message_bytes, decoded_bytes=4 * message_bytes)
    try:
        service.warm_up()
        run(
            service,
            access,
            limits=limits,
            record_of=None if recorder is None else recorder.client,
            on_listening=lambda port: _announce(options, agent, port),
        )
    finally:
        if recorder is not None:
            recorder.close()
        if service.figures.requests:
            say(f"all clients: {service.figures.summary()}", error=True)


def _announce(options: Options, agent: LearnedAgent, port: int) -> None:
    scheme = "ws" if options.certificate is None else "wss"
    host = f"[{options.host}]" if ":" in options.host else options.host
    say(f"serving {options.run}: {agent.spec.summary()}")
    address = f"{scheme}://{host}:{port}"
    say(f"{address} for openpi's clients, {address}/vla-eval for vla-eval's; Ctrl-C ends")
