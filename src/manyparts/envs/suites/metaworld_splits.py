"""Meta-World's tasks and its standard splits, by name, so that naming them needs no simulator."""

from __future__ import annotations

from collections.abc import Mapping

TASKS: tuple[str, ...] = (
    "assembly",
    "basketball",
    "bin-picking",
    "box-close",
    "button-press",
    "button-press-topdown",
    "button-press-topdown-wall",
    "button-press-wall",
    "coffee-button",
    "coffee-pull",
    "coffee-push",
    "dial-turn",
    "disassemble",
    "door-close",
    "door-lock",
    "door-open",
    "door-unlock",
    "drawer-close",
    "drawer-open",
    "faucet-close",
    "faucet-open",
    "hammer",
    "hand-insert",
    "handle-press",
    "handle-press-side",
    "handle-pull",
    "handle-pull-side",
    "lever-pull",
    "peg-insert-side",
    "peg-unplug-side",
    "pick-out-of-hole",
    "pick-place",
    "pick-place-wall",
    "plate-slide",
    "plate-slide-back",
    "plate-slide-back-side",
    "plate-slide-side",
    "push",
    "push-back",
    "push-wall",
    "reach",
    "reach-wall",
    "shelf-place",
    "soccer",
    "stick-pull",
    "stick-push",
    "sweep",
    "sweep-into",
    "window-close",
    "window-open",
)

_MT10 = (
    "reach",
    "push",
    "pick-place",
    "door-open",
    "drawer-open",
    "drawer-close",
    "button-press-topdown",
    "peg-insert-side",
    "window-open",
    "window-close",
)
_ML10_TRAIN = (
    "reach",
    "push",
    "pick-place",
    "door-open",
    "drawer-close",
    "button-press-topdown",
    "peg-insert-side",
    "window-open",
    "sweep",
    "basketball",
)
_ML10_TEST = ("drawer-open", "door-close", "shelf-place", "sweep-into", "lever-pull")
_ML45_TEST = ("bin-picking", "box-close", "hand-insert", "door-lock", "door-unlock")

SPLITS: Mapping[str, tuple[str, ...]] = {
    "mt10": _MT10,
    "mt50": TASKS,
    "ml10-train": _ML10_TRAIN,
    "ml10-test": _ML10_TEST,
    "ml45-train": tuple(task for task in TASKS if task not in _ML45_TEST),
    "ml45-test": _ML45_TEST,
}
