"""Why a hidden context confounds behaviour cloning, but not inverse dynamics: a case that can be
computed exactly.

A point at s in the plane is moved: s' = s + a. A frame o = M (s, n) mixes its position with
nuisance n by a rotation M.

World "drift": each trajectory has a hidden direction, and a is that direction. It is drawn
independently of the position, so E[a | o] = 0 for every frame. The best that cloning can do is to
predict 0: every encoder is as good as any other, and a finite sample teaches it noise. Inverse
dynamics sees o and o'. There a = s' - s is linear in both, and the only encoder to two numbers that
predicts it is the one that keeps s.

World "goals": each trajectory has a hidden goal g, and a = g - s. There E[a | o] = E[g] - s depends
on the position, so a hidden context alone does not confound cloning.

Then a policy for one context, "go to the origin" (a = -s), is fitted on the frozen encoder from a
few demonstrations. All encoders and policies are linear, so that least squares minimises every
loss exactly.

    python -m manyparts.studies.library.confounding docs/images/confounding.svg
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np

World = Literal["drift", "goals"]
Method = Literal["inverse dynamics", "cloning", "random", "position itself"]
DEMONSTRATIONS = (4, 8, 16, 32, 64)
_POSITION, _NUISANCE = 2, 30  # dimensions
_FRAMES, _NEW = 4000, 2000  # frames to pretrain on, and to test on


def errors(
    world: World, demonstrations: Sequence[int] = DEMONSTRATIONS, *, seeds: int = 20
) -> Mapping[Method, np.ndarray]:
    """Return each method's error on new frames: 0 is the expert's, 1 that of predicting 0.

    Args:
        world: Which world to pretrain in.
        demonstrations: Numbers of frames with actions that the policy is fitted on.
        seeds: How many repetitions.

    Returns:
        Method to the mean square error, divided by that of predicting 0, (seeds, demonstrations).
    """
    errors_by_method: dict[Method, np.ndarray] = {}
    for method in get_args(Method):
        rows = []
        for seed in range(seeds):
            rows.append([_error(world, method, count, seed) for count in demonstrations])
        errors_by_method[method] = np.asarray(rows)
    return errors_by_method


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
    predicted = observe(new) @ encoders[method] @ policy  # the expert's action is -new
    return float(np.square(predicted + new).mean() / np.square(new).mean())


def _least_squares(inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Return the linear map with the smallest error.

    The outputs have as many numbers as an encoder, so the map is also the best encoder.
    """
    return np.linalg.lstsq(inputs, outputs, rcond=None)[0]


def draw(path: str) -> None:
    """Draw means and stds over seeds as SVG, a panel per world. Equal calls give equal bytes."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for panel, world in zip(panels, get_args(World), strict=True):
        for method, values in errors(world).items():
            mean, std = values.mean(axis=0), values.std(axis=0)
            dashes = "--" if method == "position itself" else "-"
            (line,) = panel.plot(
                DEMONSTRATIONS, mean, dashes, label=method, marker="o", markersize=3
            )
            panel.fill_between(
                DEMONSTRATIONS, mean - std, mean + std, alpha=0.15, color=line.get_color()
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
    # Without a salt matplotlib draws the ids in the file at random.
    with rc_context({"svg.hashsalt": "confounding"}):
        FigureCanvasSVG(figure).print_svg(path, metadata={"Date": None})


if __name__ == "__main__":
    draw(sys.argv[1])
