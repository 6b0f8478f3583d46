"""What dynamics models imagined beside what happened: curves of each number, and films of the scenes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from understudy.data.dataset import EpisodeDataset
from understudy.envs import make
from understudy.envs.base import EnvConfig, Environment
from understudy.progress import progress_bar
from understudy.rollout.video import write_video
from understudy.serialisation import from_jsonable
from understudy.types import UserError

MOST_CURVES = 12
_REAL, _SEEN = "0.2", "0.93"
_FRAME = 6  # pixels around a picture: the model's colour where it imagines


@dataclass(frozen=True)
class Imagined:
    """One window. episode, first: where in the dataset it begins. seen: so many steps were real for the models, too.

    state (t, s) and reward (t - 1,) are what happened, in the simulator's units; imagined the same of each model, by
    name, from step `seen` on: (t - 1 - seen, s) and (t - 1 - seen,).
    """

    episode: int
    first: int
    seen: int
    state: Float[np.ndarray, "t s"]
    reward: Float[np.ndarray, "u"]
    imagined: dict[str, tuple[np.ndarray, np.ndarray]]


def curves(windows: Sequence[Imagined], names: Sequence[str]) -> bytes:
    """An SVG: a column a window, a row a number of the state (the `MOST_CURVES` that vary most) and the reward. What
    the models saw is shaded."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    spread = np.concatenate([window.state for window in windows]).std(axis=0)
    rows = sorted(np.argsort(-spread, kind="stable")[:MOST_CURVES].tolist())
    figure = Figure(figsize=(4.2 * len(windows), 1.1 * (len(rows) + 1) + 0.8), layout="constrained")
    panels = figure.subplots(len(rows) + 1, len(windows), squeeze=False, sharex="col")
    for column, window in zip(panels.T, windows, strict=True):
        column[0].set_title(f"episode {window.episode}, from frame {window.first}", fontsize=9)
        for panel, number in zip(column, rows, strict=False):
            told = {name: state[:, number] for name, (state, _) in window.imagined.items()}
            _draw(panel, window.seen, window.state[:, number], told, names[int(number)])
        _draw(column[-1], window.seen, window.reward, {n: r for n, (_, r) in window.imagined.items()}, "reward")
        column[-1].set_xlabel("step")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    drawn = io.BytesIO()
    FigureCanvasSVG(figure).print_svg(drawn, metadata={"Date": None})
    return drawn.getvalue()


def films(windows: Sequence[Imagined], dataset: EpisodeDataset, folder: Path) -> list[str]:
    """Write imagined-N.mp4 of each window: the real scene, then each model's, drawn from states by the simulator that
    they were recorded in. Around a scene that a model imagines is a frame of its curve's colour.

    Returns what to say to the user: where films are, or why there are none.
    """
    try:
        scenes = [(window, _simulator(dataset, window)) for window in windows]
    except UserError as reason:
        return [f"no films: {reason}"]
    said = []
    with progress_bar("films", sum(len(window.state) for window in windows)) as bar:
        done = 0
        for number, (window, env) in enumerate(scenes):
            path, frames = folder / f"imagined-{number}.mp4", []
            for step in range(len(window.state)):
                frames.append(_frame(env, window, step))
                done += 1
                bar.show(done, "")
            env.close()
            write_video(path, frames, fps=min(30.0, dataset.fps))
            said.append(f"{path}: episode {window.episode}; from the left: real, {', '.join(window.imagined)}")
    return said


def _draw(panel: Any, seen: int, real: np.ndarray, told: dict[str, np.ndarray], label: str) -> None:
    """states begin at step 0, so imagined ones at `seen` + 1; rewards are those of steps, imagined from `seen` on."""
    panel.axvspan(0, seen, color=_SEEN, lw=0)
    panel.plot(real, color=_REAL, lw=1.5, label="real")
    for colour, (name, values) in enumerate(told.items()):
        panel.plot(len(real) - len(values) + np.arange(len(values)), values, color=f"C{colour}", lw=1, label=name)
    panel.set_ylabel(label, fontsize=7, rotation=0, ha="right")
    panel.tick_params(labelsize=7)


def _simulator(dataset: EpisodeDataset, window: Imagined) -> Environment:
    """The episode's, at its beginning. Raises UserError where there is none that can draw states."""
    task = dataset.tasks[dataset.episode_task[window.episode]].name
    if not dataset.environment:
        raise UserError(f"{dataset.path} does not say in which simulator it was recorded")
    env = make(task, from_jsonable(EnvConfig, dict(dataset.environment)))
    if env.interface.state_names != dataset.spec.state_names:
        raise UserError(f"the state of {task} is another one here than in {dataset.path}")
    env.begin(max(0, dataset.seed(window.episode)))
    if env.depict(window.state[0]) is None:
        raise UserError(f"{task.partition('/')[0]} cannot draw a scene from a state")
    return env


def _frame(env: Environment, window: Imagined, step: int) -> np.ndarray:
    """One row of pictures: what was, and what each model thinks. A state that is not finite has a black one."""
    from matplotlib.colors import to_rgb

    real = env.depict(window.state[step])
    assert real is not None
    row = [_framed(real, to_rgb(_REAL))]
    for colour, (states, _) in enumerate(window.imagined.values()):
        if step <= window.seen:
            row.append(row[0])
            continue
        state = states[step - window.seen - 1]
        drawn = env.depict(state) if np.isfinite(state).all() else None
        row.append(_framed(np.zeros_like(real) if drawn is None else drawn, to_rgb(f"C{colour}")))
    return np.concatenate(row, axis=1)


def _framed(picture: np.ndarray, colour: tuple[float, float, float]) -> np.ndarray:
    h, w, _ = picture.shape
    framed = np.empty((h + 2 * _FRAME, w + 2 * _FRAME, 3), np.uint8)
    framed[:] = np.rint(255 * np.asarray(colour))
    framed[_FRAME:-_FRAME, _FRAME:-_FRAME] = picture
    return framed
