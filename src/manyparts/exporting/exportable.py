"""A model as it is exported: the same computation in fewer operators, its prompt read once.

onnxruntime spends as long on the start of an operator as on the work of a small one.
"""

from __future__ import annotations

import copy

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from manyparts.models.control_transformer import ControlTransformer
from manyparts.models.encoders import ConvEncoder
from manyparts.models.prompt_encoder import PromptTokens
from manyparts.nn.token_learner import TokenLearner
from manyparts.nn.transformer import Attention, Block, CrossBlock


class _Linear(nn.Module):
    """A linear map of given weights."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Map the last dimension."""
        return F.linear(x, self.weight, self.bias)


class Attended(nn.Module):
    """From queries, keys and values (b, l, h x d) to rows (b x l, h x d).

    Args:
        attention: The attention, for its output.

    Attributes:
        is_operator: Whether this is ONNX's operator `Attention`, which torch computes, too, but
            cannot trace.
    """

    is_operator = False

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.heads, self.output = attention.heads, attention.output

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Attend. The queries are scaled already, and each has a key that it may attend to."""
        compute = self._by_operator if self.is_operator else self._in_parts
        return self.output(rearrange(compute(query, key, value, mask), "b q d -> (b q) d"))

    def _by_operator(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
    ) -> Tensor:
        if mask is not None:
            # onnxruntime refuses masks that it would have to broadcast over queries.
            mask = mask & torch.ones(query.shape[1], 1, dtype=torch.bool)
        heads = self.heads
        attended, *_ = torch.onnx.ops.attention(
            query, key, value, mask, q_num_heads=heads, kv_num_heads=heads, scale=1.0
        )
        return attended

    def _in_parts(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        query = rearrange(query, "b q (h d) -> b h q d", h=self.heads)
        scores = query @ rearrange(key, "b k (h d) -> b h d k", h=self.heads)
        if mask is not None:
            scores = torch.where(mask, scores, -torch.inf)
        attended = scores.softmax(dim=-1) @ rearrange(value, "b k (h d) -> b h k d", h=self.heads)
        return rearrange(attended, "b h q d -> b q (h d)")


class _SelfAttention(nn.Module):
    """Attention among tokens, with queries, keys and values by one linear map."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        query, key_value = _scaled(attention), attention.key_value
        self.width = attention.query.out_features
        self.together = _Linear(
            torch.cat([query.weight, key_value.weight]), torch.cat([query.bias, key_value.bias])
        )
        self.attended = Attended(attention)

    def forward(self, rows: Tensor, tokens: int, mask: Tensor | None = None) -> Tensor:
        """See `_Layer`."""
        parts = rearrange(self.together(rows), "(b q) d -> b q d", q=tokens)
        return self.attended(*parts.split(self.width, dim=-1), mask)


class _PromptAttention(nn.Module):
    """Attention to a prompt that comes as the keys and values of all layers."""

    def __init__(self, attention: Attention, layer: int) -> None:
        super().__init__()
        self.query, self.width = _scaled(attention), attention.query.out_features
        self.first = 2 * layer
        self.attended = Attended(attention)

    def forward(self, rows: Tensor, tokens: int, prompt: Tensor, mask: Tensor) -> Tensor:
        """See `_Layer`."""
        query = rearrange(self.query(rows), "(b q) d -> b q d", q=tokens)
        key, value = prompt.split(self.width, dim=-1)[self.first : self.first + 2]
        return self.attended(query, key, value, mask[:, None, None, :])


class _Layer(nn.Module):
    """A `Block` or a `CrossBlock` over rows of one matrix, so that biases belong to products."""

    def __init__(self, layer: Block | CrossBlock, attention: _SelfAttention | _PromptAttention):
        super().__init__()
        self.attention, self.attention_norm = attention, layer.attention_norm
        self.feed_forward, self.feed_forward_norm = layer.feed_forward, layer.feed_forward_norm

    def forward(self, x: Tensor, *condition: Tensor) -> Tensor:
        """See `Block` and `CrossBlock`. Both are without dropout."""
        tokens = x.shape[1]
        rows = rearrange(x, "b l d -> (b l) d")
        rows = rows + self.attention(self.attention_norm(rows), tokens, *condition)
        rows = rows + self.feed_forward(self.feed_forward_norm(rows))
        return rearrange(rows, "(b l) d -> b l d", l=tokens)


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
        score = _Linear(last.weight[order], last.bias[order])
        self.score = nn.Sequential(learner.norm, first, between, score)

    def forward(self, patches: Tensor) -> Tensor:
        """See `TokenLearner`."""
        count = patches.shape[1]
        scores = self.score(rearrange(patches, "b p d -> (b p) d"))
        attention = rearrange(scores, "(b p) k -> b k p", p=count).softmax(dim=-1)
        attention = rearrange(attention, "b (m n) p -> b m n p", m=self.maps)
        values = rearrange(patches, "b p (m c) -> b m p c", m=self.maps)
        return rearrange(attention @ values, "b m n c -> b n (m c)")


class _ConvEncoder(nn.Module):
    """A `ConvEncoder` with the scale of pixels in its first weights, and a bias in positions."""

    def __init__(self, encoder: ConvEncoder) -> None:
        super().__init__()
        self.convolutions, self.weight = encoder.convolutions, encoder.project.weight
        first = self.convolutions[0]
        assert isinstance(first, nn.Conv2d), type(first)
        first.weight = nn.Parameter(first.weight.detach() / 127.5)
        positions = encoder.position_embedding + encoder.project.bias
        self.position_embedding = nn.Parameter(positions.detach())

    def forward(self, images: Tensor) -> Tensor:
        """See `ConvEncoder`."""
        features = rearrange(self.convolutions(images.float() - 127.5), "n c h w -> n (h w) c")
        return F.linear(features, self.weight) + self.position_embedding


def of_state(model: ControlTransformer, dimension: int) -> nn.Sequential:
    """Return the map from an embodiment's normalised state (b, s) to the state token (b, d).

    Which numbers are padding is the same at each step, and part of the bias.

    Args:
        model: The model.
        dimension: Numbers of the embodiment's state, s.
    """
    first, *others = model.embedding.state
    assert isinstance(first, nn.Linear), type(first)
    largest = first.in_features // 2
    own, real = first.weight[:, :dimension], first.weight[:, largest : largest + dimension]
    return nn.Sequential(_Linear(own, first.bias + real.sum(dim=1)), *others)


def attending(model: ControlTransformer) -> list[CrossBlock]:
    """Return the layers that attend to a prompt; none where it stands before the other tokens."""
    return [layer for layer in model.prompt_blocks if isinstance(layer, CrossBlock)]


def width_of_prompts(model: ControlTransformer) -> int:
    """Return how many numbers a policy reads of each token of a prompt."""
    layers = attending(model)
    return sum(layer.attention.key_value.out_features for layer in layers) or model.config.width


def as_read(model: ControlTransformer, prompt: PromptTokens) -> PromptTokens:
    """Return a prompt as a policy reads it: the keys and values of all layers that attend to it,
    one layer after the other; where none does, the prompt itself."""
    layers = attending(model)
    if not layers:
        return prompt
    read = [layer.attention.key_value(prompt.tokens) for layer in layers]
    return PromptTokens(torch.cat(read, dim=-1), prompt.mask)


def exportable(model: ControlTransformer) -> ControlTransformer:
    """Return a copy of a model, to which a prompt comes as the keys and values of all its layers.

    They are the same at every step of an episode, so that `PromptGraph` computes them once. All
    else computes what the model does, in fewer operators.
    """
    model = copy.deepcopy(model)
    numbers: dict[nn.Module, int] = {layer: i for i, layer in enumerate(attending(model))}
    for module in list(model.modules()):
        for name, part in list(module.named_children()):
            if isinstance(part, CrossBlock):
                attention = _PromptAttention(part.attention, numbers[part])
                setattr(module, name, _Layer(part, attention))
            elif isinstance(part, Block):
                setattr(module, name, _Layer(part, _SelfAttention(part.attention)))
            elif isinstance(part, ConvEncoder):
                setattr(module, name, _ConvEncoder(part))
            elif isinstance(part, TokenLearner):
                setattr(module, name, _TokenLearner(part))
    return model


def _scaled(attention: Attention) -> _Linear:
    """The map to queries, with the factor 1 / sqrt(d)."""
    query = attention.query
    factor = (query.out_features // attention.heads) ** -0.5
    return _Linear(query.weight * factor, query.bias * factor)
