"""Why a hidden context confounds behaviour cloning and not inverse dynamics: a case that can be
computed exactly.

A body at s, in the plane, is moved: s' = s + a. A frame o = M (s, n) mixes its position with
nuisance n by a rotation M. In the world "drift" each trajectory has a direction of its own that
nobody sees, and a is that direction. Directions are drawn without regard to the position, so E[a |
o] = 0 whatever the frame: the best a cloner can do is to predict nothing, every encoder is as good
as any other, and what a finite sample teaches it is noise. Inverse dynamics sees o and o': a = s' -
s is linear in them, and the only encoder of two numbers that tells it is the one that keeps s. In
the world "goals" each trajectory has a hidden goal g, and a = g - s. There E[a | o] = E[g] - s
tells the position as well, so a hidden context alone does not confound cloning.

Afterwards a context is given, "come to the middle", a = -s, by few demonstrations, and a linear
policy is fitted on the frozen encoder. All encoders and policies are linear, so every loss is
minimised exactly, by least squares.

    python -m manyparts.studies.library.confounding docs/confounding.svg
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np

World = Literal["drift", "goals"]
Method = Literal["inverse dynamics", "cloning", "random", "position itself"]
DEMONSTRATIONS = (4, 8, 16, 32, 64)
_POSITION, _NUISANCE, _FRAMES, _NEW = 2, 30, 4000, 2000


def errors(
    world: World, demonstrations: Sequence[int] = DEMONSTRATIONS, *, seeds: int = 20
) -> Mapping[Method, np.ndarray]:
    """Mean square error of the tuned policy on new frames, as a part of the actions' own: (seeds,
    demonstrations).

    0 is the expert, 1 is what predicting nothing costs. demonstrations: frames with their action,
    tuned on.
    """
    return {
        method: np.asarray(
            [
                [_error(world, method, count, seed) for count in demonstrations]
                for seed in range(seeds)
            ]
        )
        for method in get_args(Method)
    }


def _error(world: World, method: Method, count: int, seed: int) -> float:
    generator = np.random.default_rng(seed)
    mixing = np.linalg.qr(generator.normal(size=(_POSITION + _NUISANCE, _POSITION + _NUISANCE)))[0]

    def observe(position: np.ndarray) -> np.ndarray:
        nuisance = generator.normal(size=(len(position), _NUISANCE))
        return np.concatenate([position, nuisance], axis=1) @ mixing.T

    position = generator.normal(size=(_FRAMES, _POSITION))
    context = generator.normal(size=(_FRAMES, _POSITION))
    action = context if world == "drift" else context - position
    before, after = observe(position), observe(position + action)
    encoders = {
        "inverse dynamics": _least_squares(after - before, action),
        "cloning": _least_squares(before, action),
        "random": generator.normal(size=(_POSITION + _NUISANCE, _POSITION)),
        "position itself": mixing[:, :_POSITION],
    }
    few, new = generator.normal(size=(count, _POSITION)), generator.normal(size=(_NEW, _POSITION))
    policy = _least_squares(observe(few) @ encoders[method], -few)
    return float(
        np.square(observe(new) @ encoders[method] @ policy + new).mean() / np.square(new).mean()
    )


def _least_squares(inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """The linear map with the least error; of as many outputs as the encoder has numbers it is the
    best encoder."""
    return np.linalg.lstsq(inputs, outputs, rcond=None)[0]


def draw(path: str) -> None:
    """Means and stds over seeds, a panel a world."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for panel, world in zip(panels, get_args(World), strict=True):
        for method, found in errors(world).items():
            mean, spread = found.mean(axis=0), found.std(axis=0)
            dashes = "--" if method == "position itself" else "-"
            (line,) = panel.plot(
                DEMONSTRATIONS, mean, dashes, label=method, marker="o", markersize=3
            )
            panel.fill_between(
                DEMONSTRATIONS, mean - spread, mean + spread, alpha=0.15, color=line.get_color()
            )
        panel.set(
            xscale="log",
            xticks=DEMONSTRATIONS,
            xticklabels=DEMONSTRATIONS,
            xlabel="demonstrated frames",
        )
        panel.set(title=f"world: {world}", ylim=(-0.05, 2))
        panel.minorticks_off()
    panels[0].set_ylabel("error of the tuned policy")
    panels[1].legend(frameon=False, fontsize=8)
    FigureCanvasSVG(figure).print_svg(path, metadata={"Date": None})


if __name__ == "__main__":
    draw(sys.argv[1])
