"""Prompts to prompt tokens: instructions by a text encoder, images by the agent's own encoders.

Dimensions: b prompts, p prompt tokens, f images per prompt, v visual tokens per image, w words,
d numbers per token.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from manyparts.core.records import Prompt
from manyparts.data.instructions import words
from manyparts.models.configs import PretrainedTextConfig, PromptConfig
from manyparts.models.pretrained import PretrainedText
from manyparts.nn.transformer import Block


@dataclass(frozen=True)
class PromptTokens:
    """The tokens of b prompts."""

    tokens: Float[Tensor, "b p d"]
    """Tokens, padded to the longest prompt."""

    mask: Bool[Tensor, "b p"]
    """Tokens that are not padding; at least one per row."""

    def __post_init__(self) -> None:
        shapes = tuple(self.tokens.shape), tuple(self.mask.shape)
        assert self.tokens.shape[:2] == self.mask.shape, shapes


@dataclass(frozen=True)
class ImageTokens:
    """The tokens of the f images in each prompt, and of what was done after each."""

    visual: Float[Tensor, "b f v d"]
    """Visual tokens of each image."""

    action: Float[Tensor, "b f d"]
    """Token of the chunk of actions after each image."""

    mask: Bool[Tensor, "b f v"]
    """Visual tokens that are present."""

    action_mask: Bool[Tensor, "b f"]
    """Action tokens that are present."""


class PromptEncoder(nn.Module):
    """Prompts to tokens of the decoder's width: one per word, and those of every image.

    Args:
        config: Which text encoder.
        width: The decoder's width.
        num_images: Images that a prompt may have: the goal's, then a demonstration's frames.
        visual_tokens: Visual tokens per image.
    """

    def __init__(
        self, config: PromptConfig, width: int, *, num_images: int = 0, visual_tokens: int = 0
    ):
        super().__init__()
        self.num_images = num_images
        self.text: PretrainedText | SmallText
        if isinstance(config.text, PretrainedTextConfig):
            self.text = PretrainedText(config.text.source, config.text.max_words)
        else:
            text = config.text
            self.text = SmallText(
                text.width, text.layers, text.heads, text.vocabulary, text.max_words
            )
        # Text encoders differ in the scale of their features; the norm makes it one.
        self.project = nn.Linear(self.text.width, width)
        self.norm = nn.LayerNorm(width)
        if num_images:
            # A position per token of each image: its visual tokens, then its action token.
            self.place_embedding = nn.Parameter(
                torch.randn(num_images, visual_tokens + 1, width) * 0.02
            )
            self.picture_norm = nn.LayerNorm(width)

    def tokens(self, instruction: str) -> tuple[int, ...]:
        """Return the text encoder's token ids: instructions of equal ids are equal to the agent."""
        return self.text.tokens(instruction)

    def forward(
        self, prompts: tuple[Prompt, ...], images: ImageTokens | None = None
    ) -> PromptTokens:
        """Return the tokens of prompts.

        A prompt without an instruction has the tokens of the empty one, so that each row has a
        token to attend to.

        Args:
            prompts: One per row.
            images: Tokens of the images in the prompts; None where these have none.
        """
        said = [prompt.instruction or "" for prompt in prompts]
        # Equal instructions of a batch are encoded once; `rows` gives each prompt its own.
        instructions = tuple(dict.fromkeys(said))
        hidden, mask = self.text(instructions)
        tokens = self.norm(self.project(hidden))
        rows = torch.tensor(
            [instructions.index(instruction) for instruction in said], device=tokens.device
        )
        text = PromptTokens(tokens[rows], mask[rows])
        if images is None:
            return text
        no_text = torch.tensor(
            [prompt.instruction is None for prompt in prompts], device=text.mask.device
        )
        return self.with_images(text, no_text, images)

    def of_words(self, index: Int[Tensor, "b w"], mask: Bool[Tensor, "b w"]) -> PromptTokens:
        """Return the tokens of instructions, of the ids of their words; see `SmallText`.

        Args:
            index: Ids.
            mask: Words that are not padding.
        """
        assert isinstance(self.text, SmallText), type(self.text)
        return PromptTokens(self.norm(self.project(self.text.encoded(index, mask))), mask)

    def with_images(
        self, text: PromptTokens, no_text: Bool[Tensor, "b"], images: ImageTokens
    ) -> PromptTokens:
        """Return the tokens of texts and images together: all words first, then image by image.

        Args:
            text: Tokens of the instructions.
            no_text: Prompts without an instruction, which have the tokens of the empty one.
            images: Tokens of the images.
        """
        # A prompt may have neither: then the empty instruction is all there is to attend to.
        has_image = images.mask.flatten(1).any(dim=1)
        # The empty instruction steps back where there is an image to attend to in its stead.
        text_mask = text.mask & ~(no_text & has_image)[:, None]
        tokens = torch.cat([images.visual, images.action[:, :, None]], dim=2) + self.place_embedding
        real = torch.cat([images.mask, images.action_mask[..., None]], dim=-1)
        tokens = rearrange(self.picture_norm(tokens), "b f n d -> b (f n) d")
        real = rearrange(real, "b f n -> b (f n)")
        return PromptTokens(
            torch.cat([text.tokens, tokens], dim=1), torch.cat([text_mask, real], dim=1)
        )


class SmallText(nn.Module):
    """Hashed word embeddings in their order, through a few transformer blocks."""

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
        """Return tokens, padded to the longest instruction, and which are not padding."""
        rows = [self.tokens(instruction) for instruction in instructions]
        device = self.word_embedding.weight.device
        longest = max(map(len, rows))
        # Padding is word 0 of the vocabulary, which the mask hides.
        index = torch.tensor([row + (0,) * (longest - len(row)) for row in rows], device=device)
        mask = torch.tensor(
            [[True] * len(row) + [False] * (longest - len(row)) for row in rows], device=device
        )
        return self.encoded(index, mask), mask

    def encoded(
        self, index: Int[Tensor, "b w"], mask: Bool[Tensor, "b w"]
    ) -> Float[Tensor, "b w d"]:
        """Return tokens of words.

        Args:
            index: Ids of the words; see `tokens`.
            mask: Words that are not padding.
        """
        x = self.word_embedding(index) + self.position_embedding.weight[: index.shape[1]]
        for block in self.blocks:
            x = block(x, mask[:, None, None, :])
        return x

    def tokens(self, instruction: str) -> tuple[int, ...]:
        """Return the ids of an instruction's words, at least one: an empty one is the word "".

        If it is too long, all words beyond the last but one id share the last id, so that
        instructions that differ only there still differ.
        """
        said = words(instruction) or ("",)
        if len(said) > self.max_words:
            rest = said[self.max_words - 1 :]
            said = (*said[: self.max_words - 1], " ".join(rest))
        # CRC-32 and not `hash`, which differs from process to process.
        return tuple(zlib.crc32(word.encode()) % self.vocabulary for word in said)
