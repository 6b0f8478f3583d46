"""What dynamics models imagined beside what happened: curves of each number, and films of the
scenes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from manyparts.core.errors import UserError
from manyparts.core.progress import progress_bar
from manyparts.core.serialisation import from_jsonable
from manyparts.data.dataset import EpisodeDataset
from manyparts.embodiment.normalisation import StateNormaliser
from manyparts.envs.base import EnvConfig, Environment
from manyparts.envs.registry import make
from manyparts.evaluation.prediction.chart import legend_of, write_chart
from manyparts.evaluation.prediction.forecast import Imagined
from manyparts.rollout.video import write_video

CURVES, FILM = "imagined.svg", "imagined-{}.mp4"
MOST_CURVES = 12
_REAL, _SEEN = "0.2", "0.93"
_FRAME = 6  # pixels around a picture: the model's colour where it imagines


def show(windows: Sequence[Imagined], dataset: EpisodeDataset, folder: Path) -> list[str]:
    """Write imagined.svg, and imagined-N.mp4 of each window where a simulator can draw it; films of
    a run before go.

    A film has the real scene on the left, then each model's, drawn from states by the simulator
    that they were recorded in. Around a scene that a model imagines is a frame of its curve's
    colour; a state that is not finite is black. Returns what to say to the user: where things are,
    or why there are no films.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(FILM.format("*")):
        old.unlink()
    if not write_chart(folder / CURVES, lambda: curves(windows, dataset)):
        return ["no film: it takes its colours from Matplotlib"]
    said = [f"{folder / CURVES}: the numbers of {len(windows)} predictions"]
    with progress_bar("films", len(windows)) as bar:
        for number, window in enumerate(windows):
            path = folder / FILM.format(number)
            try:
                with closing(_simulator(dataset, window)) as env:
                    write_video(path, _film(env, window), fps=min(30.0, dataset.fps))
            except UserError as reason:
                return [*said, f"no film: {reason}"]
            bar.show(number + 1, "")
            said.append(
                f"{path}: episode {window.episode}; from the left: real, {', '.join(window.imagined)}"
            )
    return said


def curves(windows: Sequence[Imagined], dataset: EpisodeDataset) -> bytes:
    """An SVG: a column a window, a row a number of the state (of more than `MOST_CURVES` those that
    vary most, in the dataset's stds) and the reward. What the models saw is shaded."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    names = dataset.spec.state_names
    std = StateNormaliser.of(dataset.statistics, len(names)).scale
    spread = np.mean([window.state.std(axis=0) for window in windows], axis=0) / std
    rows = sorted(np.argsort(-spread, kind="stable")[:MOST_CURVES].tolist())
    figure = Figure(figsize=(4.2 * len(windows), 1.1 * (len(rows) + 1) + 0.8), layout="constrained")
    panels = figure.subplots(len(rows) + 1, len(windows), squeeze=False, sharex="col")
    for column, window in zip(panels.T, windows, strict=True):
        column[0].set_title(f"episode {window.episode}, from frame {window.first}", fontsize=9)
        for panel, number in zip(column, rows, strict=False):
            told = {name: state[:, number] for name, (state, _) in window.imagined.items()}
            _draw(panel, window.seen, window.state[:, number], told, names[int(number)])
        _draw(
            column[-1],
            window.seen,
            window.reward,
            {n: r for n, (_, r) in window.imagined.items()},
            "reward",
        )
        column[-1].set_xlabel("step")
    handles, told = panels[0, 0].get_legend_handles_labels()
    figure.legend(
        handles=handles, **legend_of(told, panels=len(windows)), loc="outside lower center"
    )
    drawn = io.BytesIO()
    FigureCanvasSVG(figure).print_svg(drawn, metadata={"Date": None})
    return drawn.getvalue()


def _draw(panel: Any, seen: int, real: np.ndarray, told: dict[str, np.ndarray], label: str) -> None:
    """What models tell ends with what is real."""
    panel.axvspan(0, seen, color=_SEEN, lw=0)
    panel.plot(real, color=_REAL, lw=1.5, label="real")
    for colour, (name, values) in enumerate(told.items()):
        panel.plot(
            len(real) - len(values) + np.arange(len(values)),
            values,
            color=f"C{colour}",
            lw=1,
            label=name,
        )
    panel.set_ylabel(label, fontsize=7, rotation=0, ha="right")
    panel.tick_params(labelsize=7)


def _simulator(dataset: EpisodeDataset, window: Imagined) -> Environment:
    """The episode's, at its beginning. Raises UserError where there is none, or none that can draw
    states."""
    task, seed = (
        dataset.tasks[dataset.episode_task[window.episode]].name,
        dataset.seed(window.episode),
    )
    if not dataset.environment or seed < 0:
        raise UserError(
            f"{dataset.path} does not say in which simulator and from which seed it was recorded"
        )
    env = make(task, from_jsonable(EnvConfig, dict(dataset.environment)))
    env.begin(seed)
    reasons = {
        f"the state of {task} is another one here than in {dataset.path}": (
            env.embodiment_spec.state_names != dataset.spec.state_names
        ),
        f"{task.partition('/')[0]} cannot draw a scene from a state": env.depict([]) is None,
    }
    for reason, holds in reasons.items():
        if holds:
            env.close()
            raise UserError(reason)
    return env


def _film(env: Environment, window: Imagined) -> Iterator[np.ndarray]:
    """Rows of pictures, step by step: what was, and what each model thinks."""
    from matplotlib.colors import to_rgb

    told = [
        np.concatenate([window.state[: window.seen + 1], states])
        for states, _ in window.imagined.values()
    ]
    columns = [_scenes(env, states) for states in (window.state, *told)]
    for step, row in enumerate(zip(*columns, strict=True)):
        colours = [
            _REAL,
            *(f"C{index}" if step > window.seen else _REAL for index in range(len(told))),
        ]
        framed = [
            _framed(picture, to_rgb(colour)) for picture, colour in zip(row, colours, strict=True)
        ]
        yield np.concatenate(framed, axis=1)


def _scenes(env: Environment, states: Float[np.ndarray, "t s"]) -> Iterator[np.ndarray]:
    drawn = env.depict(state for state in states if np.isfinite(state).all())
    assert drawn is not None
    picture = np.zeros(0)
    for state in states:
        picture = next(drawn) if np.isfinite(state).all() else np.zeros_like(picture)
        yield picture


def _framed(picture: np.ndarray, colour: tuple[float, float, float]) -> np.ndarray:
    h, w, _ = picture.shape
    framed = np.empty((h + 2 * _FRAME, w + 2 * _FRAME, 3), np.uint8)
    framed[:] = np.rint(255 * np.asarray(colour))
    framed[_FRAME:-_FRAME, _FRAME:-_FRAME] = picture
    return framed
