"""Weights that the user has: a `transformers` ViT into ours, a frozen CLIP, T5 or BERT text encoder
as it is."""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from manyparts.core.errors import UserError
from manyparts.models.encoders import EncoderConfig, ViT, ViTConfig
from manyparts.models.huggingface import from_pretrained

_INSTRUCTIONS_KEPT = 10_000
_RENAMED = (
    (r"^embeddings\.cls_token$", "class_token"),
    (r"^embeddings\.position_embeddings$", "position_embedding"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embedding."),
    (r"^layernorm\.", "norm."),
    (r"^(?:encoder\.layer|layers)\.(\d+)\.", r"blocks.\1."),
    (r"\.layernorm_before\.", ".attention_norm."),
    (r"\.layernorm_after\.", ".feed_forward_norm."),
    (r"\.attention\.q_proj\.", ".attention.query."),
    (r"\.attention\.o_proj\.", ".attention.output."),
    (r"\.mlp\.fc1\.", ".feed_forward.0."),
    (r"\.mlp\.fc2\.", ".feed_forward.2."),
)


def load_encoders(config: EncoderConfig, encoders: Iterable[nn.Module]) -> bool:
    """Start image encoders from the pretrained weights that their config names; whether it names
    any."""
    source = config.pretrained if isinstance(config, ViTConfig) else None
    if not source:
        return False
    for encoder in encoders:
        assert isinstance(encoder, ViT), type(encoder)
        load_vit(encoder, source)
    return True


def load_vit(vit: ViT, source: str) -> None:
    """Copy the weights of the `transformers` ViTModel at `source` (a folder or a cached Hub id)
    into `vit`.

    Raises UserError if `transformers` or the weights are missing, or if a shape differs.
    """
    model = from_pretrained("ViTModel", source, add_pooling_layer=False)
    weights = _renamed(model.state_dict())
    ours = vit.state_dict()
    for name, tensor in weights.items():
        if name not in ours or ours[name].shape != tensor.shape:
            expected = tuple(ours[name].shape) if name in ours else "absent"
            raise UserError(
                f"{source}: weight {name} has shape {tuple(tensor.shape)}; this model's is {expected}"
            )
    vit.load_state_dict(weights)
    for block in [*vit.blocks, vit]:
        for layer in block.children():
            if isinstance(layer, nn.LayerNorm):
                layer.eps = model.config.layer_norm_eps


def _renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of a `transformers` ViT under our names, with key and value projections joined."""
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in _RENAMED:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    renamed["position_embedding"] = renamed["position_embedding"][0]
    for name in [name for name in renamed if ".k_proj." in name]:
        value = renamed.pop(name.replace(".k_proj.", ".v_proj."))
        renamed[name.replace(".k_proj.", ".key_value.")] = torch.cat([renamed.pop(name), value])
    return renamed


class PretrainedText(nn.Module):
    """A frozen text encoder of `transformers` (CLIP, T5 or BERT): instructions to their word
    tokens' last hidden states, which are kept, since training says the same instructions over and
    over."""

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
                f"{source} is a {kind} model; known text encoders: {', '.join(sorted(classes))}"
            )
        self.encoder = from_pretrained(classes[kind], source).requires_grad_(False).eval()
        self.tokenizer = from_pretrained("AutoTokenizer", source)
        self.width: int = self.encoder.config.hidden_size
        self.max_words = max_words
        self._encoded: dict[str, Tensor] = {}

    @torch.no_grad()
    def forward(
        self, instructions: tuple[str, ...]
    ) -> tuple[Float[Tensor, "b w d"], Bool[Tensor, "b w"]]:
        device = self.encoder.device
        if len(self._encoded) > _INSTRUCTIONS_KEPT:
            self._encoded.clear()
        for instruction in instructions:
            if instruction not in self._encoded:
                self._encoded[instruction] = self._encode(instruction).cpu()
        rows = [self._encoded[instruction].to(device) for instruction in instructions]
        lengths = torch.tensor([len(row) for row in rows], device=device)
        hidden = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return hidden, torch.arange(hidden.shape[1], device=device) < lengths[:, None]

    def tokens(self, instruction: str) -> tuple[int, ...]:
        """The numbers that the encoder reads of an instruction, cut to `max_words`."""
        return tuple(
            self.tokenizer([instruction], truncation=True, max_length=self.max_words)["input_ids"][
                0
            ]
        )

    def _encode(self, instruction: str) -> Float[Tensor, "w d"]:
        words = self.tokenizer(
            [instruction], truncation=True, max_length=self.max_words, return_tensors="pt"
        )
        with torch.autocast(self.encoder.device.type, enabled=False):
            return self.encoder(**words.to(self.encoder.device)).last_hidden_state[0].float()

    def train(self, mode: bool = True) -> PretrainedText:
        """Frozen: stays in evaluation mode."""
        return super().train(False)
