"""The control transformer: several steps and an optional prompt as one stream of tokens.

A step is the visual tokens of every camera, one state token and one action token. The module holds
parameters only; what is learned from the outputs is defined in `objectives`.

Dimensions: b rows, t steps, v visual tokens, o = v + 1 observation tokens, n = v + 2 tokens per
step, d numbers per token. `embodiment` is each row's index in the model's `EmbodimentSet`, int64
(b,), or None where there is only one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from manyparts.core.errors import UserError
from manyparts.core.records import Batch, Prompt, PromptImages
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.actions import ActionEmbedding, ActionEmbeddings, fitted
from manyparts.models.base import ImageModel
from manyparts.models.configs import ControlTransformerConfig, PromptConfig
from manyparts.models.observation_embedding import ObservationEmbedding
from manyparts.models.pretrained import load_encoders
from manyparts.models.prompt_encoder import ImageTokens, PromptEncoder, PromptTokens
from manyparts.nn.masks import attention_pattern, with_prefix, without_absent
from manyparts.nn.patterns import AttentionPattern
from manyparts.nn.transformer import Block, CrossBlock


@dataclass(frozen=True)
class Tokens:
    """The tokens of several steps: the decoder's input or output."""

    visual: Float[Tensor, "b t v d"]
    """Of all cameras."""

    state: Float[Tensor, "b t d"]
    """One per step."""

    action: Float[Tensor, "b t d"]
    """One per step, for its chunk of actions."""

    @property
    def observation(self) -> Float[Tensor, "b t o d"]:
        """The tokens of each step's observation: visual, then state."""
        return torch.cat([self.visual, self.state[:, :, None]], dim=2)


class ControlTransformer(nn.Module, ImageModel):
    """See the module.

    Each embodiment has its own embedding of actions and of a token's position in a step; the latter
    also shows the model which embodiment it is. Tokens that an embodiment lacks are attended to by
    no other token and come out as zeros.

    Args:
        config: Sizes.
        embodiments: The embodiments; each needs a camera.
        chunk: Actions per step.
        steps: Steps of the longest window.
        prompt_images: Images that a prompt may have: a goal image and a demonstration's frames.
    """

    encoder_names = ("embedding.encoders.", "embedding.token_learners.", "embedding.projections.")
    trunk = ("step_embedding.", "blocks.", "norm.", "prompt_encoder.", "prompt_blocks.")
    reward_limit = math.inf

    def __init__(
        self,
        config: ControlTransformerConfig,
        embodiments: EmbodimentSet,
        *,
        chunk: int,
        steps: int,
        prompt_images: int = 0,
    ):
        super().__init__()
        if not embodiments.slots:
            names = " and ".join(map(repr, embodiments.names))
            raise UserError(f"the embodiment {names} has no camera for a policy to see by")
        self.config, self.embodiments, self.chunk, self.steps = config, embodiments, chunk, steps
        self.visual_tokens = config.visual_tokens * len(embodiments.slots)
        # Weights are drawn in the order of these lines: moving one changes every seed's model.
        self.embedding = ObservationEmbedding(
            config.encoder,
            embodiments,
            visual_tokens=config.visual_tokens,
            token_maps=config.token_maps,
            width=config.width,
        )
        self.action_embedding = _action_embedding(config, embodiments, chunk)
        # Embodiment e has the rows e n to (e + 1) n - 1, for the n tokens of a step.
        self.slot_embedding = nn.Embedding(
            len(embodiments.specs) * (self.visual_tokens + 2), config.width
        )
        self.step_embedding = nn.Embedding(steps, config.width)
        for embedding in (self.slot_embedding, self.step_embedding):
            nn.init.normal_(embedding.weight, std=0.02)
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, dropout=config.dropout) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)
        self.prompt_encoder = _prompt_encoder(config, prompt_images, self.visual_tokens)
        self.prompt_blocks = nn.ModuleList(
            _prompt_block(config, config.prompt) for _ in self.blocks if config.prompt
        )
        self.prefixed = config.prompt is not None and config.prompt.conditioning == "prefix"

    def load_pretrained(self) -> tuple[str, ...]:
        """See `TrainableModel.load_pretrained`: weights of the image encoders."""
        loaded = load_encoders(self.config.encoder, self.embedding.encoders.values())
        return ("embedding.encoders.",) if loaded else ()

    def visual_features(
        self, images: UInt8[Tensor, "n c h w"], camera: str
    ) -> Float[Tensor, "n v d"]:
        """See `ImageModel.visual_features`."""
        return self.embedding.visual(images, camera)

    def embed(self, batch: Batch) -> Tokens:
        """Return a batch's tokens, before any step attends to another."""
        # (b, t, k, 1) and (b, 1, 1, a): actions that are real, in dimensions that are real.
        real = batch.chunk_mask[..., None] & batch.action_mask[:, None, None, :]
        return Tokens(
            visual=self.embedding.embed_visual(batch, batch.embodiment),
            state=self.embedding.embed_state(batch.state, batch.state_mask),
            action=self.action_embedding(batch.action, real, batch.embodiment),
        )

    def encode_prompt(
        self,
        prompts: tuple[Prompt, ...],
        images: PromptImages | None = None,
        embodiment: Int[Tensor, "b"] | None = None,
    ) -> PromptTokens | None:
        """Return the prompts' tokens, or None where the model reads no prompts.

        Args:
            prompts: One per row.
            images: The images in the prompts; None where these have none.
            embodiment: See the module.
        """
        if self.prompt_encoder is None:
            return None
        tokens = None if images is None else self.embed_prompt_images(images, embodiment)
        return self.prompt_encoder(prompts, tokens)

    def embed_prompt_images(
        self, images: PromptImages, embodiment: Int[Tensor, "b"] | None
    ) -> ImageTokens:
        """Return the tokens of prompts' images, by the encoders of observations and of actions.

        Args:
            images: See `encode_prompt`.
            embodiment: See the module.
        """
        real = images.action_mask[..., None, None].expand(images.action.shape)
        return ImageTokens(
            visual=self.embedding.embed_visual(images, embodiment),
            action=self.action_embedding(images.action, real, embodiment),
            # An image's tokens are those of the cameras that the embodiment has, without the state.
            mask=images.mask[..., None] & self.embedding.real(embodiment)[:, None, :-1],
            action_mask=images.action_mask,
        )

    def decode(
        self,
        tokens: Tokens,
        attention: AttentionPattern,
        *,
        mask: Bool[Tensor, "b t"] | None = None,
        prompt: PromptTokens | None = None,
        embodiment: Int[Tensor, "b"] | None = None,
    ) -> Tokens:
        """Run the blocks over windows.

        Args:
            tokens: Of at most `steps` steps.
            attention: Which token attends to which; see `nn.masks.attention_pattern`.
            mask: Steps that are not padding, needed where `attention` is "full". Padding comes
                last, so it is out of sight of the others anyway.
            prompt: Of `encode_prompt`.
            embodiment: See the module.
        """
        t = tokens.state.shape[1]
        assert t <= self.steps, (t, self.steps)
        # (b, t, n, d), plus one vector per position in a step and one per step of the window.
        x = torch.cat([tokens.observation, tokens.action[:, :, None]], dim=2)
        x = x + self._slots(embodiment) + self.step_embedding.weight[:t, None]
        # The stream: step by step, within a step visual tokens, state, action.
        x = rearrange(x, "b t n d -> b (t n) d")
        allowed = attention_pattern(attention, steps=t, visual=self.visual_tokens, device=x.device)
        if attention == "full" and mask is not None:
            real_tokens = mask.repeat_interleave(self.visual_tokens + 2, dim=1)
            allowed = allowed & real_tokens[:, None, None, :]
        real = self._real(embodiment)
        if real is not None:
            allowed = without_absent(allowed, real.repeat(1, t))
        x = rearrange(self._run(x, allowed, prompt), "b (t n) d -> b t n d", t=t)
        if real is not None:
            # An absent token attends to itself, so its output is not zero yet.
            x = x.masked_fill(~real[:, None, :, None], 0)
        return Tokens(visual=x[:, :, :-2], state=x[:, :, -2], action=x[:, :, -1])

    def decode_present(
        self,
        observation: Float[Tensor, "b t o d"],
        *,
        prompt: PromptTokens | None = None,
        embodiment: Int[Tensor, "b"] | None = None,
    ) -> Float[Tensor, "b t o d"]:
        """Run the blocks over each step's observation alone, as if a window began there.

        This equals `decode` of windows of one step, but actions and other steps cost nothing.

        Args:
            observation: Observation tokens of any number of steps; see `Tokens.observation`.
            prompt: Of `encode_prompt`.
            embodiment: See the module.
        """
        t = observation.shape[1]
        # Every step is the first of its own window, hence the step embedding of 0 for all.
        x = observation + self._slots(embodiment)[..., :-1, :] + self.step_embedding.weight[0]
        real, allowed = self._real(embodiment), None
        if real is not None:
            everything = torch.ones((), dtype=torch.bool, device=x.device)
            # Each step is a row of its own below, hence its row's mask t times.
            allowed = without_absent(everything, real[:, :-1].repeat_interleave(t, dim=0))
        if prompt is not None and self.prefixed:
            x = self._run_with_prefix(x, allowed, prompt)
        else:
            x = self._run_with_cross_attention(x, allowed, prompt)
        return x if real is None else x.masked_fill(~real[:, None, :-1, None], 0)

    def _run_with_prefix(
        self,
        x: Float[Tensor, "b t o d"],
        allowed: Bool[Tensor, "..."] | None,
        prompt: PromptTokens,
    ) -> Float[Tensor, "b t o d"]:
        """Run the blocks over each step alone, behind its own copy of the row's prompt."""
        t = x.shape[1]
        prompts = PromptTokens(
            prompt.tokens.repeat_interleave(t, dim=0), prompt.mask.repeat_interleave(t, dim=0)
        )
        rows = rearrange(x, "b t o d -> (b t) o d")
        if allowed is None:
            # `with_prefix` extends a mask, so there has to be one.
            allowed = torch.ones(x.shape[2], x.shape[2], dtype=torch.bool, device=x.device)
        return rearrange(self._run(rows, allowed, prompts), "(b t) o d -> b t o d", t=t)

    def _run_with_cross_attention(
        self,
        x: Float[Tensor, "b t o d"],
        allowed: Bool[Tensor, "..."] | None,
        prompt: PromptTokens | None,
    ) -> Float[Tensor, "b t o d"]:
        """Run the blocks over each step alone; all steps of a row attend to its one prompt."""
        t = x.shape[1]
        for index, block in enumerate(self.blocks):
            if prompt is not None:
                # Attention to the prompt is a matter of each token, so steps may be joined: the
                # prompt is not repeated for them.
                x = rearrange(x, "b t o d -> b (t o) d")
                x = self.prompt_blocks[index](x, prompt.tokens, prompt.mask)
                x = rearrange(x, "b (t o) d -> b t o d", t=t)
            rows = rearrange(x, "b t o d -> (b t) o d")
            x = rearrange(block(rows, allowed), "(b t) o d -> b t o d", t=t)
        return self.norm(x)

    def _slots(self, embodiment: Int[Tensor, "b"] | None) -> Float[Tensor, "*rows n d"]:
        """Return the embedding of each token's position in a step: (n, d), or (b, 1, n, d)."""
        if embodiment is None:
            return self.slot_embedding.weight
        return rearrange(
            # Each row's own part, with a dimension for steps.
            self.slot_embedding.weight,
            "(e n) d -> e n d",
            e=len(self.embodiments.specs),
        )[embodiment][:, None]

    def _real(self, embodiment: Int[Tensor, "b"] | None) -> Bool[Tensor, "b n"] | None:
        """Return the tokens of a step that are present; None where all are."""
        if embodiment is None or self.embedding.all_tokens:
            return None
        return F.pad(self.embedding.real(embodiment), (0, 1), value=True)  # every one has actions

    def _run(
        self, x: Float[Tensor, "b l d"], allowed: Bool[Tensor, "..."], prompt: PromptTokens | None
    ) -> Float[Tensor, "b l d"]:
        """Run the blocks over a stream. allowed: its mask, broadcastable to (b, 1, l, l)."""
        length = x.shape[1]
        if prompt is not None and self.prefixed:
            x = torch.cat([prompt.tokens, x], dim=1)
            allowed = with_prefix(allowed, prompt.mask)
        for index, block in enumerate(self.blocks):
            if prompt is not None:
                condition = (allowed,) if self.prefixed else (prompt.tokens, prompt.mask)
                x = self.prompt_blocks[index](x, *condition)
            x = block(x, allowed)
        # What the prefix has become is not asked for.
        return self.norm(x[:, -length:])


def _action_embedding(
    config: ControlTransformerConfig, embodiments: EmbodimentSet, chunk: int
) -> ActionEmbedding | ActionEmbeddings:
    """Return the embedding of actions, with one for each of several embodiments."""
    embeddings = [
        ActionEmbedding(
            fitted(config.action, spec.action),
            config.width,
            chunk=chunk,
            dimension=spec.action.dimension,
        )
        for spec in embodiments.specs
    ]
    return embeddings[0] if len(embeddings) == 1 else ActionEmbeddings(embeddings)


def _prompt_encoder(
    config: ControlTransformerConfig, num_images: int, visual_tokens: int
) -> PromptEncoder | None:
    """Return the encoder of prompts, if the model reads any."""
    if config.prompt is None:
        return None
    return PromptEncoder(
        config.prompt, config.width, num_images=num_images, visual_tokens=visual_tokens
    )


def _prompt_block(config: ControlTransformerConfig, prompt: PromptConfig) -> Block | CrossBlock:
    """Return the layer by which the decoder reads prompts, which starts as the identity."""
    if prompt.conditioning == "prefix":
        return Block(config.width, config.heads, dropout=config.dropout, identity=True)
    return CrossBlock(config.width, config.heads, dropout=config.dropout)
