"""`manyparts play`: an agent in a page, live, and a person's hand in the same scene."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from manyparts.cli.parsing import parse
from manyparts.cli.planners import planner_of, with_planner
from manyparts.core.errors import UserError
from manyparts.core.printing import counted, say
from manyparts.core.records import Precision
from manyparts.envs.base import EnvConfig, StateKind


@dataclass(frozen=True)
class Options:
    """Watch an agent act in a page of your browser, and change what it is asked for at any step. Or
    act yourself, by keyboard, mouse or gamepad, and record demonstrations.

    The command prints the page's address, with a token that nobody else knows. Ctrl-C ends.
    """

    run: Positional[Annotated[str | None, arg(metavar="RUN")]] = None
    """A run or checkpoint folder, or the name of an agent that comes with the package. Or `hand`,
    where you act alone, `expert` or `random`, which need --tasks."""

    tasks: tuple[str, ...] = ()
    """Tasks or splits that the page offers; if left out, those that RUN was trained on.
    gym:[MODULE:]ID is any Gymnasium environment by its id."""

    output: Path | None = None
    """Folder of a dataset to which you save episodes; if it was recorded by this command before,
    they are added."""

    data: Path | None = None
    """A dataset with episodes that you can show to RUN as demonstrations."""

    host: str = "127.0.0.1"
    """The address to listen on. The token is not encrypted without --certificate."""

    port: int = 0
    """The port; 0 takes a free one."""

    certificate: Path | None = None
    """A certificate file, for an encrypted page (https://)."""

    private_key: Path | None = None
    """The private key of the certificate."""

    pages: int = 4
    """Open pages at once; others are sent away."""

    split: Literal["train", "validation", "evaluation"] | None = None
    """Which goals; if left out, those of evaluation, and with --output those of training."""

    image_size: int | None = None
    """Height and width of the cameras' images in pixels; if left out, those that RUN saw, else
    64."""

    cameras: tuple[str, ...] = ()
    """Names of the cameras; if left out, those that RUN saw, else the suite's default."""

    goal: Literal["visible", "hidden"] | None = None
    """Whether the goal is shown; if left out, as RUN saw it, else visible."""

    state: StateKind | None = None
    """What the state vector holds; if left out, what RUN saw, else proprioception."""

    max_steps: int | None = None
    """Steps per episode; if left out, as of RUN, else the suite's own."""

    action_repeat: int | None = None
    """Steps for which the environment holds each action; if left out, as RUN does, else 1."""

    device: str = "cpu"
    """Where the agent runs: auto, cpu, cuda, cuda:1, mps."""

    precision: Precision = "fp32"
    """Number format of the agent's computations."""

    planner: Literal["random-shooting", "cem", "mppi", "policy"] | None = None
    """What a dynamics model acts with; `manyparts play --planner mppi --help` lists its settings.
    Plug-ins add others."""


def main(arguments: Sequence[str]) -> int:
    """Run `manyparts play`, and return its exit code."""
    planner = planner_of(arguments)
    options = parse(with_planner(Options, planner), arguments, command="play")
    if options.run is None:
        raise UserError(
            "missing RUN, the folder of an agent, or `hand` with --tasks to act yourself"
        )
    _play(options, options.run, shlex.join(["manyparts", "play", *arguments]))
    return 0


def _play(options: Options, run: str, command: str) -> None:
    from manyparts.core.arguments import path_of
    from manyparts.playing.casting import LEARNED_NOTHING, Wanted, cast_of
    from manyparts.playing.messages import max_bytes
    from manyparts.playing.server import run as serve
    from manyparts.serving.server import Access, load_websockets

    load_websockets()  # before anything that takes long
    if not 1 <= options.pages <= 64:
        raise UserError(f"--pages is {options.pages}; expected 1 to 64")
    access = Access(
        host=options.host,
        port=options.port,
        key=secrets.token_urlsafe(24),
        certificate=options.certificate,
        private_key=options.private_key,
        sessions=options.pages,
    )
    cast, specs = cast_of(
        Wanted(
            name=run if run in LEARNED_NOTHING else str(path_of(run, "run")),
            tasks=options.tasks,
            config=_chosen(options),
            split=options.split,
            output=options.output,
            data=options.data,
            device=options.device,
            precision=options.precision,
            planner=getattr(options, "planner_config", None),
            command=command,
        )
    )
    say(f"{cast.name}: {specs[0].summary()}; {counted(len(cast.tasks), 'task')}, {_goals(cast)}")
    try:
        serve(
            cast,
            access,
            max_bytes=max_bytes(specs),
            on_listening=lambda port: _announce(options, access, port),
        )
    finally:
        if cast.recorder is not None:
            cast.recorder.close()
            saved = counted(cast.recorder.saved, "episode")
            say(f"{cast.recorder.path}: {saved} saved, {cast.recorder.episodes} in all")


def _goals(cast: Any) -> str:
    return f"goals of the split {cast.split}"


def _announce(options: Options, access: Any, port: int) -> None:
    from manyparts.serving.server import is_loopback

    scheme = "http" if options.certificate is None else "https"
    host = f"[{options.host}]" if ":" in options.host else options.host
    say(f"open {scheme}://{host}:{port}/?token={access.key}")
    if options.certificate is None and not is_loopback(options.host):
        say("warning: without --certificate the token can be read on its way", error=True)
    say("Ctrl-C ends")


def _chosen(options: Options) -> dict[str, Any]:
    """The fields of the environment's config that the user set."""
    fields = ("image_size", "cameras", "goal", "state", "max_steps", "action_repeat")
    chosen = {name: getattr(options, name) for name in fields}
    chosen = {name: value for name, value in chosen.items() if value not in (None, ())}
    EnvConfig.of(chosen)  # so that what is wrong is said before anything is loaded
    return chosen
