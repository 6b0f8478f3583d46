"""Normalisers invert; augmentations move all steps of a window equally, by their generator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from manyparts.embodiment.normalisation import StateNormaliser
from manyparts.nn.image_augmentation import brightness, random_resized_crop, random_shift

AUGMENTATIONS: dict[str, Callable[[Tensor, Generator], Tensor]] = {
    "shift": lambda images, generator: random_shift(images, 3, generator),
    "crop": lambda images, generator: random_resized_crop(images, (0.6, 0.9), generator),
    "brightness": lambda images, generator: brightness(images, 0.4, generator),
}


def still_windows(count: int = 5) -> Tensor:
    """Windows of four equal frames."""
    frames = torch.randint(
        0, 256, (count, 1, 3, 16, 12), generator=torch.Generator().manual_seed(0)
    )
    return frames.to(torch.uint8).expand(count, 4, 3, 16, 12).contiguous()


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentation_moves_windows_as_a_whole(name: str) -> None:
    images, augment = still_windows(), AUGMENTATIONS[name]
    one, again = (augment(images, torch.Generator().manual_seed(1)) for _ in range(2))
    assert one.shape == images.shape and one.dtype == torch.uint8
    assert torch.equal(one, again)
    assert not torch.equal(one, augment(images, torch.Generator().manual_seed(2)))
    assert torch.equal(one, one[:, :1].expand_as(one)), "steps of a window moved apart"
    twins = augment(
        images[:1].expand(5, -1, -1, -1, -1).contiguous(), torch.Generator().manual_seed(1)
    )
    assert len(twins[:, 0].reshape(5, -1).unique(dim=0)) > 1, "all windows moved equally"


def test_shifts_repeat_the_border_by_pixels() -> None:
    image = torch.arange(5 * 7, dtype=torch.uint8).view(1, 1, 1, 5, 7)
    seen = set()
    for seed in range(40):
        moved = random_shift(image, 2, torch.Generator().manual_seed(seed))[0, 0, 0]
        difference = int(moved[2, 3]) - 17
        down = round(difference / 7)
        right = difference - 7 * down
        rows, columns = (np.arange(5) + down).clip(0, 4), (np.arange(7) + right).clip(0, 6)
        np.testing.assert_array_equal(moved.numpy(), image[0, 0, 0].numpy()[np.ix_(rows, columns)])
        seen.add((down, right))
    assert (
        len(seen) > 15
        and {-2, 2} <= {down for down, _ in seen}
        and {-2, 2} <= {right for _, right in seen}
    )


def test_nothing_asked_changes_nothing() -> None:
    images, generator = still_windows(), torch.Generator().manual_seed(0)
    assert torch.equal(random_shift(images, 0, generator), images)
    assert torch.equal(brightness(images, 0.0, generator), images)
    assert torch.equal(random_resized_crop(images, (1.0, 1.0), generator), images)


def test_crops_keep_their_fraction_of_gradients() -> None:
    ramp = (
        torch.linspace(0, 255, 64)
        .round()
        .to(torch.uint8)
        .view(1, 1, 1, 1, 64)
        .expand(1, 1, 3, 64, 64)
        .contiguous()
    )
    cut = random_resized_crop(ramp, (0.5, 0.5), torch.Generator().manual_seed(0)).float()
    assert abs(float(cut.max() - cut.min()) - 127) < 5


def test_states_are_normalised_and_back() -> None:
    normaliser = StateNormaliser((1.0, -2.0, 5.0), (2.0, 0.5, 0.0))
    state = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    scaled = normaliser(state)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled[:, 0], (state[:, 0] - 1) / 2, rtol=1e-5)
    np.testing.assert_allclose(scaled[:, 2], (state[:, 2] - 5) / 1e-3, rtol=1e-4)
    np.testing.assert_allclose(normaliser.inverse(scaled), state, atol=1e-4)
