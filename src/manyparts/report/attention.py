"""The section of a report that shows where the visual tokens look."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from manyparts.evaluation.attention import Attention, movement, overlay, resized, spread
from manyparts.evaluation.results import Result
from manyparts.report.evidence import Evidence

# Bytes of images before base64 that a report carries in addition to its videos.
IMAGE_BUDGET = 1_200_000
_SIZE = 112  # pixels, the width of an image

_READING = (
    "<p>The first row shows what the agent saw at some steps of an episode, until it was solved. "
    "The rows below show where each of its visual tokens looks: orange where the weight is largest "
    "in that image, grey where there is none. {maps}The weights lie on a coarse grid ({grids}) and "
    "are smoothed for the eye. <i>Spread</i>: over how much of the image a token looks, 100 % if "
    "all cells have the same weight (exponential of the entropy, the mean of these steps). "
    "<i>Moves</i>: how much of the weight moves from one of these steps to the next.</p>"
)
_MAPS = (
    "A token has {count} maps, each of which reads another part of its channels; their mean is "
    "drawn. "
)
_CAUTION = (
    "<p><strong>What it does not show:</strong> why the agent acts as it does. A token takes its "
    "features from the coloured cells, and a feature of one cell may describe its surroundings, in "
    "a vision transformer the whole image. The policy may ignore a token, and it also reads the "
    "robot's state. A token that always looks at the same cells may have learned where things "
    "usually are. One episode per task is an example, not a statistic.</p>"
)


def attention(evidence: Evidence, result: Result) -> list[str]:
    """The section's parts: of each task the first episode with maps of attention.

    The first task is shown, the others are folded away. Without any maps there is no section. Tasks
    beyond `IMAGE_BUDGET` bytes of images are only counted.

    Args:
        evidence: the run's files.
        result: the run's evaluation, which names the tasks.

    Returns:
        HTML elements; empty if there are no maps.
    """
    chosen = _first_of_each_task(evidence, result)
    if not chosen:
        return []
    recorded = {task: Attention.load(path) for task, (_, path) in chosen.items()}
    parts, spent = [], 0
    for task, (seed, path) in chosen.items():
        images = {camera: _images(recorded[task], camera) for camera in recorded[task].maps}
        spent += sum(_bytes_of(rows) for rows in images.values())
        if spent > IMAGE_BUDGET:
            left = f"{len(chosen) - len(parts)} of {len(chosen)} tasks"
            folder = escape(str(evidence.evaluation / "videos/*/*.npz"))
            parts.append(f'<p class="soft">{left} are only in {folder}.</p>')
            break
        outcome = path.stem.partition("-")[0]
        goal = f'<p class="verdict {outcome}">{outcome} <span class="soft">goal {seed}</span></p>'
        figures = "".join(_figure(recorded[task], camera, rows) for camera, rows in images.items())
        shown = "" if parts else " open"
        parts.append(f"<details{shown}><summary>{escape(task)}</summary>{goal}{figures}</details>")
    return ["<h2>Where it looks</h2>", _reading(next(iter(recorded.values()))), *parts, _CAUTION]


def _first_of_each_task(evidence: Evidence, result: Result) -> dict[str, tuple[int, Path]]:
    """Seed and file of each task's first filmed success, or of its first failure if it has
    none."""
    first: dict[str, tuple[int, Path]] = {}
    for episode in sorted(result.episodes, key=lambda episode: not episode.success_any):
        if path := evidence.attention.get((episode.task, episode.seed)):
            first.setdefault(episode.task, (episode.seed, path))
    return {task: first[task] for task in result.tasks if task in first}


def _reading(example: Attention) -> str:
    counts = {maps.shape[2] for maps in example.maps.values()}
    grids = {f"{maps.shape[3]}×{maps.shape[4]}" for maps in example.maps.values()}
    maps = _MAPS.format(count=counts.pop()) if counts != {1} else ""
    return _READING.format(maps=maps, grids=", ".join(sorted(grids)))


def _images(attention: Attention, camera: str) -> list[list[bytes]]:
    """A row of JPEGs of the frames, then one row for each token."""
    frames, weights = attention.frames[camera], _drawn(attention, camera)
    rows = [[resized(frame, _SIZE) for frame in frames]]
    for token in range(weights.shape[1]):
        rows.append(
            [overlay(frame, weights[step, token], size=_SIZE) for step, frame in enumerate(frames)]
        )
    return [[_jpeg(image) for image in row] for row in rows]


def _bytes_of(rows: list[list[bytes]]) -> int:
    return sum(sum(map(len, row)) for row in rows)


def _drawn(attention: Attention, camera: str) -> np.ndarray:
    """(n, tokens, rows, columns): the mean of each token's maps."""
    return attention.maps[camera].mean(axis=2)


def _figure(attention: Attention, camera: str, rows: list[list[bytes]]) -> str:
    weights = _drawn(attention, camera)
    spreads, moves = spread(weights).mean(axis=0), movement(weights)
    heads = "".join(f"<span>step {step}</span>" for step in attention.steps)
    parts = [f'<span class="name">{escape(camera)}</span>', heads]
    names = ["seen"] + [f"token {token + 1}" for token in range(weights.shape[1])]
    facts = [""] + [
        f"<small>spread {100 * fraction:.0f} %</small> <small>moves {100 * moved:.0f} %</small>"
        for fraction, moved in zip(spreads, moves, strict=True)
    ]
    for name, fact, row in zip(names, facts, rows, strict=True):
        parts.append(f'<span class="name"><strong>{name}</strong> {fact}</span>')
        parts += [
            _image_tag(jpeg, f"{name}, step {step}")
            for jpeg, step in zip(row, attention.steps, strict=True)
        ]
    return f'<div class="looks" style="--steps:{len(attention.steps)}">{"".join(parts)}</div>'


def _image_tag(jpeg: bytes, description: str) -> str:
    data = base64.b64encode(jpeg).decode("ascii")
    return f'<img alt="{description}" src="data:image/jpeg;base64,{data}">'


def _jpeg(image: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=82)
    return content.getvalue()
