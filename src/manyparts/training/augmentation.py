"""Augmentation of a batch."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from manyparts.core.records import Batch
from manyparts.nn.image_augmentation import brightness, random_resized_crop, random_shift
from manyparts.training.config import AugmentationConfig


def augment(batch: Batch, config: AugmentationConfig, generator: torch.Generator) -> Batch:
    """The batch with images shifted, cut and brightened and states moved, each window in its own
    way and (but for `each_step`) all its steps alike; its prompt's pictures in another way, all of
    them alike."""
    images = {name: _augment(frames, config, generator) for name, frames in batch.images.items()}
    pictures = batch.prompt_images
    if pictures is not None:
        moved = {
            name: _augment(frames, config, generator) for name, frames in pictures.images.items()
        }
        pictures = replace(pictures, images=moved)
    state = batch.state
    if config.state_noise:
        offset = torch.randn(
            len(batch), 1, state.shape[-1], generator=generator, device=generator.device
        )
        state = state + config.state_noise * offset.to(state.device) * batch.mask[..., None]
    return replace(batch, images=images, state=state, prompt_images=pictures)


def _augment(frames: Tensor, config: AugmentationConfig, generator: torch.Generator) -> Tensor:
    if config.each_step:
        alone = _augment(frames.flatten(0, 1)[:, None], replace(config, each_step=False), generator)
        return alone.view_as(frames)
    frames = random_shift(frames, config.shift_pixels, generator)
    if config.resized_crop != (1.0, 1.0):
        frames = random_resized_crop(frames, config.resized_crop, generator)
    return brightness(frames, config.brightness, generator)
