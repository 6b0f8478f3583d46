"""The control transformer: observations and actions of several steps, one token stream, an optional
prompt.

A step is the visual tokens of every camera, one state token and one action token. Parameters only;
what is learned from the outputs stands in `objectives`.

`embodiment`, wherever it is an argument, tells each row's body: int64 (b,), its place in the
model's `EmbodimentSet`, or None where that has but one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import pack, rearrange, unpack
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from manyparts.core.errors import UserError
from manyparts.core.records import Batch, Prompt, PromptImages
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.actions import (
    ActionConfig,
    ActionEmbedding,
    ActionEmbeddings,
    ContinuousActionConfig,
    fitted,
)
from manyparts.models.encoders import (
    ConvEncoder,
    ConvEncoderConfig,
    EncoderConfig,
    ViT,
    build_encoder,
)
from manyparts.models.pretrained import load_encoders
from manyparts.models.prompts import ImageTokens, PromptConfig, PromptEncoder, PromptTokens
from manyparts.nn.masks import AttentionPattern, attention_pattern, with_prefix, without_absent
from manyparts.nn.mlp import mlp
from manyparts.nn.named import NamedModules
from manyparts.nn.token_learner import TokenLearner
from manyparts.nn.transformer import Block, CrossBlock


@dataclass(frozen=True)
class ControlTransformerConfig:
    """Sizes of a control transformer. token_maps: attention maps a visual token. prompt: None for
    an unprompted one."""

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
    """What goes into the decoder, or comes out. visual: (b, t, v, d), state and action: (b, t,
    d)."""

    visual: Float[Tensor, "b t v d"]
    state: Float[Tensor, "b t d"]
    action: Float[Tensor, "b t d"]

    @property
    def observation(self) -> Float[Tensor, "b t o d"]:
        """The tokens of each step's observation: visual, then state."""
        return torch.cat([self.visual, self.state[:, :, None]], dim=2)


class ObservationEmbedding(nn.Module):
    """Images and state to observation tokens; a camera's frame becomes a few visual tokens.

    Cameras of several embodiments in one slot share their encoder. tokens: bool (embodiments, o),
    those that each has.
    """

    tokens: Tensor

    def __init__(self, config: ControlTransformerConfig, embodiments: EmbodimentSet):
        super().__init__()
        self.cameras, self.num_tokens, self.width = (
            tuple(embodiments.slots),
            config.visual_tokens,
            config.width,
        )
        encoders = {
            name: build_encoder(config.encoder, size) for name, size in embodiments.slots.items()
        }
        self.encoders = NamedModules(encoders)
        self.token_learners = NamedModules(
            {
                name: TokenLearner(encoder.width, config.visual_tokens, maps=config.token_maps)
                for name, encoder in encoders.items()
            }
        )
        self.projections = NamedModules(
            {name: nn.Linear(encoder.width, config.width) for name, encoder in encoders.items()}
        )
        self.state = mlp([2 * embodiments.state_dimension, config.width, config.width])
        repeats = torch.tensor([config.visual_tokens] * len(self.cameras) + [1])
        present = torch.from_numpy(embodiments.present).repeat_interleave(repeats, dim=1)
        self.register_buffer("tokens", present, persistent=False)
        self.all_tokens = bool(embodiments.present.all())

    def visual(self, images: UInt8[Tensor, "n c h w"], camera: str) -> Float[Tensor, "n v d"]:
        """The visual tokens of frames of one camera."""
        patches = self.encoders[camera](images)
        return self.projections[camera](self.token_learners[camera](patches))

    def real(self, embodiment: Int[Tensor, "b"] | None) -> Bool[Tensor, "r o"]:
        """Which observation tokens are there: a row each (r = b), or one for all rows alike."""
        return self.tokens if embodiment is None else self.tokens[embodiment]

    def attention(
        self, images: UInt8[Tensor, "n c h w"], camera: str
    ) -> Float[Tensor, "n v m rows columns"]:
        """Where the visual tokens of frames of one camera look: each of a token's maps sums to 1
        over the grid."""
        encoder, token_learner = self.encoders[camera], self.token_learners[camera]
        assert isinstance(encoder, ConvEncoder | ViT) and isinstance(token_learner, TokenLearner)
        return token_learner.attention(encoder(images)).unflatten(-1, encoder.grid)

    def embed_visual(
        self, batch: Batch | PromptImages, embodiment: Int[Tensor, "b"] | None = None
    ) -> Float[Tensor, "b t v d"]:
        """Visual tokens of every camera, encoded here, or taken from the batch where it brings
        them. Those of cameras that an embodiment lacks are zero."""
        if embodiment is not None:
            there = self.real(embodiment)[:, : -1 : self.num_tokens].unbind(dim=1)
            slots = zip(self.cameras, there, strict=True)
            return torch.cat([self._in_slot(batch, name, rows) for name, rows in slots], dim=2)
        if batch.features:
            return torch.cat([batch.features[name].to(self.dtype) for name in self.cameras], dim=2)
        tokens = []
        for name in self.cameras:
            frames, shape = pack([batch.images[name]], "* c h w")
            tokens += unpack(self.visual(frames, name), shape, "* v d")
        return torch.cat(tokens, dim=2)

    def _in_slot(
        self, batch: Batch | PromptImages, name: str, there: Bool[Tensor, "b"]
    ) -> Float[Tensor, "b t v d"]:
        """A slot's visual tokens in the rows that have the camera, zeros in the others."""
        given, rows = batch.features or batch.images, there.nonzero()[:, 0]
        shape = (*batch.mask.shape, self.num_tokens, self.width)
        if name not in given or not len(rows):
            return torch.zeros(shape, dtype=self.dtype, device=there.device)
        if batch.features:
            found = given[name][rows].to(self.dtype)
        else:
            frames, lead = pack([given[name][rows]], "* c h w")
            (found,) = unpack(self.visual(frames, name), lead, "* v d")
        return found.new_zeros(shape).index_copy(0, rows, found)

    def embed_state(
        self, state: Float[Tensor, "b t s"], real: Bool[Tensor, "b s"]
    ) -> Float[Tensor, "b t d"]:
        """The state token; dimensions that are not real are zero, and marked as absent."""
        real = real[:, None].expand(state.shape)
        return self.state(torch.cat([state * real, real.to(state.dtype)], dim=-1))

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype


class ControlTransformer(nn.Module):
    """See the module. embodiments: the embodiments; chunk: actions a step; steps: the longest
    window; prompt_images: the most pictures in a prompt.

    Each embodiment has its own embedding of actions and of a token's place in a step, which so also
    tells whose it is. Tokens of what an embodiment lacks are seen by nobody and come out as zeros.

    encoder_names: prefixes of the parameters that `visual_features` depends on.
    """

    encoder_names = ("embedding.encoders.", "embedding.token_learners.", "embedding.projections.")

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
        self.embedding = ObservationEmbedding(config, embodiments)
        self.action_embedding = _action_embedding(config, embodiments, chunk)
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
        self.prompt_encoder = (
            PromptEncoder(
                config.prompt,
                config.width,
                pictures=prompt_images,
                visual_tokens=self.visual_tokens,
            )
            if config.prompt
            else None
        )
        self.prompt_blocks = nn.ModuleList(
            _prompt_block(config, config.prompt) for _ in self.blocks if config.prompt
        )
        self.prefixed = config.prompt is not None and config.prompt.conditioning == "prefix"

    def load_pretrained(self) -> tuple[str, ...]:
        """Start the image encoders from the pretrained weights that the config names, if it names
        any. Returns prefixes of the parameters that were loaded."""
        return (
            ("embedding.encoders.",)
            if load_encoders(self.config.encoder, self.embedding.encoders.values())
            else ()
        )

    def visual_features(
        self, images: UInt8[Tensor, "n c h w"], camera: str
    ) -> Float[Tensor, "n v d"]:
        """The visual tokens of frames of a camera (or slot), which a `Batch` may bring as
        `features` while the encoders are frozen."""
        return self.embedding.visual(images, camera)

    def embed(self, batch: Batch) -> Tokens:
        """A batch's tokens, before any step knows of another."""
        real = batch.chunk_mask[..., None] & batch.action_mask[:, None, None, :]
        return Tokens(
            visual=self.embedding.embed_visual(batch, batch.embodiment),
            state=self.embedding.embed_state(batch.state, batch.state_mask),
            action=self.action_embedding(batch.action, real, batch.embodiment),
        )

    def encode_prompt(
        self,
        prompts: tuple[Prompt, ...],
        pictures: PromptImages | None = None,
        embodiment: Int[Tensor, "b"] | None = None,
    ) -> PromptTokens | None:
        """The prompts' tokens, or None where the model takes no prompt. pictures: those in the
        prompts."""
        if self.prompt_encoder is None:
            return None
        return self.prompt_encoder(
            prompts, None if pictures is None else self._embed_pictures(pictures, embodiment)
        )

    def _embed_pictures(
        self, pictures: PromptImages, embodiment: Int[Tensor, "b"] | None
    ) -> ImageTokens:
        real = pictures.action_mask[..., None, None].expand(pictures.action.shape)
        return ImageTokens(
            visual=self.embedding.embed_visual(pictures, embodiment),
            action=self.action_embedding(pictures.action, real, embodiment),
            mask=pictures.mask[..., None] & self.embedding.real(embodiment)[:, None, :-1],
            action_mask=pictures.action_mask,
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
        """Run the blocks. attention: who sees whom (nn.masks). mask: real steps, needed where the
        future is seen."""
        t = tokens.state.shape[1]
        assert t <= self.steps, (t, self.steps)
        x = torch.cat([tokens.observation, tokens.action[:, :, None]], dim=2)
        x = x + self._slots(embodiment) + self.step_embedding.weight[:t, None]
        x = rearrange(x, "b t n d -> b (t n) d")
        allowed = attention_pattern(attention, steps=t, visual=self.visual_tokens, device=x.device)
        if attention == "full" and mask is not None:
            allowed = (
                allowed & mask.repeat_interleave(self.visual_tokens + 2, dim=1)[:, None, None, :]
            )
        real = self._real(embodiment)
        if real is not None:
            allowed = without_absent(allowed, real.repeat(1, t))
        x = rearrange(self._run(x, allowed, prompt), "b (t n) d -> b t n d", t=t)
        if real is not None:
            x = x.masked_fill(~real[:, None, :, None], 0)
        return Tokens(visual=x[:, :, :-2], state=x[:, :, -2], action=x[:, :, -1])

    def decode_present(
        self,
        observation: Float[Tensor, "b t o d"],
        *,
        prompt: PromptTokens | None = None,
        embodiment: Int[Tensor, "b"] | None = None,
    ) -> Float[Tensor, "b t o d"]:
        """Run the blocks over each step's observation by itself, as if a window began there.

        The same as `decode` of windows of one step, but neither actions nor other steps cost
        anything.
        """
        t = observation.shape[1]
        x = observation + self._slots(embodiment)[..., :-1, :] + self.step_embedding.weight[0]
        real, allowed = self._real(embodiment), None
        if real is not None:
            everyone = torch.ones((), dtype=torch.bool, device=x.device)
            allowed = without_absent(everyone, real[:, :-1].repeat_interleave(t, dim=0))
        if prompt is not None and self.prefixed:
            told = PromptTokens(
                prompt.tokens.repeat_interleave(t, dim=0), prompt.mask.repeat_interleave(t, dim=0)
            )
            rows = rearrange(x, "b t o d -> (b t) o d")
            if allowed is None:
                allowed = torch.ones(x.shape[2], x.shape[2], dtype=torch.bool, device=x.device)
            x = rearrange(self._run(rows, allowed, told), "(b t) o d -> b t o d", t=t)
        else:
            for index, block in enumerate(self.blocks):
                if prompt is not None:
                    x = rearrange(x, "b t o d -> b (t o) d")
                    x = self.prompt_blocks[index](x, prompt.tokens, prompt.mask)
                    x = rearrange(x, "b (t o) d -> b t o d", t=t)
                x = rearrange(
                    block(rearrange(x, "b t o d -> (b t) o d"), allowed),
                    "(b t) o d -> b t o d",
                    t=t,
                )
            x = self.norm(x)
        return x if real is None else x.masked_fill(~real[:, None, :-1, None], 0)

    def _slots(self, embodiment: Int[Tensor, "b"] | None) -> Float[Tensor, "*rows n d"]:
        """The embedding of each token's place in a step, (n, d) for all rows alike or (b, 1, n,
        d)."""
        if embodiment is None:
            return self.slot_embedding.weight
        return rearrange(
            self.slot_embedding.weight, "(e n) d -> e n d", e=len(self.embodiments.specs)
        )[embodiment][:, None]

    def _real(self, embodiment: Int[Tensor, "b"] | None) -> Bool[Tensor, "b n"] | None:
        """Which tokens of a step are there; None where all are."""
        if embodiment is None or self.embedding.all_tokens:
            return None
        return F.pad(self.embedding.real(embodiment), (0, 1), value=True)

    def _run(
        self, x: Float[Tensor, "b l d"], allowed: Bool[Tensor, "..."], prompt: PromptTokens | None
    ) -> Float[Tensor, "b l d"]:
        """The blocks over a stream of tokens, told by the prompt. allowed: who sees whom, to (b, 1,
        l, l)."""
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


def _action_embedding(
    config: ControlTransformerConfig, embodiments: EmbodimentSet, chunk: int
) -> ActionEmbedding | ActionEmbeddings:
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


def _prompt_block(config: ControlTransformerConfig, prompt: PromptConfig) -> Block | CrossBlock:
    if prompt.conditioning == "prefix":
        return Block(config.width, config.heads, dropout=config.dropout, identity=True)
    return CrossBlock(config.width, config.heads, dropout=config.dropout)
