"""The page of tasks: every suite with its tasks, their instructions, and a picture of each."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from html import escape
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType

import manyparts
from manyparts import envs
from manyparts.envs.base import Environment
from manyparts.extras import install_command
from manyparts.surroundings.cores import cores
from manyparts.types import UserError
from markdown import cell, code, page, table
from PIL import Image

SIDE = 160  # pixels of a picture
SEED = 0
# Suites whose scenes look alike at the start: shown as the expert leaves them.
SHOWN_AT_THE_END = ("kitchen", "navigation")
# Of suites with many tasks that look alike, some of each split.
SHOWN = {"walkers": 4}
SPLITS_SHOWN = {"kitchen": ("subtasks",), "walkers": ("train-planar", "train-free", "test-planar", "test-free")}
INTRODUCTION = """
```bash
manyparts list tasks metaworld/          # names and instructions, in your terminal
manyparts collect metaworld/drawer-open --episodes 50 --output data/drawer
```

A task is named `suite/task`. Where a command takes tasks, it also takes a split of several, such as `metaworld/mt10`.
Every task has a scripted or planning expert, an instruction, and paraphrases of it. The pictures are `env.render()` of
the episode with seed 0: its first step, or in the kitchen and in navigation its last under the expert.
"""


@dataclass(frozen=True)
class Suite:
    """What the page says of one suite. problem: why there are no pictures; empty if there are."""

    name: str
    module: ModuleType
    shown: tuple[str, ...]
    problem: str

    @property
    def tasks(self) -> list[str]:
        return list(self.module.TASKS)


def render(pictures: Path | None) -> str:
    """The page. pictures: where its pictures are kept, next to it; None: it has none."""
    suites = [_suite(name) for name in envs.suite_names()]
    facts = draw(suites, pictures) if pictures is not None else {}
    rows = [_overview(suite) for suite in suites]
    heads = ("suite", "tasks", "simulator", "install")
    sections = [section for suite in suites for section in _section(suite, facts, pictures)]
    return page("Tasks", INTRODUCTION, [table(heads, rows), *sections])


def _suite(name: str) -> Suite:
    module = importlib.import_module(f"manyparts.envs.suites.{name}")
    missing = [package for package in module.PACKAGES if importlib.util.find_spec(package) is None]
    problem = f"{', '.join(missing)} is not installed here" if missing else ""
    return Suite(name, module, tuple(_shown(name, module)), problem)


def _shown(name: str, module: ModuleType) -> Iterator[str]:
    splits = SPLITS_SHOWN.get(name)
    for tasks in [module.TASKS] if splits is None else [module.SPLITS[split] for split in splits]:
        yield from list(tasks)[: SHOWN.get(name)]


def _overview(suite: Suite) -> tuple[str, str, str, str]:
    packages = ", ".join(package for package in suite.module.PACKAGES if package != "gymnasium")
    extra = suite.module.EXTRA
    return (
        f"[{suite.name}](#{suite.name})",
        str(len(suite.tasks)),
        packages if extra else "none: it comes with the package",
        code(f"pip install -e '.[{extra}]'") if extra else "",
    )


def _section(suite: Suite, facts: dict[str, str], pictures: Path | None) -> Iterator[str]:
    yield f"## {suite.name}"
    yield (suite.module.__doc__ or "").strip()
    if suite.module.EXTRA:
        yield f"```bash\n{install_command(suite.module.EXTRA)}\n```"
    known = [facts[name] for name in _full(suite, suite.shown) if name in facts]
    if known:
        yield f"The first task: {known[0]}."
    if suite.module.SPLITS:
        rows = [(code(f"{suite.name}/{name}"), str(len(tasks))) for name, tasks in suite.module.SPLITS.items()]
        yield table(("split", "tasks"), rows)
    if suite.problem:
        yield f"!!! note\n    No pictures: {suite.problem}."
    drawn = [task for task in suite.shown if pictures is not None and (pictures / picture(suite.name, task)).exists()]
    if drawn:
        assert pictures is not None
        yield _gallery(suite, drawn, pictures.name)
    if list(drawn) != suite.tasks:
        yield _listing(suite)


def _gallery(suite: Suite, tasks: Sequence[str], folder: str) -> str:
    figures = []
    for task in tasks:
        name, sentence = f"{suite.name}/{task}", suite.module.INSTRUCTIONS[task].sentence
        image = f'<img src="{folder}/{picture(suite.name, task)}" alt="{escape(name)}" width="{SIDE}" loading="lazy">'
        figures.append(f"<figure>{image}<figcaption><code>{name}</code>{escape(sentence)}</figcaption></figure>")
    return '<div class="gallery">\n' + "\n".join(figures) + "\n</div>"


def _listing(suite: Suite) -> str:
    rows = [(code(f"{suite.name}/{task}"), cell(suite.module.INSTRUCTIONS[task].sentence)) for task in suite.tasks]
    text = table(("task", "instruction"), rows).replace("\n", "\n    ")
    return f'??? note "All {len(suite.tasks)} tasks"\n\n    {text}'


def _full(suite: Suite, tasks: Sequence[str]) -> list[str]:
    return [f"{suite.name}/{task}" for task in tasks]


def picture(suite: str, task: str) -> str:
    """The file of a task's picture."""
    return f"{suite}-{task}.jpg"


def draw(suites: Sequence[Suite], pictures: Path) -> dict[str, str]:
    """Draw what is not drawn yet by this code; task to what its environment says of itself."""
    pictures.mkdir(parents=True, exist_ok=True)
    known = pictures / "drawn.json"
    drawn = json.loads(known.read_text()) if known.exists() else {}
    drawn = drawn["facts"] if drawn.get("code") == _code() else {}
    wanted = [(suite.name, task) for suite in suites if not suite.problem for task in suite.shown]
    left = [each for each in wanted if "/".join(each) not in drawn or not (pictures / picture(*each)).exists()]
    if left:
        print(f"drawing {len(left)} tasks, once (two minutes on two cores)", file=sys.stderr)
        parts = [left[start::2] for start in range(2)] if cores() > 1 else [left]
        with ProcessPoolExecutor(len(parts), mp_context=get_context("spawn")) as pool:
            for facts in pool.map(_draw_some, parts, [pictures] * len(parts)):
                drawn |= facts
        known.write_text(json.dumps({"code": _code(), "facts": drawn}, indent=1))
    return drawn


def _code() -> str:
    """A hash of the code that pictures depend on."""
    package = Path(str(manyparts.__file__)).parent / "envs"
    texts = [Path(__file__).read_bytes(), *(path.read_bytes() for path in sorted(package.rglob("*.py")))]
    return hashlib.sha256(b"".join(texts)).hexdigest()


def _draw_some(tasks: Sequence[tuple[str, str]], pictures: Path) -> dict[str, str]:
    facts = {}
    for suite, task in tasks:
        try:
            with contextlib.closing(envs.make(f"{suite}/{task}")) as env:
                env.reset(seed=SEED)
                if suite in SHOWN_AT_THE_END:
                    _follow_expert(env)
                image = Image.fromarray(env.render()).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
                facts[f"{suite}/{task}"] = f"{env.interface.summary()}, {env.max_steps} steps"
            image.save(pictures / picture(suite, task), quality=85)
        except UserError as error:  # no renderer, say
            print(f"warning: no picture of {suite}/{task}: {error}", file=sys.stderr)
    return facts


def _follow_expert(env: Environment) -> None:
    """Until the task is solved."""
    for _ in range(env.max_steps):
        _, _, _, info = env.advance(env.expert_action())
        if info["success"]:
            return
