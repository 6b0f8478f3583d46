"""Presets: sizes, the parts that phase II trains, and the facts about each."""

from __future__ import annotations

import re
from dataclasses import replace
from fnmatch import fnmatch

import pytest

from manyparts import methods
from manyparts.core.errors import UserError
from manyparts.core.spec import ActionContract, Spec
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.methods import dualmind, inverse_dynamics, transformer_dynamics
from manyparts.methods.dualmind import trained_parts
from manyparts.models.configs import PromptConfig, SmallTextConfig
from manyparts.objectives.system import System


def sawyer(size: int) -> Spec:
    """An arm as Meta-World has it, with one camera of size x size pixels."""
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
    """Parameters learned by gradient, but for the text encoder's: name to their number."""
    names = {
        name: value.numel() for name, value in system.named_parameters() if value.requires_grad
    }
    return {name: count for name, count in names.items() if "prompt_encoder.text" not in name}


@pytest.mark.slow
def test_base_has_the_papers_size() -> None:
    first = learned(build("dualmind/phase1-base", 224))
    second = learned(build("dualmind/phase2-base", 224))
    assert sum(first.values()) == pytest.approx(150e6, rel=0.02)
    assert sum((first | second).values()) == pytest.approx(175e6, rel=0.02)


@pytest.mark.parametrize("variant", [1, 2, 3, 4])
def test_variants_train_more_and_more_parameters(variant: int) -> None:
    config = methods.preset("dualmind/phase2-laptop")
    names = list(learned(build("dualmind/phase2-laptop", 64)))

    def trained(variant: int) -> set[str]:
        patterns = trained_parts(variant, layers=config.model.layers) or ("*",)
        assert all(any(fnmatch(name, pattern) for name in names) for pattern in patterns)
        return {name for name in names if any(fnmatch(name, pattern) for pattern in patterns)}

    assert trained(variant)
    assert all(trained(smaller) < trained(variant) for smaller in range(1, variant))
    assert any("encoders" in name for name in trained(variant)) == (variant == 4)


@pytest.mark.parametrize("name", methods.preset_names())
def test_phase_two_continues_phase_one(name: str) -> None:
    config = methods.preset(name)
    assert hash((config.method, config.phase, config.window)) and config == methods.preset(name)
    if config.phase == "phase2":
        first = methods.preset(re.sub(r"phase2.*-", "phase1-", name))
        assert replace(config.model, prompt=None) == first.model
        assert replace(config.window, goal_image=False, demonstration_frames=0) == first.window


def test_unknown_presets_name_the_choices() -> None:
    with pytest.raises(
        UserError, match=r"unknown preset 'dualmind/phase3'; .*choices: .*dualmind/phase1-base"
    ):
        methods.preset("dualmind/phase3")


def test_every_preset_has_facts() -> None:
    for name in methods.preset_names():
        facts = methods.describe(name)
        assert facts.what.endswith(".") and len(facts.what) < 100, name
    for module in (dualmind, inverse_dynamics, transformer_dynamics):
        described = {
            name.partition("/")[2]
            for name in methods.preset_names()
            if methods.preset_function(name)[0].__module__ == module.__name__
        }
        assert described == set(module.FACTS)
    with pytest.raises(UserError, match="unknown preset"):
        methods.describe("dualmind/phase3")


@pytest.mark.parametrize(
    "name", ["phase1-laptop", "phase2-laptop", "phase2-metaworld45", "phase2-prompts-laptop"]
)
def test_facts_count_parameters_as_built(name: str) -> None:
    config = methods.preset(f"dualmind/{name}")
    embodiments = EmbodimentSet((sawyer(64),))
    system = System.build(config.model, config.objectives, embodiments, config.window)
    count = sum(value.numel() for value in system.parameters() if value.requires_grad)
    assert methods.describe(f"dualmind/{name}").parameters == count
