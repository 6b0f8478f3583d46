"""A whole plan imagined by one launch on a GPU: to launch its thousands of small kernels one by one
takes the processor far longer than the GPU takes for them (`manyparts bench plan-gpu`)."""

from __future__ import annotations

import weakref

import torch
from jaxtyping import Float
from torch import Tensor

from manyparts.models.dynamics.imagination import EncodedSteps, TransformerImagination
from manyparts.models.dynamics.step_transformer import StepTransformer
from manyparts.models.dynamics.world_model import Prediction

_KEPT = 4  # graphs a model; each keeps the memory that its plans take
_Key = tuple[int, ...]
_graphs: weakref.WeakKeyDictionary[StepTransformer, dict[_Key, PlanGraph]] = (
    weakref.WeakKeyDictionary()
)


class PlanGraph:
    """The kernels of an imagination, from a history's keys and values and plans to what these come
    to. It is of one model, one length of context and one shape of plans."""

    @torch.inference_mode(False)
    @torch.no_grad()
    def __init__(self, context: EncodedSteps, plans: Float[Tensor, "n t a"]) -> None:
        assert context.cache is not None
        self._cache = [(key.clone(), value.clone()) for key, value in context.cache]
        self._observation, self._plans = context.observation.clone(), plans.clone()
        self._now = torch.tensor([context.ends], device=plans.device)
        ours = EncodedSteps(
            context.model, self._cache, context.begins, context.ends, self._observation
        )
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # what is made at the first call alone is no part of a graph
            self._imagine(ours)
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._found = self._imagine(ours)

    @torch.inference_mode(False)
    @torch.no_grad()
    def imagined(self, context: EncodedSteps, plans: Float[Tensor, "n t a"]) -> Prediction:
        """Observations (n, t, s) and rewards (n, t), of another context and other plans of the same
        shapes."""
        assert context.cache is not None
        for ours, theirs in zip(self._cache, context.cache, strict=True):
            for kept, given in zip(ours, theirs, strict=True):
                kept.copy_(given)
        self._observation.copy_(context.observation)
        self._plans.copy_(plans)
        self._now.fill_(context.ends)
        self._graph.replay()
        return Prediction(self._found.observation.clone(), self._found.reward.clone())

    def _imagine(self, context: EncodedSteps) -> Prediction:
        return TransformerImagination(context, len(self._plans), now=self._now).imagined(
            self._plans
        )


def plan_graph(context: EncodedSteps, plans: Float[Tensor, "n t a"]) -> PlanGraph:
    """The graph for such contexts and plans, recorded at the first call; the latest few are kept.
    One thread at a time may use a model's."""
    model, weight = context.model, next(context.model.parameters())
    known = _graphs.setdefault(model, {})
    key = (weight.data_ptr(), *plans.shape, context.ends - context.begins)
    found = known.pop(key, None) or PlanGraph(context, plans)
    while len(known) >= _KEPT:
        known.pop(next(iter(known)))
    known[key] = found
    return found
