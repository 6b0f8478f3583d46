"""Augmentation of a batch's images."""

from __future__ import annotations

from dataclasses import replace

import torch

from understudy.data.transforms import brightness, random_resized_crop, random_shift
from understudy.training.config import AugmentationConfig
from understudy.types import Batch


def augment(batch: Batch, config: AugmentationConfig, generator: torch.Generator) -> Batch:
    """The batch with its images shifted, cut and brightened, each window in its own way and all its steps alike."""
    if not config.changes_something:
        return batch
    images = dict(batch.images)
    for camera, frames in images.items():
        frames = random_shift(frames, config.shift_pixels, generator)
        if config.resized_crop != (1.0, 1.0):
            frames = random_resized_crop(frames, config.resized_crop, generator)
        images[camera] = brightness(frames, config.brightness, generator)
    return replace(batch, images=images)
