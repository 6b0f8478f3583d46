"""What the plan vid2act rests on: variances of a prototype, power, and core hours.

python scripts/plans/vid2act_power.py

The prototype was throw-away code of November 2026: Dreamer of these sizes on metaworld/door-open
from states, with six sources. Its numbers are returns of five validation episodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from power import detectable, hours, pooled_std, power_of

from manyparts.evaluation.curves import Curve
from manyparts.studies.engine.stages import Evaluate, Stage, Train, TrainOnline
from manyparts.studies.library.vid2act import scale_of
from manyparts.studies.library.vid2act_methods import FINETUNED, SCRATCH, VID2ACT

FULL = 1500.0  # about the return of the best run
SEEDS, TASKS = 5, 2
LATE = (2000, 8000, 14_000, 20_000, 24_000, 26_000, 30_000)
# Returns of each seed at the steps of LATE.
UNTIL_30: Mapping[str, Sequence[Sequence[float]]] = {
    SCRATCH: ((75, 241, 377, 773, 776, 967, 1259),),
    FINETUNED: (
        (185, 390, 464, 842, 1262, 1325, 1270),
        (163, 429, 354, 636, 1352, 1104, 1330),
    ),
    "no replay, no floor": ((165, 392, 471, 824, 826, 1356, 1544),),
    "no replay": ((165, 392, 417, 565, 724, 721, 727),),
    VID2ACT: ((396, 426, 352, 524, 581, 507, 578), (107, 368, 544, 559, 568, 420, 692)),
}
EARLY = (4000, 6000, 8000, 10_000, 12_000, 14_000)
# Returns at the steps of EARLY, of returns that were not normalised by their range.
UNTIL_14: Mapping[str, Sequence[Sequence[float]]] = {
    SCRATCH: (
        (90, 112, 191, 280, 108, 271),
        (58, 173, 276, 338, 372, 391),
        (55, 59, 409, 381, 382, 401),
    ),
    "guide as a prior": (
        (420, 464, 418, 388, 517, 510),
        (397, 446, 405, 552, 468, 462),
        (86, 247, 356, 223, 306, 481),
    ),
}
# Core minutes of a run from states, and from images; of the presets of each method's run.
MINUTES = {"online": (8.0, 11.0), "student": (9.5, 14.0), "rehearsed": (12.0, 18.0)}
TEACHER_MINUTES = (4.0, 10.0)


def areas(steps: Sequence[int], returns: Sequence[Sequence[float]]) -> np.ndarray:
    """Return the area under the curve of each seed, (seeds,), as a fraction of `FULL`."""
    curves = [Curve(np.array(steps), np.array(each) / FULL) for each in returns]
    return np.array([each.area() for each in curves])


def cost(stage: Stage) -> float:
    """Return about the core seconds of a stage."""
    if isinstance(stage, TrainOnline):
        online = stage.config.online
        assert online is not None
        from_images = stage.config.model.sees == "images"  # type: ignore[union-attr]
        usual = scale_of("laptop").image_steps if from_images else 30_000
        minutes = MINUTES[stage.config.phase][from_images]
        return 60 * minutes * online.environment_steps / usual
    if isinstance(stage, Train):
        from_images = stage.config.model.sees == "images"  # type: ignore[union-attr]
        return 60 * TEACHER_MINUTES[from_images] * stage.config.steps / 3000
    return 40.0 if isinstance(stage, Evaluate) else 60.0


def main() -> None:
    samples: list[np.ndarray] = []
    for steps, table in ((LATE, UNTIL_30), (EARLY, UNTIL_14)):
        print(f"areas under the curve from {steps[0]} to {steps[-1]} steps, by seed")
        for method, returns in table.items():
            found = areas(steps, returns)
            print(f"  {method:22} {', '.join(f'{area:.3f}' for area in found)}")
            if len(found) > 1:
                samples.append(found)
    std, freedom = pooled_std(samples)
    print(f"std of seeds on one task: {std:.3f} ({freedom} d.f.)")
    late = {method: areas(LATE, returns).mean() for method, returns in UNTIL_30.items()}
    effects = [late[method] - late[SCRATCH] for method in ("no replay, no floor", VID2ACT)]
    print(f"distillation alone and Vid2Act minus scratch: {effects[0]:+.3f}, {effects[1]:+.3f}")
    for factor in (1.0, 2.0):
        error = factor * std / np.sqrt(TASKS) * np.sqrt(2 / SEEDS)
        for confidence in (0.95, 0.9875):
            powers = [power_of(abs(part), error, 8, confidence) for part in (0.1, 0.05, 0.03)]
            print(
                f"  {SEEDS} seeds, {TASKS} tasks, std x {factor:g}, interval of {confidence:.2%}: "
                f"power {', '.join(f'{power:.2f}' for power in powers)} for 0.1, 0.05 and 0.03; "
                f"0.8 for {detectable(error, 8, confidence):.3f}"
            )
    hours("vid2act", cost)


if __name__ == "__main__":
    main()
