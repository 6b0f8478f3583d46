"""A model as it is exported: its attention in fewer operators, its prompt read once."""

from __future__ import annotations

import copy

import torch
from einops import rearrange
from torch import Tensor, nn

from manyparts.models.control_transformer import ControlTransformer
from manyparts.nn.token_learner import TokenLearner
from manyparts.nn.transformer import Attention, CrossBlock


class _Attended(nn.Module):
    """From queries, keys and values (b, l, h x d) to what is attended to."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.heads, self.output = attention.heads, attention.output

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Attend. The queries are scaled already; one with all keys masked gets zeros."""
        query = rearrange(query, "b q (h d) -> b h q d", h=self.heads)
        scores = query @ rearrange(key, "b k (h d) -> b h d k", h=self.heads)
        if mask is not None:
            scores = torch.where(mask, scores, -torch.inf)
        weights = scores.softmax(dim=-1)
        if mask is not None:
            weights = torch.where(mask, weights, 0.0)
        attended = weights @ rearrange(value, "b k (h d) -> b h k d", h=self.heads)
        return self.output(rearrange(attended, "b h q d -> b q (h d)"))


class _SelfAttention(nn.Module):
    """Attention among tokens, with queries, keys and values by one linear map."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        query, key_value = _scaled(attention), attention.key_value
        self.width = query.out_features
        self.together = _linear(
            torch.cat([query.weight, key_value.weight]), torch.cat([query.bias, key_value.bias])
        )
        self.attended = _Attended(attention)

    def forward(self, x: Tensor, mask: Tensor | None = None, context: None = None) -> Tensor:
        """See `Attention`."""
        query, key, value = self.together(x).split(self.width, dim=-1)
        return self.attended(query, key, value, mask)


class _PromptAttention(nn.Module):
    """Attention to a prompt that comes as the keys and values of all layers."""

    def __init__(self, attention: Attention, layer: int) -> None:
        super().__init__()
        self.query, self.width = _scaled(attention), attention.query.out_features
        self.first = 2 * self.width * layer
        self.attended = _Attended(attention)

    def forward(self, x: Tensor, mask: Tensor | None, context: Tensor) -> Tensor:
        """See `Attention`."""
        middle = self.first + self.width
        key, value = context[..., self.first : middle], context[..., middle : middle + self.width]
        return self.attended(self.query(x), key, value, mask)


class _TokenLearner(nn.Module):
    """A `TokenLearner` with its maps in the order in which they are multiplied.

    onnxruntime moves the transposition of the usual order behind the softmax, which then runs over
    a dimension that is not the last: two per cent of a decision.
    """

    def __init__(self, learner: TokenLearner) -> None:
        super().__init__()
        self.maps, self.tokens = learner.maps, learner.num_tokens
        first, between, last = learner.score
        assert isinstance(last, nn.Linear), type(last)
        order = torch.arange(self.tokens * self.maps).view(self.tokens, self.maps).t().flatten()
        score = _linear(last.weight[order], last.bias[order])
        self.score = nn.Sequential(learner.norm, first, between, score)

    def forward(self, patches: Tensor) -> Tensor:
        """See `TokenLearner`."""
        attention = rearrange(self.score(patches), "b p k -> b k p").softmax(dim=-1)
        attention = rearrange(attention, "b (m n) p -> b m n p", m=self.maps)
        values = rearrange(patches, "b p (m c) -> b m p c", m=self.maps)
        return rearrange(attention @ values, "b m n c -> b n (m c)")


def attending(model: ControlTransformer) -> list[CrossBlock]:
    """Return the layers that attend to a prompt; none where it stands before the other tokens."""
    return [layer for layer in model.prompt_blocks if isinstance(layer, CrossBlock)]


def width_of_prompts(model: ControlTransformer) -> int:
    """Return how many numbers a policy reads of each token of a prompt."""
    layers = attending(model)
    return sum(layer.attention.key_value.out_features for layer in layers) or model.config.width


def exportable(model: ControlTransformer) -> ControlTransformer:
    """Return a copy of a model, to which a prompt comes as the keys and values of all its layers.

    They are the same at every step of an episode, so that `PromptGraph` computes them once. All
    else computes what the model does, in fewer operators.
    """
    model = copy.deepcopy(model)
    numbers: dict[nn.Module, int] = {layer: i for i, layer in enumerate(attending(model))}
    for module in list(model.modules()):
        for name, part in list(module.named_children()):
            if isinstance(part, Attention) and module in numbers:
                setattr(module, name, _PromptAttention(part, numbers[module]))
            elif isinstance(part, Attention):
                setattr(module, name, _SelfAttention(part))
            elif isinstance(part, TokenLearner):
                setattr(module, name, _TokenLearner(part))
    return model


def _scaled(attention: Attention) -> nn.Linear:
    """The map to queries, with the factor 1 / sqrt(d)."""
    query = attention.query
    factor = (query.out_features // attention.heads) ** -0.5
    return _linear(query.weight * factor, query.bias * factor)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.weight, linear.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
    return linear
