"""Inverse-dynamics pretraining as one writes it first in PyTorch: own loader, own modules, nothing cached."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from understudy.data.dataset import EpisodeDataset
from understudy.methods.inverse_dynamics import pretrain
from understudy.models.encoders import KeypointEncoderConfig
from understudy.models.representation import RepresentationConfig

CONFIG = pretrain("inverse-dynamics", "laptop")


class Pairs(Dataset):
    """Two frames and the action between them; pictures are decoded and shifted one by one."""

    def __init__(self, dataset: EpisodeDataset) -> None:
        self.dataset, (self.camera,) = dataset, dataset.spec.cameras
        lengths = np.diff(dataset.starts)
        self.places = [(episode, step) for episode, length in enumerate(lengths) for step in range(length - 1)]
        self.actions = [dataset.spec.action.normalise(dataset.columns(i)["action"]) for i in range(len(lengths))]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        episode, step = self.places[index]
        before, after = self.dataset.frames(episode, self.camera, [step, step + 1])
        return _shifted(before), _shifted(after), torch.from_numpy(self.actions[episode][step])


def batches(dataset: EpisodeDataset, batch_size: int) -> Iterator[list[Tensor]]:
    """Epoch after epoch, loaded by the two workers that people start."""
    given = {"shuffle": True, "drop_last": True, "num_workers": 2, "persistent_workers": True}
    loader = DataLoader(Pairs(dataset), batch_size, **given)
    while True:
        yield from loader


class Encoder(nn.Module):
    """The laptop preset's, module by module."""

    def __init__(self, size: int) -> None:
        super().__init__()
        assert isinstance(CONFIG.model, RepresentationConfig)
        known = CONFIG.model.encoder
        assert isinstance(known, KeypointEncoderConfig)
        layers: list[nn.Module] = []
        channels = 3
        for after, kernel, stride in known.layers:
            layers += [nn.Conv2d(channels, after, kernel, stride), nn.GELU()]
            channels = after
        self.convolutions = nn.Sequential(*layers, nn.Conv2d(channels, known.maps, 1))
        side = self.convolutions(torch.zeros(1, 3, size, size)).shape[-1]
        line = torch.linspace(-1, 1, side)
        self.register_buffer("x", line.repeat(side))
        self.register_buffer("y", line.repeat_interleave(side))
        self.width = CONFIG.model.width
        self.read = nn.Sequential(nn.Linear(2 * known.maps, self.width), nn.LayerNorm(self.width), nn.Tanh())

    def forward(self, images: Tensor) -> Tensor:
        weights = self.convolutions(images).flatten(2).softmax(dim=-1)
        return self.read(torch.cat([(weights * self.x).sum(-1), (weights * self.y).sum(-1)], dim=1))


def head(inputs: int, outputs: int) -> nn.Sequential:
    """256-256 with dropout, as in the paper."""
    return nn.Sequential(
        nn.Linear(inputs, 256), nn.GELU(), nn.Dropout(0.1), nn.Linear(256, 256), nn.GELU(), nn.Dropout(0.1),
        nn.Linear(256, outputs),
    )  # fmt: skip


class InverseDynamics:
    """Training steps, one a call."""

    def __init__(self, dataset: EpisodeDataset) -> None:
        (height, _), *_ = dataset.spec.cameras.values()
        self.encoder = Encoder(height)
        self.head = head(2 * self.encoder.width, dataset.spec.action.dimension)
        parameters = [*self.encoder.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.AdamW(parameters, lr=1e-3)
        self.batches = batches(dataset, CONFIG.batch_size)

    def __call__(self) -> None:
        before, after, action = next(self.batches)
        predicted = self.head(torch.cat([self.encoder(before), self.encoder(after)], dim=1))
        loss = F.mse_loss(predicted, action)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def _shifted(frame: np.ndarray) -> Tensor:
    """A random crop of the frame after padding, as float in [-1, 1]."""
    pad = CONFIG.augmentation.shift_pixels
    wide = np.pad(frame, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    down, right = np.random.randint(0, 2 * pad + 1, 2)  # noqa: NPY002, as one writes it
    cut = wide[down : down + frame.shape[0], right : right + frame.shape[1]]
    return torch.from_numpy(np.ascontiguousarray(cut.transpose(2, 0, 1))).float() / 127.5 - 1
