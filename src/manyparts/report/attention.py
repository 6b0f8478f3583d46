"""The section of a report that shows where the visual tokens look."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from manyparts.evaluation.attention import Attention, movement, overlay, resized, spread
from manyparts.report.evidence import Evidence

# Bytes of pictures that a report carries before base64, beside its videos.
PICTURE_BUDGET = 1_200_000
_SIZE = 112

_READING = (
    "<p>Above, what the agent saw at some steps of an episode, until it was solved; below, where each of its visual "
    "tokens looks: orange where the weight is largest in that picture, grey where there is none. "
    "{maps}The weights lie on a coarse grid ({grids}) and are smoothed for the eye. "
    "<i>Spread</i>: over how much of the picture, 100 % for all places alike (exponential of the entropy, the mean of "
    "these steps). <i>Moves</i>: how much of the weight lies elsewhere from one of these steps to the next.</p>"
)
_MAPS = "A token has {count} maps, each of which reads another part of its channels; what is drawn is their mean. "
_CAUTION = (
    "<p><strong>What it does not show:</strong> why the agent acts as it does. The coloured place is where a token "
    "takes its features from, and a feature there may tell of what is around it, in a vision transformer of the whole "
    "picture. The policy may make nothing of a token; the body's pose reaches it by another way; and a token that "
    "always looks at one place may have learned where things usually are. One episode a task is an example, no "
    "statistic.</p>"
)


def attention(evidence: Evidence) -> list[str]:
    """The section's parts: the first episode of each task of which the attention was kept; none if
    none was.

    The first task is shown, the others are folded away.
    """
    chosen = _first_of_each_task(evidence)
    if not chosen:
        return []
    kept = {task: Attention.load(path) for task, (_, path) in chosen.items()}
    parts, spent = [], 0
    for task, (seed, path) in chosen.items():
        pictures = {camera: _pictures(kept[task], camera) for camera in kept[task].maps}
        spent += sum(len(picture) for rows in pictures.values() for row in rows for picture in row)
        if spent > PICTURE_BUDGET:
            left = f"{len(chosen) - len(parts)} of {len(chosen)} tasks"
            parts.append(
                f'<p class="soft">{left} are only in {escape(str(evidence.run))}/evaluation/videos/*/*.npz.</p>'
            )
            break
        verdict = path.stem.partition("-")[0]
        goal = f'<p class="verdict {verdict}">{verdict} <span class="soft">goal {seed}</span></p>'
        figures = "".join(_figure(kept[task], camera, rows) for camera, rows in pictures.items())
        shown = "" if parts else " open"
        parts.append(f"<details{shown}><summary>{escape(task)}</summary>{goal}{figures}</details>")
    return ["<h2>Where it looks</h2>", _reading(next(iter(kept.values()))), *parts, _CAUTION]


def _first_of_each_task(evidence: Evidence) -> dict[str, tuple[int, Path]]:
    """Task to (seed, file) of the first success filmed, or where there is none the first
    failure."""
    found: dict[str, tuple[int, Path]] = {}
    for episode in sorted(evidence.result.episodes, key=lambda episode: not episode.success_any):
        if path := evidence.attention.get((episode.task, episode.seed)):
            found.setdefault(episode.task, (episode.seed, path))
    return {task: found[task] for task in evidence.result.tasks if task in found}


def _reading(example: Attention) -> str:
    counts = {maps.shape[2] for maps in example.maps.values()}
    grids = {f"{maps.shape[3]}×{maps.shape[4]}" for maps in example.maps.values()}
    maps = _MAPS.format(count=counts.pop()) if counts != {1} else ""
    return _READING.format(maps=maps, grids=", ".join(sorted(grids)))


def _pictures(found: Attention, camera: str) -> list[list[bytes]]:
    """A row of JPEGs of the frames, then one of each token."""
    frames, weights = found.frames[camera], _drawn(found, camera)
    rows = [[resized(frame, _SIZE) for frame in frames]]
    for token in range(weights.shape[1]):
        rows.append(
            [overlay(frame, weights[step, token], size=_SIZE) for step, frame in enumerate(frames)]
        )
    return [[_jpeg(picture) for picture in row] for row in rows]


def _drawn(found: Attention, camera: str) -> np.ndarray:
    """(n, tokens, rows, columns): the mean of each token's maps."""
    return found.maps[camera].mean(axis=2)


def _figure(found: Attention, camera: str, rows: list[list[bytes]]) -> str:
    weights = _drawn(found, camera)
    spreads, moves = spread(weights).mean(axis=0), movement(weights)
    heads = "".join(f"<span>step {step}</span>" for step in found.steps)
    parts = [f'<span class="name">{escape(camera)}</span>', heads]
    names = ["seen"] + [f"token {token + 1}" for token in range(weights.shape[1])]
    facts = [""] + [
        f"<small>spread {100 * share:.0f} %</small> <small>moves {100 * moved:.0f} %</small>"
        for share, moved in zip(spreads, moves, strict=True)
    ]
    for name, fact, row in zip(names, facts, rows, strict=True):
        parts.append(f'<span class="name"><strong>{name}</strong> {fact}</span>')
        parts += [
            _image(picture, f"{name}, step {step}")
            for picture, step in zip(row, found.steps, strict=True)
        ]
    return f'<div class="looks" style="--steps:{len(found.steps)}">{"".join(parts)}</div>'


def _image(jpeg: bytes, words: str) -> str:
    return (
        f'<img alt="{words}" src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode("ascii")}">'
    )


def _jpeg(picture: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "JPEG", quality=82)
    return content.getvalue()
