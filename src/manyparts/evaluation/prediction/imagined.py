"""What dynamics models imagined next to what happened: curves of each number, and films of the
scenes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from manyparts.core.errors import UserError
from manyparts.core.progress import progress_bar
from manyparts.core.serialisation import from_jsonable
from manyparts.data.dataset import EpisodeDataset
from manyparts.embodiment.codec import Codec
from manyparts.envs.base import EnvConfig, Environment
from manyparts.envs.registry import make
from manyparts.evaluation.prediction.chart import legend_of, write_chart
from manyparts.evaluation.prediction.forecast import Imagined
from manyparts.rollout.video import write_video

CURVES, FILM = "imagined.svg", "imagined-{}.mp4"
MAX_CURVES = 12
_REAL, _CONTEXT = "0.2", "0.93"  # greys
_FRAME = 6  # pixels around an image, in the model's colour where it imagines
_SIDE = 192  # pixels that images are enlarged to, about


def show(windows: Sequence[Imagined], dataset: EpisodeDataset, folder: Path) -> list[str]:
    """Write imagined.svg, and imagined-N.mp4 of each window.

    Films of an earlier run are deleted. A film has the real scene on the left, then each model's. A
    model that predicts images draws them itself. Those that predict states are drawn by the
    simulator that the states were recorded in, if it can; a state that is not finite is black.
    Around a scene that a model imagines is a frame of its curve's colour.

    Args:
        windows: what models imagined, see `imagine`.
        dataset: the dataset that the windows are from.
        folder: where files are written; it is made if it does not exist.

    Returns:
        Lines for the user: where files are, or why there are no films.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(FILM.format("*")):
        old.unlink()
    if not write_chart(folder / CURVES, lambda: curves(windows, dataset)):
        return ["no film: it takes its colours from Matplotlib"]
    lines = [f"{folder / CURVES}: the numbers of {len(windows)} predictions"]
    with progress_bar("films", len(windows)) as bar:
        for number, window in enumerate(windows):
            path = folder / FILM.format(number)
            try:
                with _columns(window, dataset) as columns:
                    write_video(path, _film(columns, window), fps=min(30.0, dataset.fps))
            except UserError as reason:
                return [*lines, f"no film: {reason}"]
            bar.show(number + 1, "")
            models = ", ".join(window.drawn or window.imagined)
            lines.append(f"{path}: episode {window.episode}; from the left: real, {models}")
    return lines


def curves(windows: Sequence[Imagined], dataset: EpisodeDataset) -> bytes:
    """An SVG with a column for each window, and a row for each number of the state, if a model
    predicts states, and for the reward.

    If the state has more than `MAX_CURVES` numbers, those are drawn that vary most, in the
    dataset's stds. The models' context is shaded.

    Args:
        windows: what models imagined, see `imagine`; at least one.
        dataset: the dataset that the windows are from.

    Returns:
        The file's content.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    names = dataset.spec.state_names
    rows: list[int] = []
    if any(state.shape[1] for state, _ in windows[0].imagined.values()):
        std = Codec.of(dataset.spec, dataset.statistics).normaliser.scale
        spread = np.mean([window.state.std(axis=0) for window in windows], axis=0) / std
        rows = sorted(np.argsort(-spread, kind="stable")[:MAX_CURVES].tolist())
    figure = Figure(figsize=(4.2 * len(windows), 1.1 * (len(rows) + 1) + 0.8), layout="constrained")
    panels = figure.subplots(len(rows) + 1, len(windows), squeeze=False, sharex="col")
    for column, window in zip(panels.T, windows, strict=True):
        column[0].set_title(f"episode {window.episode}, from frame {window.first}", fontsize=9)
        for panel, number in zip(column, rows, strict=False):
            states = {
                name: state[:, number] if state.shape[1] else np.zeros(0)
                for name, (state, _) in window.imagined.items()
            }
            real = window.state[:, number]
            _draw(panel, window.context, real, states, names[int(number)])
        rewards = {name: reward for name, (_, reward) in window.imagined.items()}
        _draw(column[-1], window.context, window.reward, rewards, "reward")
        column[-1].set_xlabel("step")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    settings = legend_of(labels, panels=len(windows))
    figure.legend(handles=handles, **settings, loc="outside lower center")
    drawn = io.BytesIO()
    FigureCanvasSVG(figure).print_svg(drawn, metadata={"Date": None})
    return drawn.getvalue()


def _draw(
    panel: Any, context: int, real: np.ndarray, imagined: dict[str, np.ndarray], label: str
) -> None:
    """The curves of one number; an imagined one ends where the real one does."""
    panel.axvspan(0, context, color=_CONTEXT, lw=0)
    panel.plot(real, color=_REAL, lw=1.5, label="real")
    for colour, (name, values) in enumerate(imagined.items()):
        steps = len(real) - len(values) + np.arange(len(values))
        panel.plot(steps, values, color=f"C{colour}", lw=1, label=name)
    panel.set_ylabel(label, fontsize=7, rotation=0, ha="right")
    panel.tick_params(labelsize=7)


def _simulator(dataset: EpisodeDataset, window: Imagined) -> Environment:
    """The environment of the window's episode, at its beginning.

    Raises:
        UserError: there is none, or it cannot draw states.
    """
    task = dataset.tasks[dataset.episode_task[window.episode]].environment
    seed = dataset.seed(window.episode)
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


@contextmanager
def _columns(window: Imagined, dataset: EpisodeDataset) -> Iterator[list[Iterator[np.ndarray]]]:
    """Images step by step: of the real scene, and of each model's.

    Raises:
        UserError: no model predicts images, and there is no simulator that draws states.
    """
    if window.drawn:
        yield [iter(_stacked(images)) for images in (window.images, *window.drawn.values())]
        return
    # In its context a model has the real states.
    imagined = [
        np.concatenate([window.state[: window.context + 1], states])
        for states, _ in window.imagined.values()
    ]
    with closing(_simulator(dataset, window)) as env:
        yield [_scenes(env, states) for states in (window.state, *imagined)]


def _film(columns: Sequence[Iterator[np.ndarray]], window: Imagined) -> Iterator[np.ndarray]:
    """Rows of images, step by step: the real scene, and each model's."""
    from matplotlib.colors import to_rgb

    models = list(window.imagined)
    own = [f"C{models.index(name)}" for name in window.drawn or models]
    for step, row in enumerate(zip(*columns, strict=True)):
        imagined = own if step > window.context else [_REAL] * len(own)
        colours = [_REAL, *imagined]
        framed = [
            _framed(image, to_rgb(colour)) for image, colour in zip(row, colours, strict=True)
        ]
        yield np.concatenate(framed, axis=1)


def _stacked(images: Mapping[str, np.ndarray]) -> np.ndarray:
    """The images of all cameras below each other, enlarged for the eye: uint8 (t, h, w, 3) with
    even sides."""
    large = []
    for frames in images.values():
        factor = max(1, round(_SIDE / max(frames.shape[1:3])))
        large.append(frames.repeat(factor, axis=1).repeat(factor, axis=2))
    width = max(frames.shape[2] for frames in large)
    width += width % 2
    height = sum(frames.shape[1] for frames in large)
    stacked = np.zeros((len(large[0]), height + height % 2, width, 3), np.uint8)
    top = 0
    for frames in large:
        stacked[:, top : top + frames.shape[1], : frames.shape[2]] = frames
        top += frames.shape[1]
    return stacked


def _scenes(env: Environment, states: Float[np.ndarray, "t s"]) -> Iterator[np.ndarray]:
    """An image of each state; black where it is not finite."""
    drawn = env.depict(state for state in states if np.isfinite(state).all())
    assert drawn is not None
    image = np.zeros(0)
    for state in states:
        image = next(drawn) if np.isfinite(state).all() else np.zeros_like(image)
        yield image


def _framed(image: np.ndarray, colour: tuple[float, float, float]) -> np.ndarray:
    """The image, uint8 (h, w, 3), with a frame around it."""
    h, w, _ = image.shape
    framed = np.empty((h + 2 * _FRAME, w + 2 * _FRAME, 3), np.uint8)
    framed[:] = np.rint(255 * np.asarray(colour))
    framed[_FRAME:-_FRAME, _FRAME:-_FRAME] = image
    return framed
