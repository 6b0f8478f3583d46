"""The page of presets: what each is for, its parameters, and what it costs by the archived
studies."""

from __future__ import annotations

import json
import re
import statistics
import sys
import tarfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from configuration import config_kinds
from pages import cell, code, page, table

from manyparts.cli import listing
from manyparts.core.errors import UserError
from manyparts.core.serialisation import to_jsonable
from manyparts.core.spec import ActionContract, Spec
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.methods import describe, preset, preset_names
from manyparts.objectives.base import every_objective
from manyparts.objectives.system import System
from manyparts.training.config import TrainConfig
from manyparts.training.optimizer import train_only, trained

EVIDENCE = Path(__file__).parents[2] / "docs" / "evidence"
ON_TWO_CORES = ("dualmind-laptop", "embodiments-laptop", "representations-laptop")
ON_TWO_CORES += ("dynamics-specialist-laptop", "dynamics-generalist-laptop")
# Fields that change neither what is computed in a step nor how many steps there are.
IGNORED = {
    "new_embodiment",
    "seed",
    "processes",
    "sharding",
    "compile",
    "precision",
    "buffer_frames",
    "freeze_untrained",
}
IGNORED |= {
    "checkpoint_every_steps",
    "validate_every_steps",
    "log_every_steps",
    "log_gradients",
    "online",
    "validation_fraction",
}
IGNORED |= {"train_only", "new_parameters"}
INTRODUCTION = """
```bash
manyparts list presets dualmind          # names, in your terminal
manyparts train dualmind/phase1-laptop --help
```

A preset is a complete configuration by name: method, phase and size. `debug` takes seconds and is
for tests, `laptop` is for two CPU cores, and `base` and `paper` are the papers' sizes, for a GPU.
You can change each field by a flag.

**Parameters** are those that a run trains, counted for one camera (64 px, `base` 224 px), 4 state
numbers and 4 actions. **Core minutes** are the median over archived runs with the same model,
losses and steps, on two CPU cores (`docs/evidence/`). They depend on the embodiment: more state
numbers or actions cost more. An empty cell was not counted or not measured.
"""


def render() -> str:
    """The page."""
    costs, methods, described = core_minutes(), defaultdict(list), listing.methods()
    for name in preset_names():
        methods[name.partition("/")[0]].append(name)
    parts = ["## What they score", _scores()]
    for method, names in methods.items():
        parts += [f"## {method}", f"{described[method]}.", _families(names), _sizes(names, costs)]
    return page("Presets", INTRODUCTION, parts)


def _scores() -> str:
    note = (
        "What was measured of an agent's last run. The Results pages say on how many episodes and "
        "seeds, and hold the comparisons.\n\n"
    )
    scored = {name: describe(name) for name in preset_names() if describe(name).score}
    rows = [(code(name), facts.score or "") for name, facts in scored.items()]
    return note + table(("last run", "score"), rows)


def _families(names: Sequence[str]) -> str:
    """What each preset is for, once for all its sizes."""
    families: dict[str, list[str]] = defaultdict(list)
    for name in names:
        families[family_and_size(name)[0]].append(name)
    texts = {family: _purpose(members) for family, members in families.items()}
    rows = []
    for family, members in families.items():
        config = preset(_typical(members))
        same_text = [other for other in families if texts[other][0] == texts[family][0]]
        losses = {_losses(preset(_typical(families[other]))) for other in same_text}
        purpose = _losses(config) if len(losses) > 1 else " ".join(texts[family]).strip()
        sizes = ", ".join(code(family_and_size(name)[1]) for name in members)
        rows.append((code(family), sizes, cell(purpose), _parts(config)))
    return table(("preset", "sizes", "what it is", "model and losses"), rows)


def family_and_size(name: str) -> tuple[str, str]:
    """The name of a preset without its size, and the size: dreamer/laptop is dreamer, laptop."""
    method, _, own = name.partition("/")
    family, dash, size = own.rpartition("-")
    return (f"{method}/{family}", size) if dash else (method, own)


def _typical(members: Sequence[str]) -> str:
    """Of a preset's sizes the laptop's, or the first that is not for tests."""
    usual = [name for name in members if not name.endswith("debug")]
    return next((name for name in usual if name.endswith("laptop")), usual[0])


def _purpose(members: Sequence[str]) -> tuple[str, str]:
    """What `manyparts list presets` says, and the arguments that it adds, without the size."""
    name = _typical(members)
    text, arguments = re.fullmatch(
        r"(.*?)((?: \([\w-]+\))*)", listing.presets()[name], re.DOTALL
    ).groups()
    return text, arguments.replace(f" ({name.rpartition('-')[2]})", "").strip()


def _losses(config: TrainConfig) -> str:
    """What the modules of its losses say of them."""
    declared = every_objective()
    modules = dict.fromkeys(
        sys.modules[declared[type(each)].__module__] for each in config.objectives.values()
    )
    return " ".join(
        f"{(module.__doc__ or '').strip().partition('. ')[0].rstrip('.')}." for module in modules
    )


def _parts(config: TrainConfig) -> str:
    """Links to the configurations that it is made of."""
    kinds = [type(config.model), *map(type, config.objectives.values())]
    return ", ".join(
        f"[{kind.__name__}](configuration.md#{kind.__name__.lower()})"
        for kind in dict.fromkeys(kinds)
    )


def _sizes(names: Sequence[str], costs: Mapping[str, float]) -> str:
    rows = []
    for name in names:
        config = preset(name)
        count = parameters(config)
        cost = costs.get(name)
        rows.append(
            (
                code(name),
                "" if count is None else _rounded(count),
                f"{config.steps:,}".replace(",", " "),
                str(config.batch_size),
                "" if cost is None else f"{cost:.1f}",
            )
        )
    return table(("preset", "parameters", "steps", "windows in a step", "core minutes"), rows)


def _rounded(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count >= 1e6 else f"{count / 1e3:.0f} k"


def parameters(config: TrainConfig) -> int | None:
    """Parameters that a run trains; None where weights from the Hub belong to the model and are not
    here."""
    side = 224 if any(kind.__name__ == "ViTConfig" for kind in config_kinds(config)) else 64
    if any(kind.__name__ == "PretrainedTextConfig" for kind in config_kinds(config)):
        return None
    names = ("x", "y", "z", "gripper")
    action = ActionContract(
        "end-effector displacement", "world", names, (-1.0,) * 4, (1.0,) * 4, 80.0
    )
    spec = Spec("arm", {"camera": (side, side)}, names, action)
    try:
        system = System.build(
            config.model, config.objectives, EmbodimentSet((spec,)), config.window
        )
    except UserError:
        return None
    train_only(system, config.train_only)
    return sum(parameter.numel() for parameter in trained(system).values())


def core_minutes() -> dict[str, float]:
    """Preset to the median core minutes of the archived runs that did the same work."""
    spent: dict[str, list[float]] = defaultdict(list)
    for config, seconds in _archived_runs():
        spent[_work(config)].append(seconds / 60)
    works = {name: _work(to_jsonable(preset(name), former=True)) for name in preset_names()}
    return {name: statistics.median(spent[work]) for name, work in works.items() if work in spent}


def _work(config: Mapping[str, Any]) -> str:
    kept = {name: value for name, value in config.items() if name not in IGNORED}
    # The archives are from before rates could differ.
    kept["optimizer"] = {
        name: value for name, value in config["optimizer"].items() if name != "rates" or value
    }
    return json.dumps(kept, sort_keys=True)


def _archived_runs() -> Iterator[tuple[Mapping[str, Any], float]]:
    """The configuration of every archived run, and the seconds that its cores computed."""
    for name in ON_TWO_CORES:
        path = EVIDENCE / f"{name}.tar.xz"
        if path.exists():
            yield from _runs_of(path)


def _runs_of(archive: Path) -> Iterator[tuple[Mapping[str, Any], float]]:
    stages: dict[str, dict[str, Any]] = defaultdict(dict)
    with tarfile.open(archive) as files:
        for member in files:
            folder, _, name = member.name.rpartition("/")
            if "/train-" in member.name and name in ("stage.json", "done.json"):
                content = files.extractfile(member)
                assert content is not None, member.name
                stages[folder][name] = json.load(content)
    for stage in stages.values():
        if len(stage) == 2:
            yield stage["stage.json"]["config"], stage["done.json"]["core_seconds"]


torch.set_num_threads(1)
