"""A model as it is exported computes what the model does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from factories import SIZE, make_model_config, make_prompt_config, make_spec

from manyparts.embodiment.codec import padded
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.exporting.exportable import Attended, as_read, exportable, of_state
from manyparts.models.configs import KeypointEncoderConfig, ViTConfig
from manyparts.models.control_transformer import ControlTransformer, Tokens
from manyparts.models.prompt_encoder import PromptTokens

ROWS, STEPS, WORDS = 3, 2, 4
ONE = EmbodimentSet((make_spec(),))
TWO = EmbodimentSet(
    (make_spec(), replace(make_spec(cameras=("front", "wrist")), embodiment="other"))
)


@pytest.mark.parametrize("is_operator", [False, True], ids=["parts", "operator"])
@pytest.mark.parametrize(
    ("embodiments", "changes"),
    [
        (ONE, {}),
        (TWO, {}),
        (ONE, {"prompt": None}),
        (ONE, {"prompt": make_prompt_config(conditioning="prefix")}),
        (ONE, {"encoder": ViTConfig(width=8, patch=8, layers=1, heads=2)}),
        (ONE, {"encoder": KeypointEncoderConfig(maps=4, layers=((4, 3, 2),))}),
    ],
    ids=["plain", "two embodiments", "no prompt", "prefix", "vit", "keypoints"],
)
def test_it_computes_what_the_model_does(
    embodiments: EmbodimentSet, changes: dict[str, Any], is_operator: bool
) -> None:
    torch.manual_seed(0)
    model = ControlTransformer(make_model_config(**changes), embodiments, chunk=2, steps=STEPS)
    with torch.no_grad():
        for parameter in model.parameters():  # layers that are the identity would show nothing
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.eval()
    other = exportable(model)
    for module in other.modules():
        if isinstance(module, Attended):
            module.is_operator = is_operator
    row = torch.arange(ROWS) % 2 if embodiments is TWO else None
    slot = next(iter(embodiments.slots))
    images = torch.randint(0, 256, (ROWS, 3, SIZE, SIZE), dtype=torch.uint8)
    with torch.no_grad():
        visual = model.embedding.visual(images, slot)
        same(other.embedding.visual(images, slot), visual)
        width = model.config.width
        tokens = Tokens(
            torch.randn(ROWS, STEPS, model.visual_tokens, width),
            torch.randn(ROWS, STEPS, width),
            torch.randn(ROWS, STEPS, width),
        )
        prompt = read = None
        if model.prompt_encoder is not None:
            mask = torch.arange(WORDS) < torch.tensor([[1], [3], [WORDS]])
            prompt = PromptTokens(torch.randn(ROWS, WORDS, width), mask)
            read = as_read(model, prompt)
        same(
            other.decode(tokens, "causal", prompt=read, embodiment=row).observation,
            model.decode(tokens, "causal", prompt=prompt, embodiment=row).observation,
        )
        same(
            other.decode_present(tokens.observation, prompt=read, embodiment=row),
            model.decode_present(tokens.observation, prompt=prompt, embodiment=row),
        )


@pytest.mark.parametrize(("largest", "dimension"), [(5, 5), (5, 3), (5, 0), (0, 0)])
def test_padding_of_a_state_is_in_the_bias(largest: int, dimension: int) -> None:
    spec = replace(make_spec(), state_names=tuple("abcde"[:largest]))
    model = ControlTransformer(make_model_config(), EmbodimentSet((spec,)), chunk=2, steps=1)
    state = torch.randn(ROWS, dimension)
    real = (torch.arange(largest) < dimension).expand(ROWS, -1)
    with torch.no_grad():
        expected = model.embedding.embed_state(padded(state[:, None], largest), real)[:, 0]
        same(of_state(model, dimension)(state), expected)


def same(ours: torch.Tensor, expected: torch.Tensor) -> None:
    assert torch.isfinite(expected).all()
    assert expected.std() > 0.05
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
