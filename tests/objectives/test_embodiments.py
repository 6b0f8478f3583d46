"""Two unlike bodies in one batch: what a body lacks has no influence, and each row learns through
its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from embodiments import ARM, BOTH, CRAWLER, make_mixed_batch, rows_of
from factories import (
    ANY_PROMPT,
    CHUNK,
    OBJECTIVES,
    STEPS,
    generator,
    make_prompt_config,
    make_system,
)

from manyparts.core.records import Batch, PromptImages
from manyparts.models.configs import ConvEncoderConfig
from manyparts.models.control_transformer import Tokens
from manyparts.objectives.base import Passes
from manyparts.objectives.configs import (
    BehaviourCloningConfig,
    ForwardDynamicsConfig,
    InverseDynamicsConfig,
)
from manyparts.objectives.system import System

WHOSE = (0, 1, 1, 0)
ENCODER = ConvEncoderConfig(width=8, layers=((8, 4, 4),))
KINDS: dict[str, Any] = {
    **OBJECTIVES,
    "forward_dynamics_online": ForwardDynamicsConfig(target="online"),
    "inverse_dynamics_with_state": InverseDynamicsConfig(hidden=16, attention="inverse"),
    "behaviour_cloning_of_the_present": BehaviourCloningConfig(hidden=16, attention="present"),
}


def system_of(*names: str, **changes: Any) -> System:
    return make_system(
        objectives={name: KINDS[name] for name in names}, spec=BOTH, **changes
    ).eval()


def other_padding(batch: Batch) -> Batch:
    """The same rows with other numbers and pictures where their body has none."""
    crawler = batch.embodiment == 1
    images = dict(batch.images)
    images["slot1"] = torch.where(
        crawler[:, None, None, None, None], images["slot1"], 255 - images["slot1"]
    )
    return replace(
        batch,
        images=images,
        state=torch.where(batch.state_mask[:, None], batch.state, 7.0),
        action=torch.where(batch.action_mask[:, None, None], batch.action, 7.0),
        expert_action=torch.where(batch.action_mask[:, None, None], batch.expert_action, 7.0),
    )


def with_images(batch: Batch, seed: int = 3) -> Batch:
    draw, count = generator(seed), ANY_PROMPT.prompt_layout.count
    shape = (len(batch), count)
    return replace(
        batch,
        prompt_images=PromptImages(
            images={
                name: torch.randint(0, 256, (*shape, 3, *size), generator=draw, dtype=torch.uint8)
                for name, size in BOTH.slots.items()
            },
            features={},
            action=torch.rand(*shape, CHUNK, BOTH.action_dimension, generator=draw) * 2 - 1,
            mask=torch.ones(shape, dtype=torch.bool),
            action_mask=torch.ones(shape, dtype=torch.bool),
        ),
    )


@pytest.mark.parametrize("conditioning", ["cross_attention", "prefix"])
@pytest.mark.parametrize("name", KINDS)
def test_missing_inputs_change_no_loss(name: str, conditioning: str) -> None:
    system = system_of(name, prompt=make_prompt_config(conditioning=conditioning))
    batch = make_mixed_batch(WHOSE)
    loss, other = (system.losses(each, generator())[name] for each in (batch, other_padding(batch)))
    assert loss.value.isfinite().all()
    assert torch.equal(loss.value * loss.mask, other.value * other.mask) and torch.equal(
        loss.mask, other.mask
    )


@pytest.mark.parametrize("name", KINDS)
def test_embodiments_train_own_and_common_parts(name: str) -> None:
    for number, embodiment in enumerate(((0, 0), (1, 1))):
        system = system_of(name)
        system.losses(make_mixed_batch(embodiment), generator())[name].mean().backward()
        moved = {
            key
            for key, value in system.named_parameters()
            if value.grad is not None and value.grad.any()
        }
        assert {key for key in moved if f".of.{1 - number}." in key} == set()
        assert name.startswith("forward") or any(f"head.of.{number}." in key for key in moved)
        assert any(key.startswith("model.blocks") for key in moved)
        assert any(key.startswith("model.embedding.encoders.slot0") for key in moved)
        assert any(key.startswith("model.embedding.encoders.slot1") for key in moved) == (
            number == 1
        )


@pytest.mark.parametrize("name", ["inverse_dynamics", "masked_hindsight", "behaviour_cloning"])
def test_actions_count_equally_whatever_their_dimensions(name: str) -> None:
    system = system_of(name)
    system.set_progress(1.0)  # hindsight control hides every action
    mask = system.losses(make_mixed_batch(WHOSE), generator())[name].mask
    assert len(mask.sum(dim=(1, 2, 3)).unique()) == 1
    assert not mask[1:3, ..., CRAWLER.action.dimension :].any() and mask[0].all()


@pytest.mark.parametrize("conditioning", ["cross_attention", "prefix"])
@pytest.mark.parametrize("attention", ["causal", "inverse", "visual", "full", "present"])
def test_missing_tokens_are_never_attended(attention: Any, conditioning: str) -> None:
    model = system_of(
        "behaviour_cloning", prompt=make_prompt_config(conditioning=conditioning)
    ).model
    batch = make_mixed_batch(WHOSE)
    tokens, prompt = model.embed(batch), model.encode_prompt(batch.prompt)
    real = model.embedding.real(batch.embodiment)
    noise = torch.randn(tokens.observation.shape, generator=generator(4))
    changed = torch.where(real[:, None, :, None], tokens.observation, noise)

    def outputs(observation: torch.Tensor) -> torch.Tensor:
        if attention == "present":
            return model.decode_present(observation, prompt=prompt, embodiment=batch.embodiment)
        own = Tokens(observation[:, :, :-1], observation[:, :, -1], tokens.action)
        decoded = model.decode(
            own, attention, mask=batch.mask, prompt=prompt, embodiment=batch.embodiment
        )
        return torch.cat([decoded.observation, decoded.action[:, :, None]], dim=2)

    output, other = outputs(tokens.observation), outputs(changed)
    assert torch.equal(output, other)
    absent = output[:, :, : real.shape[1]][(~real)[:, None].expand(-1, STEPS, -1)]
    assert len(absent) and not absent.any()


@pytest.mark.parametrize("window", [None, ANY_PROMPT])
@pytest.mark.parametrize("name", ["behaviour_cloning", "behaviour_cloning_of_the_present"])
def test_mixture_does_not_change_a_row(name: str, window: Any) -> None:
    system = system_of(name, **({} if window is None else {"window": window}))
    batch = make_mixed_batch(WHOSE)
    if window is None:
        mixed = system.objectives[name].predict(Passes(system.model, batch, generator()))
        for rows in ([0, 3], [1, 2]):
            own = system.objectives[name].predict(
                Passes(system.model, rows_of(batch, rows), generator())
            )
            torch.testing.assert_close(own, mixed[rows])
    else:
        prompted = with_images(batch)
        prompt_images = prompted.prompt_images
        images = dict(prompt_images.images)
        images["slot1"] = torch.where(
            prompted.embodiment[:, None, None, None, None] == 1, images["slot1"], 0
        )
        action = torch.where(prompted.action_mask[:, None, None], prompt_images.action, 7.0)
        padded = replace(
            prompted, prompt_images=replace(prompt_images, images=images, action=action)
        )
        loss, padded_loss = (
            system.losses(each, generator())[name].value for each in (prompted, padded)
        )
        assert torch.equal(loss, padded_loss)
        shown = replace(
            prompted,
            prompt_images=replace(prompt_images, images={**images, "slot0": 255 - images["slot0"]}),
        )
        assert not torch.allclose(loss, system.losses(shown, generator())[name].value)


def test_embodiment_alone_changes_the_output() -> None:
    twin = replace(ARM, embodiment="twin")
    system = make_system(spec=replace(BOTH, specs=(ARM, twin))).eval()
    batch = make_mixed_batch((0, 0, 0))
    batch = replace(batch, images={"slot0": batch.images["slot0"]})
    other = replace(batch, embodiment=torch.ones(3, dtype=torch.int64))
    decoded, of_twin = (
        system.model.decode(system.model.embed(each), "full", embodiment=each.embodiment)
        for each in (batch, other)
    )
    assert system.model.embedding.all_tokens and not torch.allclose(decoded.state, of_twin.state)


def test_mixed_losses_equal_own_heads_losses() -> None:
    head = system_of("behaviour_cloning").objectives["behaviour_cloning"].head
    batch, features = make_mixed_batch(WHOSE), torch.randn(4, STEPS, 5 * 16, generator=generator())
    parameters = head(features, batch.embodiment)
    loss = head.loss(parameters, batch.action, batch.embodiment)
    decoded = head.decode(parameters, embodiment=batch.embodiment)
    for row, number in enumerate(WHOSE):
        own, spec = head.of[str(number)], BOTH.specs[number]
        a = spec.action.dimension
        expected = own(features[row : row + 1])
        torch.testing.assert_close(parameters[row : row + 1, ..., :a, : own.values], expected)
        torch.testing.assert_close(
            loss[row : row + 1, ..., :a], own.loss(expected, batch.action[row : row + 1, ..., :a])
        )
        torch.testing.assert_close(decoded[row : row + 1, ..., :a], own.decode(expected))
        assert not loss[row, ..., a:].any() and not decoded[row, ..., a:].any()
