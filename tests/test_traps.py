"""A test for each mistake in released code of this family, named by the mistake; see
docs/explanation/dualmind.md for the list."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from factories import (
    OBJECTIVES,
    STEPS,
    generator,
    make_agent,
    make_batch,
    make_model_config,
    make_observations,
    make_spec,
    make_system,
)
from torch import nn

from manyparts.core.records import Prompt
from manyparts.data.sampling.config import WindowConfig
from manyparts.nn.bins import Bins
from manyparts.objectives.base import Passes
from manyparts.training.config import TrainConfig
from manyparts.training.distributed.ranks import Ranks
from manyparts.training.update import Learner


def test_forward_targets_are_a_detached_average():
    system = make_system(objectives={"forward_dynamics": OBJECTIVES["forward_dynamics"]})
    objective, online = system.objectives["forward_dynamics"], system.model.embedding
    system.losses(make_batch(), generator())["forward_dynamics"].mean().backward()
    assert all(parameter.grad is None for parameter in objective.target.parameters())
    before = [parameter.clone() for parameter in objective.target.parameters()]
    with torch.no_grad():
        for parameter in online.parameters():
            parameter.add_(1.0)
    system.after_step()
    for old, new, source in zip(
        before, objective.target.parameters(), online.parameters(), strict=True
    ):
        torch.testing.assert_close(new, old + objective.config.target_rate * (source - old))


def test_online_targets_let_tokens_collapse():
    def spread(target: str) -> float:
        """How much target tokens differ between frames, relative to the start, after training on
        forward dynamics."""
        config = replace(OBJECTIVES["forward_dynamics"], target=target)
        system = make_system(objectives={"forward_dynamics": config})
        optimizer = torch.optim.Adam([p for p in system.parameters() if p.requires_grad], lr=3e-3)
        spreads = []
        for step in range(80):
            loss = system.losses(make_batch(8, seed=step), generator())["forward_dynamics"]
            spreads.append(loss.metrics["target_std"].item())
            optimizer.zero_grad()
            loss.mean().backward()
            optimizer.step()
            system.after_step()
        return spreads[-1] / spreads[0]

    assert spread("online") < 0.5 * spread("ema")


def test_layers_read_the_layer_before():
    system = make_system().eval()
    batch = make_batch()

    def policy() -> torch.Tensor:
        return system.objectives["behaviour_cloning"].predict(
            Passes(system.model, batch, generator())
        )

    whole = policy()
    for block in [*system.model.blocks, *system.model.prompt_blocks]:
        kept = {name: value.clone() for name, value in block.state_dict().items()}
        with torch.no_grad():
            block.feed_forward[-1].weight[0].add_(
                1.0
            )  # one channel: a norm would take out all of them
        assert not torch.allclose(policy(), whole)
        block.load_state_dict(kept)


def test_dropout_is_off_when_acting():
    agent = make_agent(dropout=0.5)
    observation, prompt = next(make_observations(1)), Prompt("open the drawer")
    actions = [agent.act(None, observation, prompt, explore=False)[0] for _ in range(3)]
    assert np.array_equal(actions[0], actions[1]) and np.array_equal(actions[0], actions[2])


def test_losses_are_a_weighted_sum():
    def step(objectives: dict) -> dict[str, float]:
        config = TrainConfig("toy", "toy", WindowConfig(), make_model_config(), objectives)
        learner = Learner(make_system(objectives=objectives), config, Ranks(), torch.device("cpu"))
        return dict(learner.step(0, {0: make_batch()}).losses)

    cloning = replace(OBJECTIVES["behaviour_cloning"], weight=3.0)
    alone, both = (
        step({"behaviour_cloning": cloning}),
        step(OBJECTIVES | {"behaviour_cloning": cloning}),
    )
    assert alone["loss"] == pytest.approx(3 * alone["loss/behaviour_cloning"], rel=1e-5)
    others = sum(
        value for name, value in both.items() if name not in ("loss", "loss/behaviour_cloning")
    )
    assert both["loss"] == pytest.approx(others + 3 * both["loss/behaviour_cloning"], rel=1e-5)


def test_padded_action_dimensions_bear_no_loss():
    spec = make_spec(action=6)
    batch = make_batch(
        spec=spec, action_mask=torch.tensor([[True, True, False, False, False, False]] * 3)
    )
    for loss in (
        make_system(spec=spec).losses(batch, generator())[name]
        for name in OBJECTIVES
        if name != "forward_dynamics"
    ):
        assert loss.mask[..., :2].any() and not loss.mask[..., 2:].any()


def test_attention_chooses_among_prompt_tokens():
    system = make_system().eval()
    prompt = system.model.encode_prompt(make_batch().prompt)
    assert (prompt.mask.sum(dim=1) >= 2).all()
    block = system.model.prompt_blocks[0]
    queries = torch.randn(3, 5, system.model.config.width, generator=generator())
    attended = block.attention(queries, prompt.mask[:, None, None, :], prompt.tokens)
    assert attended.std(dim=1).mean() > 1e-3  # over one key, every query would get the same value


def test_bins_decode_to_their_centres():
    bins = Bins(4)
    np.testing.assert_allclose(bins.centres, [-0.75, -0.25, 0.25, 0.75])
    for mu in (0.0, 1.7):
        bins = Bins(256, mu=mu)
        index = torch.arange(256)
        assert torch.equal(bins.encode(bins.decode(index)), index)
        values = torch.linspace(-1, 1, 10_001)
        errors = bins.decode(bins.encode(values)) - values
        assert errors.abs().max() < 0.01 and abs(errors.mean()) < 1e-4


def test_windows_draw_their_own_masks():
    system = make_system(objectives={"masked_hindsight": OBJECTIVES["masked_hindsight"]})
    objective, batch = system.objectives["masked_hindsight"], make_batch(64)
    system.set_progress(0.5)
    actions, observations = objective.draw(batch, generator())
    assert (actions.sum(dim=1) == STEPS // 2).all() and (
        observations.sum(dim=1) == STEPS // 4
    ).all()
    assert len({tuple(row.tolist()) for row in actions}) == 6  # all ways to choose 2 of 4
    counts = []
    for progress in (0.0, 0.5, 1.0):
        system.set_progress(progress)
        counts.append(objective.counts(STEPS))
    assert counts == [(1, 0), (2, 1), (4, 2)]


def test_frames_and_prompts_are_encoded_once():
    agent, prompt = make_agent(), Prompt("open the drawer")
    calls = {"frames": 0, "prompts": 0}
    encoder = agent.model.embedding.encoders["front"]

    def count(name: str):
        def hook(module: nn.Module, inputs: tuple) -> None:
            calls[name] += len(inputs[0])

        return hook

    encoder.register_forward_pre_hook(count("frames"))
    agent.model.prompt_encoder.register_forward_pre_hook(count("prompts"))
    carry, seen = None, 0
    for observation in make_observations(20):
        needed = agent.needs_observation(carry)
        seen += needed
        _, carry = agent.act(carry, observation if needed else None, prompt, explore=False)
    assert calls == {"frames": seen, "prompts": 1} and seen == 10
