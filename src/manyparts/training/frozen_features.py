"""Visual tokens of a whole dataset under frozen encoders, computed once and kept on disk as
float16."""

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
    """Camera to the tokens (num_frames, n, d) of every frame: memory-mapped float16, computed now
    if they are not there; a camera is seen by the encoder of its slot. They are named by the
    encoders' weights, `encoder` (their config), the precision and the dataset's content.

    Raises UserError if an encoder is trained, its tokens do not fit float16, or the disk is full.
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
    """Raises UserError if a parameter of the encoders is trained."""
    moving = [name for name in trained(system) if name.startswith(system.encoder_names)]
    if moving:
        raise UserError(
            f"cache_features needs frozen encoders, but {moving[0]} is trained; change one of the two"
        )


def encoder_hash(system: System, encoder: Any, precision: str) -> str:
    """A name of what decides the tokens: the encoders' weights to the bit, their config, the
    precision."""
    whole = hashlib.sha256(f"{content_hash(encoder)} {precision}".encode())
    for name, tensor in sorted(system.state_dict().items()):
        if name.startswith(system.encoder_names):
            whole.update(f"{name} {tuple(tensor.shape)}".encode())
            whole.update(tensor.detach().cpu().float().contiguous().numpy())
    return whole.hexdigest()[:32]


def _build(
    system: System, cache: FrameCache, slots: Mapping[str, str], folder: Path, precision: str
) -> None:
    """slots: camera to slot."""
    fresh = temporary_folder(folder)
    try:
        for number, (camera, slot) in enumerate(slots.items()):
            _encode(system, cache, camera, slot, fresh / f"{number}.npy", precision)
        rename_into_place(fresh, folder)
    except OSError as error:
        raise disk_error(error, folder) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _encode(
    system: System, cache: FrameCache, camera: str, slot: str, path: Path, precision: str
) -> None:
    began = time.monotonic()
    with progress_bar(f"encoding {camera}", cache.num_frames) as bar, path.open("wb") as file:
        for done, tokens in _tokens(system, cache, camera, slot, precision):
            if done == len(tokens):
                header: Mapping[str, Any] = {
                    "descr": "<f2",
                    "fortran_order": False,
                    "shape": (cache.num_frames, *tokens.shape[1:]),
                }
                np.lib.format.write_array_header_1_0(file, dict(header))
            file.write(tokens.tobytes())
            bar.show(done, "")
        rate = cache.num_frames / (time.monotonic() - began)
        bar.summary = (
            f"encoded {cache.num_frames} frames of camera {camera} once ({rate:.0f} frames/s)"
        )


@torch.no_grad()
def _tokens(
    system: System, cache: FrameCache, camera: str, slot: str, precision: str
) -> Iterator[tuple[int, np.ndarray]]:
    """Frames done so far and the tokens (n, tokens, d) of the latest, float16."""
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
                where = f"camera {camera}, frames {start}-{stop}"
                raise UserError(f"tokens of {where} do not fit float16; turn cache_features off")
            yield stop, tokens.cpu().numpy()
    finally:
        system.train(training)
