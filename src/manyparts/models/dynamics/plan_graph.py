"""Whole plans imagined by one CUDA graph.

An imagination has thousands of small kernels. To launch them one by one takes the CPU far longer
than the GPU takes to run them (`manyparts bench plan-gpu`); a graph is one launch.
"""

from __future__ import annotations

import weakref

import torch
from jaxtyping import Float
from torch import Tensor

from manyparts.models.dynamics.imagination import EncodedSteps, TransformerImagination
from manyparts.models.dynamics.step_transformer import StepTransformer
from manyparts.models.dynamics.world_model import Prediction

_MAX_GRAPHS = 4  # per model; each keeps the memory that its plans take
_Key = tuple[int, ...]
# Weak keys: a graph must not keep its model alive, nor outlive it.
_graphs: weakref.WeakKeyDictionary[StepTransformer, dict[_Key, PlanGraph]] = (
    weakref.WeakKeyDictionary()
)


class PlanGraph:
    """The recorded kernels of an imagination, from context and plans to predictions.

    A graph replays the same kernels on the same memory, so it belongs to one model, one length of
    context and one shape of plans. Other contexts and plans are copied into its buffers.
    """

    # Inference tensors could not be written to by later calls outside of inference mode.
    @torch.inference_mode(False)
    @torch.no_grad()
    def __init__(self, context: EncodedSteps, plans: Float[Tensor, "n t a"]) -> None:
        assert context.cache is not None
        self._cache = [(key.clone(), value.clone()) for key, value in context.cache]
        self._observation, self._plans = context.observation.clone(), plans.clone()
        self._now = torch.tensor([context.end_step], device=plans.device)
        buffers = EncodedSteps(
            context.model, self._cache, context.first_step, context.end_step, self._observation
        )
        # A first run on another stream, as recording requires: what is allocated or initialised
        # once only (cuBLAS workspaces, cached angles) must not become a part of the graph.
        warm_up = torch.cuda.Stream()
        warm_up.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(warm_up):
            self._imagine(buffers)
        torch.cuda.current_stream().wait_stream(warm_up)
        self._graph = torch.cuda.CUDAGraph()
        # "thread_local": other threads may use the GPU while this one records.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._prediction = self._imagine(buffers)

    @torch.inference_mode(False)
    @torch.no_grad()
    def imagined(self, context: EncodedSteps, plans: Float[Tensor, "n t a"]) -> Prediction:
        """Return what a context's model predicts under plans.

        Args:
            context: As long as the one that was recorded, of the same model.
            plans: Actions within [-1, 1], of the shape that was recorded, on the GPU.

        Returns:
            Observations (n, t, s), normalised, and rewards (n, t).
        """
        assert context.cache is not None
        for buffers, keys_values in zip(self._cache, context.cache, strict=True):
            for buffer, tensor in zip(buffers, keys_values, strict=True):
                buffer.copy_(tensor)
        self._observation.copy_(context.observation)
        self._plans.copy_(plans)
        # The step's number is a tensor for this reason: a Python number would be part of the graph.
        self._now.fill_(context.end_step)
        self._graph.replay()
        # Copies, since the next replay overwrites the graph's own outputs.
        return Prediction(self._prediction.observation.clone(), self._prediction.reward.clone())

    def _imagine(self, context: EncodedSteps) -> Prediction:
        """Run what is recorded."""
        return TransformerImagination(context, len(self._plans), now=self._now).imagined(
            self._plans
        )


def plan_graph(context: EncodedSteps, plans: Float[Tensor, "n t a"]) -> PlanGraph:
    """Return the graph for such contexts and plans, recorded at the first call.

    The latest few are kept. Only one thread at a time may use a model's graphs.

    Args:
        context: With at least one step in its cache, on the GPU.
        plans: Actions within [-1, 1], on the GPU.
    """
    model, weight = context.model, next(context.model.parameters())
    graphs = _graphs.setdefault(model, {})
    # The address of a weight: a model that was moved to other memory needs another recording.
    key = (weight.data_ptr(), *plans.shape, context.end_step - context.first_step)
    # Removed and put back: the dictionary's order is then the order of last use.
    graph = graphs.pop(key, None) or PlanGraph(context, plans)
    while len(graphs) >= _MAX_GRAPHS:
        graphs.pop(next(iter(graphs)))
    graphs[key] = graph
    return graph
