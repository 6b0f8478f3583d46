"""Presets hold together; `base` has the paper's size; phase II trains the parts it names."""

from __future__ import annotations

import re
from dataclasses import replace
from fnmatch import fnmatch

import pytest

from manyparts import methods
from manyparts.core.errors import UserError
from manyparts.core.spec import ActionContract, Spec
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.methods.dualmind import trained_parts
from manyparts.models.prompts import PromptConfig, SmallTextConfig
from manyparts.objectives.system import System


def sawyer(size: int) -> Spec:
    contract = ActionContract(
        "delta_position", "world", ("x", "y", "z", "grip"), (-1.0,) * 4, (1.0,) * 4, 80.0
    )
    return Spec("sawyer", {"corner2": (size, size)}, ("x", "y", "z", "opening"), contract)


def build(name: str, size: int) -> System:
    config = methods.preset(name)
    model = config.model
    if model.prompt:  # the paper's frozen CLIP is not counted, and is not on a test machine
        model = replace(
            model, prompt=PromptConfig(SmallTextConfig(width=512, layers=0, vocabulary=1))
        )
    return System.build(model, config.objectives, EmbodimentSet((sawyer(size),)), config.window)


def learned(system: System) -> dict[str, int]:
    """Parameters learned by gradient, by name: the averaged target encoder and the text encoder do
    not count."""
    names = {
        name: value.numel() for name, value in system.named_parameters() if value.requires_grad
    }
    return {name: count for name, count in names.items() if "prompt_encoder.text" not in name}


def test_base_has_the_size_of_the_paper():
    first, second = (
        learned(build("dualmind/phase1-base", 224)),
        learned(build("dualmind/phase2-base", 224)),
    )
    assert sum(first.values()) == pytest.approx(150e6, rel=0.02)
    assert sum((first | second).values()) == pytest.approx(175e6, rel=0.02)


@pytest.mark.parametrize("variant", [1, 2, 3, 4])
def test_each_variant_names_parameters_that_exist_and_trains_more_than_the_one_before(variant):
    config = methods.preset("dualmind/phase2-laptop")
    names = list(learned(build("dualmind/phase2-laptop", 64)))

    def trained(variant: int) -> set[str]:
        patterns = trained_parts(variant, layers=config.model.layers) or ("*",)
        assert all(any(fnmatch(name, pattern) for name in names) for pattern in patterns)
        return {name for name in names if any(fnmatch(name, pattern) for pattern in patterns)}

    assert trained(variant) and all(
        trained(smaller) < trained(variant) for smaller in range(1, variant)
    )
    assert any("encoders" in name for name in trained(variant)) == (variant == 4)


@pytest.mark.parametrize("name", methods.preset_names())
def test_preset_is_frozen_and_starts_phase_two_from_phase_one(name):
    config = methods.preset(name)
    assert hash((config.method, config.phase, config.window)) and config == methods.preset(name)
    if config.phase == "phase2":
        first = methods.preset(re.sub(r"phase2.*-", "phase1-", name))
        assert replace(config.model, prompt=None) == first.model
        assert replace(config.window, goal_image=False, demonstration_frames=0) == first.window


def test_unknown_preset_names_the_choices():
    with pytest.raises(
        UserError, match=r"unknown preset 'dualmind/phase3'; .*choices: .*dualmind/phase1-base"
    ):
        methods.preset("dualmind/phase3")
