"""Export an agent's policy to a folder: graphs, a contract, and how far it differs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np

from manyparts.agents.exported import ExportedAgent
from manyparts.agents.exported_files import (
    CONTRACT,
    FORMAT,
    POLICY,
    PROMPT,
    VERSION,
    Computation,
)
from manyparts.agents.loading import load
from manyparts.agents.policy import PolicyAgent
from manyparts.agents.reactive import ReactiveAgent
from manyparts.agents.viewed import unviewed
from manyparts.core.arguments import path_of
from manyparts.core.errors import UserError
from manyparts.core.naming import NAME
from manyparts.core.printing import counted
from manyparts.core.records import Observation, Prompt
from manyparts.core.storage.atomic import new_folder
from manyparts.data.dataset import EpisodeDataset
from manyparts.exporting.graphs import Graph, PolicyGraph, PromptGraph, ReactiveGraph
from manyparts.exporting.onnx import LENGTHS, Exporter, write_graph
from manyparts.exporting.parity import (
    ROWS,
    TOLERANCE,
    Parity,
    compared,
    random_episodes,
    random_prompts,
)
from manyparts.exporting.policies import require_policy
from manyparts.exporting.program import write_program
from manyparts.models.checkpoint import CheckpointInfo, load_info
from manyparts.models.prompt_encoder import SmallText
from manyparts.models.run_files import CONFIG, PROGRAM

_STEPS = 6  # of an episode that parity is measured on
_REAL_EPISODES = 3
_CODE = {
    "onnx": f"""from {NAME}.agents.exported import load_exported

agent = load_exported("this folder")  # numpy and onnxruntime, no torch""",
    "torch": f"""import torch

policy = torch.export.load("policy{PROGRAM}").module()  # only of a folder that you trust
actions, *memory = policy(*inputs)  # in the order below""",
}


def export_policy(
    run: str | Path,
    output: str | Path,
    *,
    embodiment: str | None = None,
    data: str | Path | None = None,
    format: Literal["onnx", "torch"] = "onnx",
    exporter: Exporter = "auto",
) -> list[Parity]:
    """Write a policy as graphs with a contract. Those of ONNX `load` reads, without torch.

    Args:
        run: A run or checkpoint folder, or the name of an agent that comes with the package.
        output: The folder, which must not exist.
        embodiment: The robot to act for, if the agent learned several.
        data: A dataset, on which both are compared; None: on random observations alone.
        format: "onnx", or "torch" for programs that `torch.export.load` reads.
        exporter: Of ONNX, see `onnx.write_graph`.

    Returns:
        How far the exported policy differs from the agent.

    Raises:
        UserError: The agent cannot be exported, or acts differently once it is; nothing is left.
    """
    output = path_of(output, "output")
    require_policy(run)
    agent = load(run, embodiment=embodiment)
    learned = unviewed(agent)
    graphs = _graphs(learned, run)
    recorded = None if data is None else (str(data), *_recorded(learned, data))
    assert learned.origin is not None or agent.origin is not None
    origin = agent.origin or learned.origin
    assert origin is not None
    info = load_info(origin.checkpoint)
    with new_folder(output) as folder:
        computations: dict[str, Computation] | None = None
        if format == "onnx":
            exporters = {
                name: write_graph(graph, folder / name, exporter) for name, graph in graphs.items()
            }
        else:
            exporters = dict.fromkeys(graphs, "torch.export")
            computations = {
                name: write_program(graph, (folder / name).with_suffix(PROGRAM))
                for name, graph in graphs.items()
            }
        shutil.copyfile(origin.checkpoint / CONFIG, folder / CONFIG)
        contract = _contract(learned, info, graphs, exporters)
        _write(folder / CONTRACT, contract)
        exported = ExportedAgent(folder, computations=computations)
        parities = _parities(learned, exported, recorded)
        _write(folder / CONTRACT, contract | {"parity": [asdict(each) for each in parities]})
        (folder / "README.md").write_text(
            _readme(run, contract, parities, format), encoding="utf-8"
        )
        _require_parity(parities)
    return parities


def _graphs(learned: Any, run: str | Path) -> dict[str, Graph]:
    """The graphs of an agent by file name. Raises UserError for one that has none."""
    if isinstance(learned, ReactiveAgent):
        return {POLICY: ReactiveGraph(learned).eval()}
    if isinstance(learned, ExportedAgent):
        raise UserError(f"{run} is an exported policy already; export the run it was made of")
    if not isinstance(learned, PolicyAgent):
        raise UserError(
            f"{run} acts by a {type(learned).__name__}; policies that imitate are exported, and "
            "neither planners nor agents that learned by acting: export the policy, not the search"
        )
    graphs: dict[str, Graph] = {POLICY: PolicyGraph(learned).eval()}
    if learned.prompted:
        encoder = learned.model.prompt_encoder
        assert encoder is not None
        if not isinstance(encoder.text, SmallText):
            raise UserError(
                f"{run} reads instructions by a pretrained text encoder, which is not exported"
            )
        graphs[PROMPT] = PromptGraph(learned).eval()
    return graphs


def _contract(
    learned: Any, info: CheckpointInfo, graphs: dict[str, Graph], exporters: dict[str, str]
) -> dict[str, Any]:
    """What other programs have to know of the graphs."""
    spec, window, policy = learned.spec, learned.window, graphs[POLICY]
    contract: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "cameras": {name: list(size) for name, size in spec.cameras.items()},
        "state_names": list(spec.state_names),
        "action": spec.action.to_dict(),
        "chunk": window.chunk,
        "prompted": learned.prompted,
        "goal_image": bool(learned.prompted and window.goal_image),
        "demonstration_frames": window.demonstration_frames if learned.prompted else 0,
        "inputs": _inputs(policy),
        "outputs": list(policy.outputs),
        "carry": {
            name: {"shape": list(tensor.shape[1:]), "dtype": str(tensor.numpy().dtype)}
            for name, tensor in policy.carry.items()
        },
        "embodiment": info.embodiments[learned.index].to_dict(),
        "exporters": exporters,
        "provenance": dict(info.provenance),
    }
    if learned.prompted:
        contract["prompt_inputs"] = _inputs(graphs[PROMPT])
        text = learned.model.config.prompt.text
        contract["tokeniser"] = {
            "kind": "crc32 of each word, modulo vocabulary_size",
            "vocabulary_size": text.vocabulary,
            "max_words": text.max_words,
        }
    return contract


def _inputs(graph: Graph) -> dict[str, dict[str, Any]]:
    """Type and shape of each input of a graph by name."""
    inputs: dict[str, dict[str, Any]] = {}
    for name, tensor in graph.example(1).items():
        shape = ["batch", *tensor.shape[1:]]
        if name in LENGTHS:
            shape[1] = "length"
        inputs[name] = {"shape": shape, "dtype": str(tensor.numpy().dtype)}
    return inputs


_Recorded = tuple[str, list[list[Observation]], Sequence[Prompt | None]]


def _parities(learned: Any, exported: ExportedAgent, recorded: _Recorded | None) -> list[Parity]:
    """How far both differ, on random observations and on those of a dataset."""
    normaliser = learned.codec.normaliser
    mean = np.asarray(normaliser.mean, np.float64)
    std = np.asarray(normaliser.scale if len(mean) else (), np.float64)
    parities = []
    for rows in ROWS:
        episodes = random_episodes(learned.spec, mean, std, count=rows, steps=_STEPS, seed=rows)
        prompts = (
            random_prompts(learned, count=rows, seed=rows) if learned.prompted else [None] * rows
        )
        what = f"random observations, {counted(rows, 'episode')} together"
        parities.append(compared(learned, exported, what, episodes, prompts))
    if recorded is not None:
        data, episodes, prompts = recorded
        parities.append(compared(learned, exported, f"observations of {data}", episodes, prompts))
    return parities


def _recorded(
    learned: Any, data: str | Path
) -> tuple[list[list[Observation]], Sequence[Prompt | None]]:
    """Observations of a dataset, as the model sees them, one for each decision."""
    dataset = EpisodeDataset.open(data)
    info_view = None if learned.origin is None else load_info(learned.origin.checkpoint)
    if info_view is not None and (view := info_view.view_of(dataset.spec)) is not None:
        dataset = dataset.through(view)
    if differences := dataset.spec.bounded_as(learned.spec).differences(learned.spec):
        raise UserError(f"{data} is of another robot than the agent: {differences[0]}")
    episodes: list[list[Observation]] = []
    prompts: list[Prompt | None] = []
    for index in range(min(_REAL_EPISODES, dataset.num_episodes)):
        episode = dataset.episode(index)
        rows = range(0, min(len(episode), _STEPS * learned.window.chunk), learned.window.chunk)
        episodes.append(
            [
                {
                    "images": {name: frames[row] for name, frames in episode.images.items()},
                    "state": episode.state[row],
                }
                for row in rows
            ]
        )
        prompts.append(Prompt(episode.instruction) if learned.prompted else None)
    return episodes, prompts


def _require_parity(parities: Sequence[Parity]) -> None:
    worst = max(parities, key=lambda each: each.worst)
    if not worst.worst <= TOLERANCE:
        raise UserError(
            f"the exported policy acts differently: by {worst.worst:.1e} of half of an action's "
            f"range on {worst.what}, and {TOLERANCE:g} are allowed; nothing was written"
        )


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=1), encoding="utf-8")


def _readme(
    run: str | Path, contract: dict[str, Any], parities: Sequence[Parity], format: str
) -> str:
    """A page that says what the folder is, and how to run it."""
    rows = "\n".join(f"| {each.what} | {each.decisions} | {each.worst:.1e} |" for each in parities)
    ending = ".onnx" if format == "onnx" else PROGRAM
    inputs = "\n".join(
        f"| `{graph}{ending}` | `{name}` | {item['dtype']} | {', '.join(map(str, item['shape']))} |"
        for graph, key in (("policy", "inputs"), ("prompt", "prompt_inputs"))
        for name, item in contract.get(key, {}).items()
    )
    prompts = f" `prompt{ending}` encodes a prompt once." if contract["prompted"] else ""
    return f"""# An exported policy

`manyparts export {run}` wrote this folder. `policy{ending}` decides.{prompts}
`{CONTRACT}` says what their numbers mean.

```python
{_CODE[format]}
```

| of | input | type | shape |
|---|---|---|---|
{inputs}

`actions` are in the units of the action contract. Zeros in `carry_in_*` are the memory of a new
episode, and each `carry_out_*` is the next `carry_in_*`.

| compared with the agent | decisions | largest difference, in halves of a range |
|---|---|---|
{rows}
"""
