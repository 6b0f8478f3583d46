"""Weights of `transformers` models: a ViT's for our encoder, and frozen text encoders."""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from manyparts.core.errors import UserError
from manyparts.models.configs import EncoderConfig, ViTConfig
from manyparts.models.encoders import ViT
from manyparts.models.huggingface import from_pretrained

_MAX_CACHED = 10_000  # instructions
# Patterns of a `transformers` ViT's names, and what stands in their stead in our `ViT`.
_RENAMED = (
    (r"^embeddings\.cls_token$", "class_token"),
    (r"^embeddings\.position_embeddings$", "position_embedding"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embedding."),
    (r"^layernorm\.", "norm."),
    # Versions of `transformers` name the layers in two ways.
    (r"^(?:encoder\.layer|layers)\.(\d+)\.", r"blocks.\1."),
    (r"\.layernorm_before\.", ".attention_norm."),
    (r"\.layernorm_after\.", ".feed_forward_norm."),
    (r"\.attention\.q_proj\.", ".attention.query."),
    (r"\.attention\.o_proj\.", ".attention.output."),
    (r"\.mlp\.fc1\.", ".feed_forward.0."),
    (r"\.mlp\.fc2\.", ".feed_forward.2."),
)


def load_encoders(config: EncoderConfig, encoders: Iterable[nn.Module]) -> bool:
    """Load the pretrained weights that the config names into image encoders.

    Args:
        config: Of all of these encoders. Only a `ViTConfig` names weights here.
        encoders: Their weights are replaced.

    Returns:
        Whether the config names any.

    Raises:
        UserError: See `load_vit`.
    """
    source = config.pretrained if isinstance(config, ViTConfig) else None
    if not source:
        return False
    for encoder in encoders:
        assert isinstance(encoder, ViT), type(encoder)
        load_vit(encoder, source)
    return True


def load_vit(vit: ViT, source: str) -> None:
    """Copy the weights of a `transformers` ViTModel into `vit`.

    Args:
        vit: Of the same sizes.
        source: Folder or cached Hub id.

    Raises:
        UserError: `transformers` or the weights are missing, or a shape or the epsilon differs.
    """
    model = from_pretrained("ViTModel", source, add_pooling_layer=False)
    if (epsilon := model.config.layer_norm_eps) != vit.norm.eps:
        raise UserError(
            f"{source} was trained with an epsilon of {epsilon:g}, this encoder has "
            f"{vit.norm.eps:g}; choose another source"
        )
    weights = _renamed(model.state_dict())
    own = vit.state_dict()
    for name, tensor in weights.items():
        if name not in own or own[name].shape != tensor.shape:
            expected = tuple(own[name].shape) if name in own else "absent"
            raise UserError(
                f"{source}: weight {name} has shape {tuple(tensor.shape)}; "
                f"this model's is {expected}: set model.encoder to the sizes of the source"
            )
    vit.load_state_dict(weights)


def _renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of a `transformers` ViT under our names and in our shapes."""
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in _RENAMED:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    renamed["position_embedding"] = renamed["position_embedding"][0]  # without its batch dimension
    # Key and value are one projection here: its outputs are all keys, then all values.
    for name in [name for name in renamed if ".k_proj." in name]:
        value = renamed.pop(name.replace(".k_proj.", ".v_proj."))
        renamed[name.replace(".k_proj.", ".key_value.")] = torch.cat([renamed.pop(name), value])
    return renamed


class PretrainedText(nn.Module):
    """A frozen text encoder of `transformers` (CLIP, T5 or BERT).

    Instructions become the last hidden states of their word tokens. Results are cached, since
    training meets the same instructions over and over.

    Args:
        source: Folder or Hub id.
        max_words: Number of the encoder's own tokens that are read.
    """

    def __init__(self, source: str, max_words: int):
        super().__init__()
        kind = from_pretrained("AutoConfig", source).model_type
        classes = {
            "bert": "BertModel",
            "clip": "CLIPTextModel",
            "clip_text_model": "CLIPTextModel",
            "t5": "T5EncoderModel",
        }
        if kind not in classes:
            raise UserError(
                f"{source} is a {kind} model; supported text encoders: {', '.join(sorted(classes))}"
            )
        self.encoder = from_pretrained(classes[kind], source).requires_grad_(False).eval()
        self.tokenizer = from_pretrained("AutoTokenizer", source)
        self.width: int = self.encoder.config.hidden_size
        self.max_words = max_words
        self._encoded: dict[str, Tensor] = {}  # on the CPU

    @torch.no_grad()
    def forward(
        self, instructions: tuple[str, ...]
    ) -> tuple[Float[Tensor, "b w d"], Bool[Tensor, "b w"]]:
        """Return tokens, padded to the longest instruction, and which are not padding."""
        device = self.encoder.device
        if len(self._encoded) > _MAX_CACHED:
            self._encoded.clear()
        # One by one, without padding: a row does not depend on what else is in the batch.
        for instruction in instructions:
            if instruction not in self._encoded:
                self._encoded[instruction] = self._encode(instruction).cpu()
        rows = [self._encoded[instruction].to(device) for instruction in instructions]
        lengths = torch.tensor([len(row) for row in rows], device=device)
        hidden = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return hidden, torch.arange(hidden.shape[1], device=device) < lengths[:, None]

    def tokens(self, instruction: str) -> tuple[int, ...]:
        """Return the token ids that the encoder reads of an instruction, at most `max_words`."""
        encoding = self.tokenizer([instruction], truncation=True, max_length=self.max_words)
        return tuple(encoding["input_ids"][0])

    def _encode(self, instruction: str) -> Float[Tensor, "w d"]:
        """Return the hidden states of one instruction, in float32 also under autocast."""
        words = self.tokenizer(
            [instruction], truncation=True, max_length=self.max_words, return_tensors="pt"
        )
        with torch.autocast(self.encoder.device.type, enabled=False):
            return self.encoder(**words.to(self.encoder.device)).last_hidden_state[0].float()

    def train(self, mode: bool = True) -> PretrainedText:
        """Stay in evaluation mode, whatever is asked."""
        return super().train(False)
