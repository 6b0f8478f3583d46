"""sheeprl's Dreamer and its replay, for `manyparts bench dreamer-update replay`.

Usage: dreamer.py update|replay SETTINGS, with SETTINGS as JSON. Each line on standard input asks
for something; the answer is processor seconds. "update 3": three optimiser steps. "append":
one episode, step by step. "draw 3": three batches.
"""

import importlib
import json
import os
import sys
import tempfile
import time
import warnings

import gymnasium as gym
import numpy as np
import torch

warnings.filterwarnings("ignore")
kind, settings = sys.argv[1], json.loads(sys.argv[2])
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # some modules print
torch.set_num_threads(settings["threads"])
SIZE, STATE, ACTION = settings["image_size"], settings["state"], settings["action"]
WINDOWS, LENGTH = settings["windows"], settings["length"]


def configured():
    """Return sheeprl's config with the sizes of `settings`."""
    from hydra import compose, initialize_config_module
    from omegaconf import OmegaConf
    from sheeprl.utils.utils import dotdict

    version, width, layers = settings["version"], settings["width"], settings["layers"]
    images, states = ("[rgb]", "[]") if SIZE else ("[]", "[state]")
    world = "algo.world_model"
    values = {
        "exp": version,
        "env": "dummy",
        "metric.log_level": 0,
        "fabric.accelerator": "cpu",
        "env.screen_size": SIZE or 64,
        "algo.horizon": settings["horizon"],
        "algo.dense_units": width,
        "algo.mlp_layers": layers,
        "algo.critic.mlp_layers": layers,
        f"{world}.encoder.mlp_layers": 1,  # the fewest that it has; ours has none for states
        f"{world}.reward_model.mlp_layers": layers,
        f"{world}.discount_model.mlp_layers": layers,
        f"{world}.recurrent_model.recurrent_state_size": width,
        f"{world}.transition_model.hidden_size": width,
        f"{world}.representation_model.hidden_size": width,
        f"{world}.stochastic_size": settings["variables"],
        "algo.cnn_keys.encoder": images,
        "algo.cnn_keys.decoder": images,
        "algo.mlp_keys.encoder": states,
        "algo.mlp_keys.decoder": states,
        "algo.per_rank_batch_size": WINDOWS,
        "algo.per_rank_sequence_length": LENGTH,
    }
    if version == "dreamer_v1":
        values[f"{world}.use_continues"] = True
    else:
        values[f"{world}.discrete_size"] = settings["categories"]
        values[f"{world}.encoder.cnn_channels_multiplier"] = settings["depth"]
    with initialize_config_module("sheeprl.configs", version_base="1.3"):
        config = compose("config", overrides=[f"{key}={value}" for key, value in values.items()])
    return dotdict(OmegaConf.to_container(config, resolve=True, throw_on_missing=False))


def updates():
    """Return a function that takes an optimiser step on a random batch."""
    import hydra
    from lightning.fabric import Fabric

    config, version = configured(), settings["version"]
    # As its command line does.
    torch.distributions.Distribution.set_default_validate_args(config.distribution.validate_args)
    torch.set_float32_matmul_precision(config.float32_matmul_precision)
    fabric = Fabric(accelerator="cpu", devices=1)
    if SIZE:
        spaces = {"rgb": gym.spaces.Box(0, 255, (3, SIZE, SIZE), np.uint8)}
    else:
        spaces = {"state": gym.spaces.Box(-1, 1, (STATE,), np.float32)}
    torch.manual_seed(0)
    agent = importlib.import_module(f"sheeprl.algos.{version}.agent")
    program = importlib.import_module(f"sheeprl.algos.{version}.{version}")
    built = agent.build_agent(fabric, [ACTION], True, config, gym.spaces.Dict(spaces))
    world, actor, critic = built[:3]

    def optimizer(module, chosen):
        made = hydra.utils.instantiate(chosen, params=module.parameters(), _convert_="all")
        return fabric.setup_optimizers(made)

    algo = config.algo
    optimizers = (
        optimizer(world, algo.world_model.optimizer),
        optimizer(actor, algo.actor.optimizer),
        optimizer(critic, algo.critic.optimizer),
    )
    data = random_batch()
    if version == "dreamer_v1":
        return lambda: program.train(
            fabric, world, actor, critic, *optimizers, dict(data), None, config
        )
    from sheeprl.algos.dreamer_v3.utils import Moments
    from sheeprl.utils.metric import MetricAggregator

    MetricAggregator.disabled = True
    chosen, slow = algo.actor.moments, built[3]
    moments = Moments(chosen.decay, chosen.max, chosen.percentile.low, chosen.percentile.high)

    def step():
        # As its main loop does before each step.
        for ours, theirs in zip(critic.module.parameters(), slow.parameters(), strict=True):
            theirs.data.copy_(algo.critic.tau * ours.data + (1 - algo.critic.tau) * theirs.data)
        given = (fabric, world, actor, critic, slow, *optimizers, dict(data), None, config)
        program.train(*given, True, [ACTION], moments)

    return step


def random_batch():
    """Return a batch as sheeprl's buffer gives it: time, windows, numbers."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape):
        return torch.randn(LENGTH, WINDOWS, *shape, generator=generator)

    zeros = torch.zeros(LENGTH, WINDOWS, 1)
    batch = {"actions": drawn(ACTION).tanh(), "rewards": drawn(1), "terminated": zeros.clone()}
    batch |= {"truncated": zeros.clone(), "is_first": zeros.clone()}
    if SIZE:
        return batch | {"rgb": drawn(3, SIZE, SIZE).mul(80).add(128).clamp(0, 255).floor()}
    return batch | {"state": drawn(STATE)}


def replays(folder):
    """Return functions that append an episode and draw a batch, of a buffer that is full."""
    from sheeprl.data.buffers import EnvIndependentReplayBuffer, SequentialReplayBuffer

    buffer = EnvIndependentReplayBuffer(
        settings["frames"],
        n_envs=1,
        memmap=True,
        memmap_dir=folder,
        buffer_cls=SequentialReplayBuffer,
        seed=0,
    )
    random = np.random.default_rng(0)
    step = {
        "actions": random.standard_normal((1, 1, ACTION)).astype(np.float32),
        "rewards": np.zeros((1, 1, 1), np.float32),
        "terminated": np.zeros((1, 1, 1), np.float32),
        "truncated": np.zeros((1, 1, 1), np.float32),
        "is_first": np.zeros((1, 1, 1), np.float32),
    }
    if STATE:
        step["state"] = random.standard_normal((1, 1, STATE)).astype(np.float32)
    if SIZE:
        step["rgb"] = random.integers(0, 255, (1, 1, 3, SIZE, SIZE)).astype(np.uint8)

    def append():
        for _ in range(settings["episode"]):
            buffer.add(step)

    def draw():
        sample = buffer.sample_tensors(
            batch_size=WINDOWS, sequence_length=LENGTH, n_samples=1, dtype=None, from_numpy=False
        )
        return {name: values[0].float() for name, values in sample.items()}

    for _ in range(settings["frames"] // settings["episode"]):
        append()
    return append, draw


with tempfile.TemporaryDirectory() as folder:
    if kind == "update":
        actions = {"update": updates()}
        for _ in range(3):
            actions["update"]()
    else:
        append, draw = replays(folder)
        actions = {"append": append, "draw": draw}
    print("ready", file=answers)
    for line in sys.stdin:
        name, count = line.split()
        start = time.process_time()
        for _ in range(int(count)):
            actions[name]()
        print(time.process_time() - start, file=answers)
