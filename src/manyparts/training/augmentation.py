"""Random changes of a batch's images and states."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from manyparts.core.records import Batch
from manyparts.nn.image_augmentation import brightness, random_resized_crop, random_shift
from manyparts.training.config import AugmentationConfig


def augment(batch: Batch, config: AugmentationConfig, generator: torch.Generator) -> Batch:
    """The batch with images shifted, cropped and brightened, and with states offset.

    Each window changes in its own way, and all its steps equally unless `each_step` is set. The
    images of its prompt change in another way, again all of them equally.

    Args:
        batch: on any device, on which images are changed.
        config: how much changes.
        generator: on the CPU; draws one number per window, or per step.
    """
    images = {name: _augment(frames, config, generator) for name, frames in batch.images.items()}
    prompt_images = batch.prompt_images
    if prompt_images is not None:
        changed = {
            name: _augment(frames, config, generator)
            for name, frames in prompt_images.images.items()
        }
        prompt_images = replace(prompt_images, images=changed)
    state = batch.state
    if config.state_noise:
        offset = torch.randn(
            len(batch), 1, state.shape[-1], generator=generator, device=generator.device
        )
        state = state + config.state_noise * offset.to(state.device) * batch.mask[..., None]
    return replace(batch, images=images, state=state, prompt_images=prompt_images)


def _augment(frames: Tensor, config: AugmentationConfig, generator: torch.Generator) -> Tensor:
    """uint8 (b, t, c, h, w), changed."""
    if config.each_step:  # each step as a window of its own
        windows = frames.flatten(0, 1)[:, None]
        changed = _augment(windows, replace(config, each_step=False), generator)
        return changed.view_as(frames)
    frames = random_shift(frames, config.shift_pixels, generator)
    if config.resized_crop != (1.0, 1.0):
        frames = random_resized_crop(frames, config.resized_crop, generator)
    return brightness(frames, config.brightness, generator)
