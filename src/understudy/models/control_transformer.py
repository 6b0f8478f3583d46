"""The control transformer: observations and actions of several steps, one token stream, an optional prompt.

A step is the visual tokens of every camera, one state token and one action token. Parameters only; what is learned
from the outputs stands in `objectives`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import pack, rearrange, unpack
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from understudy.models.actions import ActionConfig, ActionEmbedding, ContinuousActionConfig, fitted
from understudy.models.encoders import ConvEncoder, ConvEncoderConfig, EncoderConfig, ViT, ViTConfig, build_encoder
from understudy.models.pretrained import load_vit
from understudy.models.prompts import PictureTokens, PromptConfig, PromptEncoder, PromptTokens
from understudy.nn.masks import AttentionPattern, attention_pattern, with_prefix
from understudy.nn.mlp import mlp
from understudy.nn.token_learner import TokenLearner
from understudy.nn.transformer import Block, CrossBlock
from understudy.types import Batch, Prompt, PromptPictures, Spec


@dataclass(frozen=True)
class ControlTransformerConfig:
    """Sizes of a control transformer. token_maps: attention maps a visual token. prompt: None for an unprompted one."""

    encoder: EncoderConfig = ConvEncoderConfig()
    visual_tokens: int = 4
    token_maps: int = 4
    width: int = 128
    layers: int = 3
    heads: int = 4
    dropout: float = 0.0
    action: ActionConfig = ContinuousActionConfig()
    prompt: PromptConfig | None = None


@dataclass(frozen=True)
class Tokens:
    """What goes into the decoder, or comes out. visual: (b, t, v, d), state and action: (b, t, d)."""

    visual: Float[Tensor, "b t v d"]
    state: Float[Tensor, "b t d"]
    action: Float[Tensor, "b t d"]

    @property
    def observation(self) -> Float[Tensor, "b t o d"]:
        """The tokens of each step's observation: visual, then state."""
        return torch.cat([self.visual, self.state[:, :, None]], dim=2)


class ObservationEmbedding(nn.Module):
    """Images and state to observation tokens; a camera's frame becomes a few visual tokens."""

    def __init__(self, config: ControlTransformerConfig, spec: Spec):
        super().__init__()
        self.cameras = tuple(spec.cameras)
        self.encoders = nn.ModuleDict(
            {name: build_encoder(config.encoder, spec.cameras[name]) for name in self.cameras}
        )
        self.token_learners = nn.ModuleDict(
            {
                name: TokenLearner(config.encoder.width, config.visual_tokens, maps=config.token_maps)
                for name in self.cameras
            }
        )
        self.projections = nn.ModuleDict({name: nn.Linear(config.encoder.width, config.width) for name in self.cameras})
        self.state = mlp([2 * spec.state_dimension, config.width, config.width])

    def visual(self, images: UInt8[Tensor, "n c h w"], camera: str) -> Float[Tensor, "n v d"]:
        """The visual tokens of frames of one camera."""
        patches = self.encoders[camera](images)
        return self.projections[camera](self.token_learners[camera](patches))

    def attention(self, images: UInt8[Tensor, "n c h w"], camera: str) -> Float[Tensor, "n v m rows columns"]:
        """Where the visual tokens of frames of one camera look: each of a token's maps sums to 1 over the grid."""
        encoder, token_learner = self.encoders[camera], self.token_learners[camera]
        assert isinstance(encoder, ConvEncoder | ViT) and isinstance(token_learner, TokenLearner)
        return token_learner.attention(encoder(images)).unflatten(-1, encoder.grid)

    def embed_visual(self, batch: Batch | PromptPictures) -> Float[Tensor, "b t v d"]:
        """Visual tokens of every camera, encoded here, or taken from the batch where it brings them."""
        if batch.features:
            return torch.cat([batch.features[name].to(self.dtype) for name in self.cameras], dim=2)
        tokens = []
        for name in self.cameras:
            frames, shape = pack([batch.images[name]], "* c h w")
            tokens += unpack(self.visual(frames, name), shape, "* v d")
        return torch.cat(tokens, dim=2)

    def embed_state(self, state: Float[Tensor, "b t s"], real: Bool[Tensor, "b s"]) -> Float[Tensor, "b t d"]:
        """The state token; dimensions that are not real are zero, and marked as absent."""
        real = real[:, None].expand(state.shape)
        return self.state(torch.cat([state * real, real.to(state.dtype)], dim=-1))

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype


class ControlTransformer(nn.Module):
    """See the module. spec: the embodiment; chunk: actions a step; steps: the longest window; prompt_pictures: the
    most pictures in a prompt."""

    def __init__(
        self, config: ControlTransformerConfig, spec: Spec, *, chunk: int, steps: int, prompt_pictures: int = 0
    ):
        super().__init__()
        self.config, self.spec, self.chunk, self.steps = config, spec, chunk, steps
        self.visual_tokens = config.visual_tokens * len(spec.cameras)
        self.embedding = ObservationEmbedding(config, spec)
        self.action = fitted(config.action, spec.action)
        self.action_embedding = ActionEmbedding(self.action, config.width, chunk=chunk, dimension=spec.action.dimension)
        self.slot_embedding = nn.Embedding(self.visual_tokens + 2, config.width)
        self.step_embedding = nn.Embedding(steps, config.width)
        for embedding in (self.slot_embedding, self.step_embedding):
            nn.init.normal_(embedding.weight, std=0.02)
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, dropout=config.dropout) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)
        self.prompt_encoder = (
            PromptEncoder(config.prompt, config.width, pictures=prompt_pictures, visual_tokens=self.visual_tokens)
            if config.prompt
            else None
        )
        self.prompt_blocks = nn.ModuleList(_prompt_block(config, config.prompt) for _ in self.blocks if config.prompt)
        self.prefixed = config.prompt is not None and config.prompt.conditioning == "prefix"

    def load_pretrained(self) -> None:
        """Start the image encoders from the pretrained weights that the config names, if it names any."""
        encoder = self.config.encoder
        for module in self.embedding.encoders.values():
            if isinstance(encoder, ViTConfig) and encoder.pretrained and isinstance(module, ViT):
                load_vit(module, encoder.pretrained)

    def embed(self, batch: Batch) -> Tokens:
        """A batch's tokens, before any step knows of another."""
        real = batch.chunk_mask[..., None] & batch.action_mask[:, None, None, :]
        return Tokens(
            visual=self.embedding.embed_visual(batch),
            state=self.embedding.embed_state(batch.state, batch.state_mask),
            action=self.action_embedding(batch.action, real),
        )

    def encode_prompt(self, prompts: tuple[Prompt, ...], pictures: PromptPictures | None = None) -> PromptTokens | None:
        """The prompts' tokens, or None where the model takes no prompt. pictures: those in the prompts."""
        if self.prompt_encoder is None:
            return None
        return self.prompt_encoder(prompts, None if pictures is None else self._embed_pictures(pictures))

    def _embed_pictures(self, pictures: PromptPictures) -> PictureTokens:
        real = pictures.action_mask[..., None, None].expand(pictures.action.shape)
        return PictureTokens(
            visual=self.embedding.embed_visual(pictures),
            action=self.action_embedding(pictures.action, real),
            mask=pictures.mask,
            action_mask=pictures.action_mask,
        )

    def decode(
        self,
        tokens: Tokens,
        attention: AttentionPattern,
        *,
        mask: Bool[Tensor, "b t"] | None = None,
        prompt: PromptTokens | None = None,
    ) -> Tokens:
        """Run the blocks. attention: who sees whom (nn.masks). mask: real steps, needed where the future is seen."""
        t = tokens.state.shape[1]
        assert t <= self.steps, (t, self.steps)
        x = torch.cat([tokens.observation, tokens.action[:, :, None]], dim=2)
        x = x + self.slot_embedding.weight + self.step_embedding.weight[:t, None]
        x = rearrange(x, "b t n d -> b (t n) d")
        allowed = attention_pattern(attention, steps=t, visual=self.visual_tokens, device=x.device)
        if attention == "full" and mask is not None:
            allowed = allowed & mask.repeat_interleave(self.visual_tokens + 2, dim=1)[:, None, None, :]
        x = rearrange(self._run(x, allowed, prompt), "b (t n) d -> b t n d", t=t)
        return Tokens(visual=x[:, :, :-2], state=x[:, :, -2], action=x[:, :, -1])

    def decode_present(
        self, observation: Float[Tensor, "b t o d"], *, prompt: PromptTokens | None = None
    ) -> Float[Tensor, "b t o d"]:
        """Run the blocks over each step's observation by itself, as if a window began there.

        The same as `decode` of windows of one step, but neither actions nor other steps cost anything.
        """
        t = observation.shape[1]
        x = observation + self.slot_embedding.weight[:-1] + self.step_embedding.weight[0]
        if prompt is not None and self.prefixed:
            told = PromptTokens(prompt.tokens.repeat_interleave(t, dim=0), prompt.mask.repeat_interleave(t, dim=0))
            rows = rearrange(x, "b t o d -> (b t) o d")
            everyone = torch.ones(x.shape[2], x.shape[2], dtype=torch.bool, device=x.device)
            return rearrange(self._run(rows, everyone, told), "(b t) o d -> b t o d", t=t)
        for index, block in enumerate(self.blocks):
            if prompt is not None:
                x = rearrange(x, "b t o d -> b (t o) d")
                x = self.prompt_blocks[index](x, prompt.tokens, prompt.mask)
                x = rearrange(x, "b (t o) d -> b t o d", t=t)
            x = rearrange(block(rearrange(x, "b t o d -> (b t) o d")), "(b t) o d -> b t o d", t=t)
        return self.norm(x)

    def _run(
        self, x: Float[Tensor, "b l d"], allowed: Bool[Tensor, "..."], prompt: PromptTokens | None
    ) -> Float[Tensor, "b l d"]:
        """The blocks over a stream of tokens, told by the prompt. allowed: who sees whom, to (b, 1, l, l)."""
        length = x.shape[1]
        if prompt is not None and self.prefixed:
            x = torch.cat([prompt.tokens, x], dim=1)
            allowed = with_prefix(allowed, prompt.mask)
        for index, block in enumerate(self.blocks):
            if prompt is not None:
                told = (allowed,) if self.prefixed else (prompt.tokens, prompt.mask)
                x = self.prompt_blocks[index](x, *told)
            x = block(x, allowed)
        return self.norm(x[:, -length:])


def _prompt_block(config: ControlTransformerConfig, prompt: PromptConfig) -> Block | CrossBlock:
    if prompt.conditioning == "prefix":
        return Block(config.width, config.heads, dropout=config.dropout, identity=True)
    return CrossBlock(config.width, config.heads, dropout=config.dropout)
