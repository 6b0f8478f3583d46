"""Write a graph as a program of torch, which `torch.export.load` reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from manyparts.agents.exported_files import Computation
from manyparts.core.errors import UserError
from manyparts.core.extras import in_a_line
from manyparts.exporting.graphs import Graph
from manyparts.exporting.onnx import open_dimensions, quiet


def write_program(graph: Graph, path: Path) -> Computation:
    """Write a graph as a program, with the batch and the length of prompts left open.

    Args:
        graph: What to write.
        path: The file.

    Returns:
        What was written, ready to run.

    Raises:
        UserError: torch cannot export it.
    """
    example = graph.example(2)
    try:
        with quiet():
            program = torch.export.export(
                graph, tuple(example.values()), dynamic_shapes=(open_dimensions(graph, example),)
            )
            torch.export.save(program, path)
    except OSError:
        raise
    except Exception as error:  # exporters raise whatever goes wrong in their depths
        raise UserError(f"torch cannot export this model: {in_a_line(error)}") from error
    module = program.module()

    def run(inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        with torch.no_grad():
            outputs = module(
                *(torch.from_numpy(np.ascontiguousarray(inputs[name])) for name in example)
            )
        return [output.numpy() for output in outputs]

    return Computation(tuple(example), graph.outputs, run)
