"""Visual tokens of a whole dataset from frozen encoders, computed once and kept as float16."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from manyparts.core.errors import UserError
from manyparts.core.printing import counted
from manyparts.core.progress import progress_bar
from manyparts.core.serialisation import content_hash
from manyparts.core.storage.atomic import disk_error, rename_into_place, temporary_folder
from manyparts.core.storage.caches import cache_root
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.frames import FORMAT, FrameCache
from manyparts.objectives.system import System
from manyparts.training.optimizer import trained

_FRAMES_AT_ONCE = 256


def frozen_features(
    system: System,
    dataset: EpisodeDataset,
    cache: FrameCache,
    *,
    encoder: Any,
    precision: str = "fp32",
    cache_dir: str | Path | None = None,
) -> dict[str, np.ndarray]:
    """The visual tokens of every frame, read from the cache, or computed now and kept there.

    Their folder's name is a hash of the encoders' weights, their config, the precision and the
    dataset's content.

    Args:
        system: has the encoders, on the device that computes. Each camera is encoded by that of
            its slot.
        dataset: to encode.
        cache: its decoded frames.
        encoder: the encoders' config.
        precision: "fp32" or "bf16".
        cache_dir: root of the cache; None: $MANYPARTS_CACHE, or ~/.cache/manyparts.

    Returns:
        Camera to tokens (num_frames, n, d), memory-mapped float16.

    Raises:
        UserError: an encoder is trained, its tokens do not fit float16, or the disk is full.
    """
    require_frozen(system)
    content = encoder_hash(system, encoder, precision)
    folder = cache_root(cache_dir) / "features" / f"{dataset.fingerprint[:32]}-{content}-{FORMAT}"
    if not folder.is_dir():
        _build(system, cache, system.model.embodiments.slot_of(dataset.spec), folder, precision)
    cameras = dataset.spec.cameras
    return {
        camera: np.load(folder / f"{number}.npy", mmap_mode="r")
        for number, camera in enumerate(cameras)
    }


def require_frozen(system: System) -> None:
    """Raise UserError if a parameter of the encoders is trained."""
    unfrozen = [name for name in trained(system) if name.startswith(system.encoder_names)]
    if unfrozen:
        raise UserError(
            f"cache_features needs frozen encoders, but {unfrozen[0]} is trained; freeze it with "
            "train_only, or turn cache_features off"
        )


def encoder_hash(system: System, encoder: Any, precision: str) -> str:
    """A hash of all that tokens depend on: the encoders' weights, their config, the precision.

    Args:
        system: the system, with the encoders' weights.
        encoder: the encoders' config.
        precision: what they compute in, "fp32" or "bf16".

    Returns:
        32 hexadecimal digits.
    """
    digest = hashlib.sha256(f"{content_hash(encoder)} {precision}".encode())
    for name, tensor in sorted(system.state_dict().items()):
        if name.startswith(system.encoder_names):
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().float().contiguous().numpy())
    return digest.hexdigest()[:32]


def _build(
    system: System, cache: FrameCache, slots: Mapping[str, str], folder: Path, precision: str
) -> None:
    """Write each camera's tokens to `folder`. slots: camera to slot."""
    temporary = temporary_folder(folder)
    try:
        for number, (camera, slot) in enumerate(slots.items()):
            _encode(system, cache, camera, slot, temporary / f"{number}.npy", precision)
        rename_into_place(temporary, folder)
    except OSError as error:
        raise disk_error(error, folder) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _encode(
    system: System, cache: FrameCache, camera: str, slot: str, path: Path, precision: str
) -> None:
    """Write the tokens of one camera to `path`, as numpy stores an array."""
    started = time.monotonic()
    with (
        progress_bar(f"encoding images of camera {camera}", cache.num_frames) as bar,
        path.open("wb") as file,
    ):
        for done, tokens in _tokens(system, cache, camera, slot, precision):
            if done == len(tokens):  # the first ones, which tell the shape
                header: Mapping[str, Any] = {
                    "descr": "<f2",
                    "fortran_order": False,
                    "shape": (cache.num_frames, *tokens.shape[1:]),
                }
                np.lib.format.write_array_header_1_0(file, dict(header))
            file.write(tokens.tobytes())
            bar.show(done, "")
        rate = cache.num_frames / (time.monotonic() - started)
        frames = counted(cache.num_frames, "frame")
        bar.summary = f"encoded {frames} of camera {camera} once ({rate:.0f} frames/s)"


@torch.no_grad()
def _tokens(
    system: System, cache: FrameCache, camera: str, slot: str, precision: str
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield how many frames are done, and the tokens (frames, n, d) of the latest: float16."""
    device = next(system.parameters()).device
    training = system.training
    system.eval()
    try:
        for start in range(0, cache.num_frames, _FRAMES_AT_ONCE):
            stop = min(start + _FRAMES_AT_ONCE, cache.num_frames)
            frames = torch.from_numpy(cache.frames(camera, start, stop)).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                tokens = system.model.visual_features(frames, slot).half()
            if not tokens.isfinite().all():
                raise UserError(
                    f"tokens of camera {camera}, frames {start} to {stop - 1}, do not fit float16; "
                    "turn cache_features off"
                )
            yield stop, tokens.cpu().numpy()
    finally:
        system.train(training)
