"""The computations of a policy that are exported: one per decision, and one per prompt.

Normalisation, decoding and the action contract's units are inside. Memory comes in and goes out.

Dimensions: b rows, h steps before the current one, k actions per chunk, a action dimensions,
v visual tokens, d numbers per token, p prompt tokens, w words, f images of a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from manyparts.agents.exported_files import CARRY_IN, CARRY_OUT, CHUNK, COUNT
from manyparts.agents.policy import PolicyAgent
from manyparts.agents.reactive import ReactiveAgent
from manyparts.core.spec import Spec
from manyparts.embodiment.codec import Codec
from manyparts.exporting.exportable import as_read, exportable, of_state, width_of_prompts
from manyparts.models.actions import ActionEmbeddings, ActionHead, ActionHeads
from manyparts.models.control_transformer import ControlTransformer, Tokens
from manyparts.models.prompt_encoder import ImageTokens, PromptTokens
from manyparts.objectives.behaviour_cloning import features_of


class Units(nn.Module):
    """States in the simulator's units to a model's, and its actions back.

    Args:
        codec: Of the embodiment.
    """

    mean: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor
    state_low: Tensor
    state_high: Tensor
    half_range: Tensor

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        normaliser, contract = codec.normaliser, codec.spec.action
        self.choices = len(contract.choices)
        values = {
            "mean": normaliser.mean,
            "scale": normaliser.scale if normaliser.mean else (),
            "low": contract.low,
            "high": contract.high,
            "half_range": contract.half_range,
        }
        if normaliser.low:
            values |= {"state_low": normaliser.low, "state_high": normaliser.high}
        self.is_held = bool(normaliser.low)
        for name, value in values.items():
            # Float64, as the codec computes: a float32 of a large mean would round the state.
            self.register_buffer(name, torch.tensor(np.asarray(value), dtype=torch.float64))

    def state(self, state: Tensor) -> Tensor:
        """Return normalised states (b, s)."""
        state = state.double()
        if self.is_held:
            state = torch.minimum(torch.maximum(state, self.state_low), self.state_high)
        return ((state - self.mean) / self.scale).float()

    def action(self, action: Tensor) -> Tensor:
        """Return actions (b, k, a) within [-1, 1] in the contract's units."""
        action = action.double().clamp(-1, 1)
        action = self.low + (action + 1) * self.half_range
        if self.choices:
            return action.round().clamp(0, self.choices - 1).float()
        return torch.minimum(torch.maximum(action, self.low), self.high).float()


class Graph(nn.Module):
    """A computation with named inputs and outputs."""

    longest: int | None = None
    """How many words or tokens of a prompt it takes at most; None: any number."""

    def example(self, rows: int) -> dict[str, Tensor]:
        """Return inputs by name, of that many rows."""
        raise NotImplementedError

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs, in their order."""
        raise NotImplementedError

    @property
    def carry(self) -> Mapping[str, Tensor]:
        """The memory of a new episode by the names of its inputs, one row each."""
        return {}


class ReactiveGraph(Graph):
    """A decision of a `ReactiveAgent`.

    Args:
        agent: The agent.
    """

    def __init__(self, agent: ReactiveAgent) -> None:
        super().__init__()
        self.model, self.policy = agent.model, agent.policy
        self.spec, self.chunk = agent.spec, agent.window.chunk
        self.units = Units(agent.codec)

    def example(self, rows: int) -> dict[str, Tensor]:
        """See `Graph`."""
        return _observation(self.spec, rows)

    @property
    def outputs(self) -> tuple[str, ...]:
        """See `Graph`."""
        return ("actions",)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the chunk of actions (b, k, a)."""
        given = dict(zip(self.example(1), inputs, strict=True))
        if self.model.config.sees == "state":
            embedded = self.units.state(given["state"])[:, None]
        else:
            tokens = [
                self.model.visual_features(rearrange(image, "b h w c -> b c h w"), name)
                for name, image in _images(given, self.spec).items()
            ]
            embedded = torch.cat(tokens, dim=-1)
        chunk = self.policy.decide(embedded)
        actions = chunk.reshape(-1, self.chunk, self.spec.action.dimension)
        return (self.units.action(actions.float()),)


class PolicyGraph(Graph):
    """A decision of a `PolicyAgent`: its observation, its prompt and its memory to a chunk.

    The memory of a policy with a history is its last h steps, oldest first, then zeros. The action
    token of the last of them is made when it is next read, from the chunk that was decided.

    Args:
        agent: The agent.
    """

    def __init__(self, agent: PolicyAgent) -> None:
        super().__init__()
        self.model, self.policy = exportable(agent.model), agent.policy
        self.prompt_width = width_of_prompts(agent.model)
        self.spec, self.chunk, self.slots = agent.spec, agent.window.chunk, dict(agent.slots)
        self.units, self.history = Units(agent.codec), agent.policy.history
        self.prompted, self.index = agent.prompted, agent.index
        self.several = agent.embodiment is not None
        head = agent.policy.head
        own = head.of[str(agent.index)] if isinstance(head, ActionHeads) else head
        assert isinstance(own, ActionHead), type(own)
        self.head, self.embedding = own, _action_embedding(agent)
        self.state = of_state(agent.model, self.spec.state_dimension)

    def example(self, rows: int) -> dict[str, Tensor]:
        """See `Graph`."""
        inputs = _observation(self.spec, rows)
        if self.prompted:
            inputs["prompt"] = torch.zeros(rows, 3, self.prompt_width)
            inputs["prompt_mask"] = torch.ones(rows, 3, dtype=torch.bool)
        return inputs | {
            name: tensor.repeat(rows, *[1] * (tensor.dim() - 1))
            for name, tensor in self.carry.items()
        }

    @property
    def outputs(self) -> tuple[str, ...]:
        """See `Graph`."""
        return ("actions", *(CARRY_OUT + name.removeprefix(CARRY_IN) for name in self.carry))

    @property
    def carry(self) -> Mapping[str, Tensor]:
        """See `Graph`."""
        if not self.history:
            return {}
        h, width = self.history, self.model.config.width
        return {
            CARRY_IN + "visual": torch.zeros(1, h, self.model.visual_tokens, width),
            CARRY_IN + "state": torch.zeros(1, h, width),
            CARRY_IN + "action": torch.zeros(1, h, width),
            CARRY_IN + CHUNK: torch.zeros(1, self.chunk, self.spec.action.dimension),
            CARRY_IN + COUNT: torch.zeros(1, dtype=torch.int64),
        }

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the chunk of actions (b, k, a), and the memory."""
        given = dict(zip(self.example(1), inputs, strict=True))
        visual, state = self._embedded(given)
        prompt = None
        if self.prompted:
            prompt = PromptTokens(given["prompt"], given["prompt_mask"])
        embodiment = None
        if self.several:
            embodiment = torch.full_like(given[next(iter(given))][:, 0, 0, 0].long(), self.index)
        if not self.history:
            window = Tokens(visual[:, None], state[:, None], torch.zeros_like(state)[:, None])
            outputs = self.model.decode_present(
                window.observation, prompt=prompt, embodiment=embodiment
            )
            return (self._acted(outputs)[0],)
        window, count = self._window(given, visual, state)
        assert self.policy.config.attention == "causal", self.policy.config
        decoded = self.model.decode(
            window, "causal", prompt=prompt, embodiment=embodiment
        ).observation
        here = count[:, None, None, None].expand(-1, 1, *decoded.shape[2:])
        actions, chunk = self._acted(decoded.gather(1, here))
        return (actions, *self._remembered(window, count), chunk, self._next(count))

    def _embedded(self, given: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The visual tokens (b, v, d) and the state token (b, d) of observations."""
        images = _images(given, self.spec)
        visual = _visual(self.model, {slot: images[name] for name, slot in self.slots.items()})
        if self.spec.state_dimension:
            own = self.units.state(given["state"])
        else:
            own = visual.new_zeros(visual.shape[0], 0)
        return visual, self.state(own)

    def _acted(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """A chunk in the contract's units, and within [-1, 1], of outputs (b, 1, o, d)."""
        chunk = self.head.decode(self.head(features_of(outputs)))[:, 0]
        return self.units.action(chunk.float()), chunk

    def _window(
        self, given: Mapping[str, Tensor], visual: Tensor, state: Tensor
    ) -> tuple[Tokens, Tensor]:
        """The steps before with the current one after them, (b, h + 1, ...), and its index."""
        count = given[CARRY_IN + COUNT]
        chunk = given[CARRY_IN + CHUNK][:, None]
        token = self.embedding(chunk, torch.ones_like(chunk, dtype=torch.bool))
        number = torch.arange(self.history + 1)
        last = (number[None, :-1] == count[:, None] - 1)[..., None]
        action = F.pad(torch.where(last, token, given[CARRY_IN + "action"]), (0, 0, 0, 1))
        here = number[None] == count[:, None]
        past_visual = F.pad(given[CARRY_IN + "visual"], (0, 0, 0, 0, 0, 1))
        past_state = F.pad(given[CARRY_IN + "state"], (0, 0, 0, 1))
        window = Tokens(
            torch.where(here[..., None, None], visual[:, None], past_visual),
            torch.where(here[..., None], state[:, None], past_state),
            action,
        )
        return window, count

    def _remembered(self, window: Tokens, count: Tensor) -> tuple[Tensor, ...]:
        """The last h steps of a window (b, h + 1, ...)."""
        full = count == self.history
        parts = (window.visual, window.state, window.action)
        return tuple(
            torch.where(full.view(-1, *[1] * (part.dim() - 1)), part[:, 1:], part[:, :-1])
            for part in parts
        )

    def _next(self, count: Tensor) -> Tensor:
        return (count + 1).clamp(max=self.history)


class PromptGraph(Graph):
    """The prompt of a `PolicyAgent`: its words and its images to tokens.

    Args:
        agent: The agent.
    """

    present: Tensor

    def __init__(self, agent: PolicyAgent) -> None:
        super().__init__()
        self.model, self.spec, self.slots = agent.model, agent.spec, dict(agent.slots)
        self.layout, self.embedding = agent.window.prompt_layout, _action_embedding(agent)
        assert self.model.prompt_encoder is not None
        self.longest = getattr(self.model.prompt_encoder.text, "max_words", None)
        # Of an image's tokens, which the robot's cameras give: bool (v,).
        self.register_buffer("present", self.model.embedding.tokens[agent.index, :-1])

    def example(self, rows: int) -> dict[str, Tensor]:
        """See `Graph`."""
        inputs: dict[str, Tensor] = {
            "words": torch.zeros(rows, 3, dtype=torch.int64),
            "word_mask": torch.ones(rows, 3, dtype=torch.bool),
        }
        if not self.layout.count:
            return inputs
        count, chunk = self.layout.count, self.layout.chunk
        for name, size in self.spec.cameras.items():
            inputs[f"prompt_image_{name}"] = torch.zeros(rows, count, *size, 3, dtype=torch.uint8)
        return inputs | {
            "prompt_action": torch.zeros(rows, count, chunk, self.spec.action.dimension),
            "prompt_image_mask": torch.ones(rows, count, dtype=torch.bool),
            "prompt_action_mask": torch.ones(rows, count, dtype=torch.bool),
            "has_instruction": torch.ones(rows, dtype=torch.bool),
        }

    @property
    def outputs(self) -> tuple[str, ...]:
        """See `Graph`."""
        return ("prompt", "prompt_mask")

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return what a policy reads of prompts (b, p, n), and which of their tokens are not
        padding: the keys and values of all layers that attend to a prompt, else tokens."""
        given = dict(zip(self.example(1), inputs, strict=True))
        encoder = self.model.prompt_encoder
        assert encoder is not None
        text = encoder.of_words(given["words"], given["word_mask"])
        if not self.layout.count:
            return self._read(text)
        images = {
            slot: rearrange(given[f"prompt_image_{name}"], "b f h w c -> (b f) h w c")
            for name, slot in self.slots.items()
        }
        action, mask = given["prompt_action"], given["prompt_action_mask"]
        tokens = ImageTokens(
            visual=rearrange(
                _visual(self.model, images), "(b f) v d -> b f v d", f=self.layout.count
            ),
            action=self.embedding(action, mask[..., None, None].expand(action.shape)),
            mask=given["prompt_image_mask"][..., None] & self.present,
            action_mask=mask,
        )
        return self._read(encoder.with_images(text, ~given["has_instruction"], tokens))

    def _read(self, prompt: PromptTokens) -> tuple[Tensor, ...]:
        read = as_read(self.model, prompt)
        return read.tokens, read.mask


def _action_embedding(agent: PolicyAgent) -> nn.Module:
    """The embedding of the agent's own actions."""
    embedding = agent.model.action_embedding
    return embedding.of[str(agent.index)] if isinstance(embedding, ActionEmbeddings) else embedding


def _visual(model: ControlTransformer, images: Mapping[str, Tensor]) -> Tensor:
    """The visual tokens (n, v, d) of images (n, h, w, 3) by slot; zeros for slots that are not
    there, which are the last ones."""
    visual = torch.cat(
        [
            model.embedding.visual(rearrange(image, "n h w c -> n c h w"), slot)
            for slot, image in images.items()
        ],
        dim=1,
    )
    missing = model.visual_tokens - visual.shape[1]
    return F.pad(visual, (0, 0, 0, missing)) if missing else visual


def _observation(spec: Spec, rows: int) -> dict[str, Tensor]:
    """Inputs of an observation by name."""
    inputs: dict[str, Any] = {
        f"image_{name}": torch.zeros(rows, *size, 3, dtype=torch.uint8)
        for name, size in spec.cameras.items()
    }
    if spec.state_dimension:
        inputs["state"] = torch.zeros(rows, spec.state_dimension)
    return inputs


def _images(given: Mapping[str, Tensor], spec: Spec) -> dict[str, Tensor]:
    return {name: given[f"image_{name}"] for name in spec.cameras}
