"""Inverse-dynamics pretraining and tuning as a plain PyTorch program: the other side of benchmarks.

It has its own loader and modules, and caches nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from manyparts.core.serialisation import from_jsonable
from manyparts.data.dataset import EpisodeDataset
from manyparts.envs import registry
from manyparts.envs.base import EnvConfig
from manyparts.methods.inverse_dynamics import pretrain
from manyparts.models.configs import KeypointEncoderConfig, RepresentationConfig

CONFIG = pretrain("inverse-dynamics", "laptop")


class Pairs(Dataset):
    """Two frames and the action between them; images are decoded and shifted one by one."""

    def __init__(self, dataset: EpisodeDataset) -> None:
        self.dataset, (self.camera,) = dataset, dataset.spec.cameras
        lengths = np.diff(dataset.starts)
        self.steps = [
            (episode, step) for episode, length in enumerate(lengths) for step in range(length - 1)
        ]
        self.actions = [
            dataset.spec.action.normalise(dataset.columns(i)["action"]) for i in range(len(lengths))
        ]

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        episode, step = self.steps[index]
        before, after = self.dataset.frames(episode, self.camera, [step, step + 1])
        return _shifted(before), _shifted(after), torch.from_numpy(self.actions[episode][step])


class Frames(Pairs):
    """A frame and the expert's action in it."""

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        episode, step = self.steps[index]
        (frame,) = self.dataset.frames(episode, self.camera, [step])
        return _pixels(frame), torch.from_numpy(self.actions[episode][step])


def batches(examples: Pairs, batch_size: int) -> Iterator[list[Tensor]]:
    """Yield batches, epoch after epoch, loaded by two workers."""
    loader = DataLoader(
        examples, batch_size, shuffle=True, drop_last=True, num_workers=2, persistent_workers=True
    )
    while True:
        yield from loader


class Encoder(nn.Module):
    """The encoder of the laptop preset, module by module."""

    def __init__(self, size: int) -> None:
        super().__init__()
        assert isinstance(CONFIG.model, RepresentationConfig)
        config = CONFIG.model.encoder
        assert isinstance(config, KeypointEncoderConfig)
        layers: list[nn.Module] = []
        channels = 3
        for after, kernel, stride in config.layers:
            layers += [nn.Conv2d(channels, after, kernel, stride), nn.GELU()]
            channels = after
        self.convolutions = nn.Sequential(*layers, nn.Conv2d(channels, config.maps, 1))
        side = self.convolutions(torch.zeros(1, 3, size, size)).shape[-1]
        line = torch.linspace(-1, 1, side)
        self.register_buffer("x", line.repeat(side))
        self.register_buffer("y", line.repeat_interleave(side))
        self.width = CONFIG.model.width
        self.read = nn.Sequential(
            nn.Linear(2 * config.maps, self.width), nn.LayerNorm(self.width), nn.Tanh()
        )

    def forward(self, images: Tensor) -> Tensor:
        weights = self.convolutions(images).flatten(2).softmax(dim=-1)
        return self.read(torch.cat([(weights * self.x).sum(-1), (weights * self.y).sum(-1)], dim=1))


def head(inputs: int, outputs: int) -> nn.Sequential:
    """Return two layers of width 256 with dropout, as in the paper."""
    return nn.Sequential(
        nn.Linear(inputs, 256),
        nn.GELU(),
        nn.Dropout(0.1),
        nn.Linear(256, 256),
        nn.GELU(),
        nn.Dropout(0.1),
        nn.Linear(256, outputs),
    )


class InverseDynamics:
    """Training steps, one per call."""

    def __init__(self, dataset: EpisodeDataset) -> None:
        (height, _), *_ = dataset.spec.cameras.values()
        self.encoder = Encoder(height)
        self.head = head(2 * self.encoder.width, dataset.spec.action.dimension)
        parameters = [*self.encoder.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.AdamW(parameters, lr=1e-3)
        self.batches = batches(Pairs(dataset), CONFIG.batch_size)

    def __call__(self) -> None:
        before, after, action = next(self.batches)
        predicted = self.head(torch.cat([self.encoder(before), self.encoder(after)], dim=1))
        loss = F.mse_loss(predicted, action)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def tune_and_evaluate(dataset: EpisodeDataset, steps: int, batch_size: int, episodes: int) -> float:
    """Train a policy on a frozen encoder, which encodes every batch; then run episodes.

    Episodes run one after the other, each until it is solved.

    Returns:
        The fraction of solved episodes.
    """
    (camera,) = dataset.spec.cameras
    (height, _), *_ = dataset.spec.cameras.values()
    encoder = Encoder(height).eval()
    policy = head(encoder.width, dataset.spec.action.dimension)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3)
    examples = batches(Frames(dataset), batch_size)
    for _ in range(steps):
        frames, actions = next(examples)
        with torch.no_grad():
            embeddings = encoder(frames)
        loss = F.mse_loss(policy(embeddings), actions)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    policy.eval()
    (task,) = dataset.tasks
    config = from_jsonable(EnvConfig, dict(dataset.environment or {}))
    env = registry.make(task.name, config, split="evaluation")
    solved = 0
    for seed in range(episodes):
        observation, _ = env.reset(seed=seed)
        for _ in range(env.max_steps):
            with torch.no_grad():
                action = policy(encoder(_pixels(observation["images"][camera])[None]))[0]
            observation, _, _, _, info = env.step(action.clamp(-1, 1).numpy())
            if info["success"]:
                solved += 1
                break
    return solved / episodes


def _shifted(frame: np.ndarray) -> Tensor:
    """Return a random crop of the frame after padding, as float in [-1, 1]."""
    pad = CONFIG.augmentation.shift_pixels
    wide = np.pad(frame, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    down, right = np.random.randint(0, 2 * pad + 1, 2)  # noqa: NPY002, as one writes it
    cut = wide[down : down + frame.shape[0], right : right + frame.shape[1]]
    return _pixels(cut)


def _pixels(frame: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1))).float() / 127.5 - 1
