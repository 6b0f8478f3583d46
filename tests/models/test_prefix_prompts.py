"""Prompts as a prefix of the stream: the parameters of cross-attention, and no trace of padding."""

from __future__ import annotations

import pytest
import torch
from factories import OBJECTIVES, generator, make_batch, make_prompt_config, make_system

from manyparts.core.records import Prompt

SHORT, LONG = Prompt("open"), Prompt("open the drawer that is on the left")


def prefixed(**changes):
    return make_system(prompt=make_prompt_config(conditioning="prefix"), **changes)


def test_prefix_and_cross_attention_share_parameters():
    prefix, cross_attention = prefixed().state_dict(), make_system().state_dict()
    assert {name: value.shape for name, value in prefix.items()} == {
        name: value.shape for name, value in cross_attention.items()
    }


@pytest.mark.parametrize("attention", ["causal", "full"])
def test_prompt_does_not_depend_on_padding(attention):
    model, batch = prefixed().model, make_batch(2)
    tokens = model.embed(batch)

    def decoded(*prompts: Prompt) -> torch.Tensor:
        return model.decode(
            tokens, attention, mask=batch.mask, prompt=model.encode_prompt(prompts)
        ).action

    torch.testing.assert_close(decoded(SHORT, LONG)[0], decoded(SHORT, SHORT)[0])
    assert not torch.allclose(decoded(SHORT, LONG)[1], decoded(SHORT, SHORT)[1])


def test_objectives_without_prompt_skip_prefix():
    system, batch = (
        prefixed(objectives={"inverse_dynamics": OBJECTIVES["inverse_dynamics"]}),
        make_batch(),
    )
    losses = system.losses(batch, generator())
    losses["inverse_dynamics"].mean().backward()
    assert all(value.grad is None for value in system.model.prompt_blocks.parameters())
