"""A whole plan imagined by one launch on a GPU: to launch its thousands of small kernels one by one takes the processor
far longer than the GPU takes for them (`manyparts bench plan-gpu`)."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from manyparts.models.world_model import Prediction

if TYPE_CHECKING:
    from manyparts.models.dynamics_transformer import DynamicsTransformer, TransformerHistory

_KEPT = 4  # graphs a model; each keeps the memory that its plans take
_Key = tuple[int, ...]
_graphs: weakref.WeakKeyDictionary[DynamicsTransformer, dict[_Key, PlanGraph]] = weakref.WeakKeyDictionary()


class PlanGraph:
    """The kernels of a dream, from a history's keys and values and plans to what these come to. It is of one model, one
    length of history and one shape of plans."""

    @torch.inference_mode(False)
    @torch.no_grad()
    def __init__(self, history: TransformerHistory, plans: Float[Tensor, "n t a"]) -> None:
        assert history.cache is not None
        self._cache = [(key.clone(), value.clone()) for key, value in history.cache]
        self._observation, self._plans = history.observation.clone(), plans.clone()
        self._now = torch.tensor([history.ends], device=plans.device)
        ours = type(history)(history.model, self._cache, history.begins, history.ends, self._observation)
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # what is made at the first call alone is no part of a graph
            self._dreamt(ours)
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._found = self._dreamt(ours)

    @torch.inference_mode(False)
    @torch.no_grad()
    def imagined(self, history: TransformerHistory, plans: Float[Tensor, "n t a"]) -> Prediction:
        """Observations (n, t, s) and rewards (n, t), of another history and other plans of the same shapes."""
        assert history.cache is not None
        for ours, theirs in zip(self._cache, history.cache, strict=True):
            for kept, given in zip(ours, theirs, strict=True):
                kept.copy_(given)
        self._observation.copy_(history.observation)
        self._plans.copy_(plans)
        self._now.fill_(history.ends)
        self._graph.replay()
        return Prediction(self._found.observation.clone(), self._found.reward.clone())

    def _dreamt(self, history: TransformerHistory) -> Prediction:
        from manyparts.models.dynamics_transformer import TransformerDream

        return TransformerDream(history, len(self._plans), now=self._now).imagined(self._plans)


def plan_graph(history: TransformerHistory, plans: Float[Tensor, "n t a"]) -> PlanGraph:
    """The graph for such histories and plans, recorded at the first call; the latest few are kept. One thread at a time
    may use a model's."""
    model, weight = history.model, next(history.model.parameters())
    known = _graphs.setdefault(model, {})
    key = (weight.data_ptr(), *plans.shape, history.ends - history.begins)
    found = known.pop(key, None) or PlanGraph(history, plans)
    while len(known) >= _KEPT:
        known.pop(next(iter(known)))
    known[key] = found
    return found
