"""Write a graph as an ONNX file, with the batch and the length of prompts left open."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from manyparts.core.errors import UserError
from manyparts.core.extras import in_a_line, install_command, load_package
from manyparts.exporting.exportable import Attended
from manyparts.exporting.graphs import Graph

Exporter = Literal["auto", "torch.export", "tracing"]
"""Which of torch's exporters writes a graph: the newer one, or the older one, which writes for
older runtimes."""

_OPSET = 20  # the first with an operator for GELU: ten per cent of a decision
_ATTENTION_OPSET = 23  # the first with an operator for attention: five per cent
_OLD_OPSET = 17  # the newest that the exporter by tracing knows whole
LENGTHS = ("prompt", "prompt_mask", "words", "word_mask")  # dimension 1 is open


def write_graph(graph: Graph, path: Path, exporter: Exporter = "auto") -> str:
    """Write a graph.

    Args:
        graph: What to write.
        path: The file.
        exporter: Which of torch's exporters to use; "auto" tries one after the other.

    Returns:
        Which of torch's exporters wrote it.

    Raises:
        UserError: A package is missing, or neither exporter can write it.
    """
    for package in ("onnx", "onnxscript"):
        load_package(package, "an export to ONNX", install_command("export"))
    example = graph.example(2)
    failures = []
    for name, write in (("torch.export", _by_export), ("tracing", _by_tracing)):
        if exporter not in ("auto", name):
            continue
        try:
            with quiet():
                write(graph, example, path)
            return name
        except Exception as error:  # exporters raise whatever goes wrong in their depths
            failures.append(f"{name}: {in_a_line(error)}")
    raise UserError(f"torch cannot export this model to ONNX: {'; '.join(failures)}")


def open_dimensions(
    graph: Graph, example: Mapping[str, torch.Tensor]
) -> tuple[dict[int, Any], ...]:
    """Return the dimensions of each input that are left open, for torch's exporter.

    Args:
        graph: A graph.
        example: Its inputs by name.
    """
    batch = torch.export.Dim("batch", min=1)
    length = torch.export.Dim("length", min=1, max=graph.longest)
    return tuple({0: batch, 1: length} if name in LENGTHS else {0: batch} for name in example)


def _by_export(graph: Graph, example: dict[str, torch.Tensor], path: Path) -> None:
    opset = _ATTENTION_OPSET if _attend(graph, by_operator=True) else _OPSET
    program: Any = torch.onnx.export(
        graph,
        tuple(example.values()),
        input_names=list(example),
        output_names=list(graph.outputs),
        dynamic_shapes=(open_dimensions(graph, example),),
        opset_version=opset,
        dynamo=True,
    )
    program.save(str(path), external_data=False)


def _by_tracing(graph: Graph, example: dict[str, torch.Tensor], path: Path) -> None:
    _attend(graph, by_operator=False)
    axes: dict[str, dict[int, str]] = {name: {0: "batch"} for name in (*example, *graph.outputs)}
    for name in LENGTHS:
        if name in axes:
            axes[name][1] = "length"
    torch.onnx.export(
        graph,
        tuple(example.values()),
        str(path),
        input_names=list(example),
        output_names=list(graph.outputs),
        dynamic_axes=axes,
        opset_version=_OLD_OPSET,
        dynamo=False,
    )


def _attend(graph: Graph, *, by_operator: bool) -> bool:
    """Choose how a graph attends. Returns whether it attends at all."""
    attended = [module for module in graph.modules() if isinstance(module, Attended)]
    for module in attended:
        module.is_operator = by_operator
    return bool(attended)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep exporters from printing what they do."""
    disabled, nowhere = logging.root.manager.disable, io.StringIO()
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
