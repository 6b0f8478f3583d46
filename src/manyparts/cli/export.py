"""`manyparts export`: a policy for programs without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from manyparts.cli.parsing import parse
from manyparts.core.errors import UserError
from manyparts.core.printing import say


@dataclass(frozen=True)
class Options:
    """Export an agent's policy, so that programs without torch can act by it.

    The folder has the policy as ONNX graphs, a contract in JSON that says what their numbers mean,
    and a table of how far it differs from the agent. Where that is more than a ten-thousandth of
    half of an action's range, nothing is written. `manyparts evaluate` and `manyparts serve` take
    the folder as they take a run.
    """

    run: Positional[Annotated[Path | None, arg(metavar="RUN")]] = None
    """A run or checkpoint folder, or the name of an agent that comes with the package."""

    output: Path | None = None
    """The folder to write, which must not exist."""

    format: Literal["onnx", "torch", "lerobot"] = "onnx"
    """onnx: graphs for onnxruntime and other runtimes. torch: programs for torch.export.load.
    lerobot: a policy of LeRobot, which its tools run with the package lerobot_policy_manyparts."""

    embodiment: str | None = None
    """The robot to act for, if the agent learned several."""

    exporter: Literal["auto", "torch.export", "tracing"] = "auto"
    """Which of torch's exporters writes ONNX graphs. auto: the newer one (torch.export), and the
    older one (tracing) where that fails. That one writes graphs for runtimes before onnxruntime
    1.23, of which a decision takes a quarter longer."""

    data: str | None = None
    """A dataset on which both are compared, besides random observations."""


def main(arguments: Sequence[str]) -> int:
    """Run `manyparts export`, and return its exit code."""
    options = parse(Options, arguments, command="export")
    if options.run is None or options.output is None:
        missing = "RUN, the folder of the agent" if options.run is None else "--output"
        raise UserError(f"missing {missing}; see manyparts export --help")
    if options.exporter != "auto" and options.format != "onnx":
        raise UserError("--exporter is of --format onnx alone")
    if options.data is not None and options.format == "lerobot":
        raise UserError("--format lerobot copies the weights, so that there is nothing to compare")
    if options.format == "lerobot":
        return _to_lerobot(options.run, options.output, options.embodiment)
    from manyparts.cli.console import print_table
    from manyparts.exporting.export import export_policy

    parities = export_policy(
        options.run,
        options.output,
        embodiment=options.embodiment,
        data=options.data,
        format=options.format,
        exporter=options.exporter,
    )
    rows = [(each.what, str(each.decisions), f"{each.worst:.1e}") for each in parities]
    print_table(("compared with the agent", "decisions", "largest difference"), rows)
    say(f"exported: {options.output}")
    return 0


def _to_lerobot(run: Path, output: Path, embodiment: str | None) -> int:
    from manyparts.exporting.lerobot import export_to_lerobot

    spec = export_to_lerobot(run, output, embodiment=embodiment)
    inputs = [f"observation.images.{name}" for name in spec.cameras]
    inputs += ["observation.state"] if spec.state_names else []
    say(f"exported: {output}, which takes {', '.join(inputs)}")
    return 0
