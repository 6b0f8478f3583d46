"""The page of tasks: every suite with its tasks, their instructions, and an image of each."""

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

from pages import cell, code, page, table
from PIL import Image

import manyparts
from manyparts.core.errors import UserError
from manyparts.core.extras import install_command
from manyparts.core.host.cores import cores
from manyparts.envs import registry
from manyparts.envs.base import Environment, Suite

SIDE = 160  # pixels of an image
SEED = 0
# Suites with scenes that look the same at the start: shown as the expert leaves them.
SHOWN_AT_THE_END = ("kitchen", "navigation")
# Of suites with many tasks that look the same, some of each split.
SHOWN = {"walkers": 4}
SPLITS_SHOWN = {
    "kitchen": ("subtasks",),
    "walkers": ("train-planar", "train-free", "test-planar", "test-free"),
}
INTRODUCTION = """
```bash
manyparts list tasks metaworld/          # names and instructions, in your terminal
manyparts collect metaworld/drawer-open --episodes 50 --output data/drawer
```

A task is named `suite/task`. Where a command takes tasks, it also takes a split of several, such as
`metaworld/mt10`. Every task has an instruction and paraphrases of it, or its episodes bring one
each. Tasks have a scripted or planning expert where nothing else is said. The images are
`env.render()` of the episode with seed 0: its first step, or in the kitchen and in navigation its
last under the expert.
"""


@dataclass(frozen=True)
class SuitePage:
    """What the page says of one suite. problem: why there are no images; empty if there are."""

    name: str
    declared: Suite
    text: str
    shown: tuple[str, ...]
    problem: str

    @property
    def tasks(self) -> list[str]:
        return list(self.declared.tasks)


IMAGES = Path(__file__).parents[2] / "docs" / "images" / "tasks"
FOLDER = "../../images/tasks"  # seen from the page


def render(*, images: bool) -> str:
    """The page. images: whether it has images; what is missing or outdated is drawn."""
    suites = [_suite(name) for name in registry.suite_names()]
    facts = draw(suites) if images else {}
    rows = [_overview(suite) for suite in suites]
    heads = ("suite", "tasks", "simulator", "install")
    sections = [section for suite in suites for section in _section(suite, facts, images=images)]
    return page("Tasks", INTRODUCTION, [table(heads, rows), *sections])


def _suite(name: str) -> SuitePage:
    module = importlib.import_module(f"manyparts.envs.suites.{name}")
    declared: Suite = module.SUITE
    missing = [
        package for package in declared.packages if importlib.util.find_spec(package) is None
    ]
    problem = f"{', '.join(missing)} is not installed here" if missing else ""
    return SuitePage(name, declared, module.__doc__ or "", tuple(_shown(name, declared)), problem)


def _shown(name: str, declared: Suite) -> Iterator[str]:
    splits = SPLITS_SHOWN.get(name)
    for tasks in (
        [declared.tasks] if splits is None else [declared.splits[split] for split in splits]
    ):
        yield from list(tasks)[: SHOWN.get(name)]


def _overview(suite: SuitePage) -> tuple[str, str, str, str]:
    packages = ", ".join(package for package in suite.declared.packages if package != "gymnasium")
    extra = suite.declared.extra
    return (
        f"[{suite.name}](#{suite.name})",
        str(len(suite.tasks)),
        packages if extra else "none: it comes with the package",
        code(f"pip install -e '.[{extra}]'") if extra else "",
    )


def _section(suite: SuitePage, facts: dict[str, str], *, images: bool) -> Iterator[str]:
    yield f"## {suite.name}"
    yield suite.text.strip()
    if suite.declared.extra:
        yield f"```bash\n{install_command(suite.declared.extra)}\n```"
    described = [facts[name] for name in _full(suite, suite.shown) if name in facts]
    if described:
        yield f"The first task: {described[0]}."
    if without := suite.declared.without_expert:
        names = ", ".join(code(f"{suite.name}/{task}") for task in without)
        yield f"Without an expert, so that you record with `--policy random` or a run's: {names}."
    if suite.declared.splits:
        rows = [
            (code(f"{suite.name}/{name}"), str(len(tasks)))
            for name, tasks in suite.declared.splits.items()
        ]
        yield table(("split", "tasks"), rows)
    if suite.problem:
        yield f"!!! note\n    No images: {suite.problem}."
    drawn = [
        task for task in suite.shown if images and (IMAGES / image_file(suite.name, task)).exists()
    ]
    if drawn:
        yield _gallery(suite, drawn)
    if list(drawn) != suite.tasks:
        yield _listing(suite)


def _gallery(suite: SuitePage, tasks: Sequence[str]) -> str:
    figures = []
    for task in tasks:
        name, instruction = f"{suite.name}/{task}", suite.declared.instructions[task].instruction
        figures.append(
            f'<figure><img src="{FOLDER}/{image_file(suite.name, task)}" alt="{escape(name)}" '
            f'width="{SIDE}" loading="lazy">'
            f"<figcaption><code>{name}</code>{escape(instruction)}</figcaption></figure>"
        )
    return '<div class="gallery">\n' + "\n".join(figures) + "\n</div>"


def _listing(suite: SuitePage) -> str:
    rows = [
        (code(f"{suite.name}/{task}"), cell(suite.declared.instructions[task].instruction))
        for task in suite.tasks
    ]
    text = table(("task", "instruction"), rows).replace("\n", "\n    ")
    return f'??? note "All {len(suite.tasks)} tasks"\n\n    {text}'


def _full(suite: SuitePage, tasks: Sequence[str]) -> list[str]:
    return [f"{suite.name}/{task}" for task in tasks]


def image_file(suite: str, task: str) -> str:
    """The file of a task's image."""
    return f"{suite}-{task}.jpg"


def draw(suites: Sequence[SuitePage]) -> dict[str, str]:
    """Draw what is not drawn yet by this code; task to what its environment says of itself.

    The images are part of the repository. So who changes a suite commits what this draws anew.
    """
    IMAGES.mkdir(parents=True, exist_ok=True)
    record = IMAGES / "drawn.json"
    drawn = json.loads(record.read_text()) if record.exists() else {}
    codes = {suite.name: _code(suite.name) for suite in suites}
    drawn = {
        name: entry
        for name, entry in drawn.items()
        if entry["code"] == codes.get(name.partition("/")[0])
    }
    wanted = [(suite.name, task) for suite in suites if not suite.problem for task in suite.shown]
    left = [
        each
        for each in wanted
        if "/".join(each) not in drawn or not (IMAGES / image_file(*each)).exists()
    ]
    if left:
        print(
            f"drawing {len(left)} tasks, once (two minutes for all, on two cores): commit "
            f"{IMAGES.relative_to(IMAGES.parents[2])}",
            file=sys.stderr,
        )
        parts = [left[start::2] for start in range(2)] if cores() > 1 else [left]
        with ProcessPoolExecutor(len(parts), mp_context=get_context("spawn")) as pool:
            for facts in pool.map(_draw_some, parts):
                drawn |= {
                    name: {"code": codes[name.partition("/")[0]], "fact": fact}
                    for name, fact in facts.items()
                }
        record.write_text(json.dumps(drawn, indent=1, sort_keys=True) + "\n")
    return {name: entry["fact"] for name, entry in drawn.items()}


def _code(suite: str) -> str:
    """A hash of what a suite's images depend on here."""
    package = Path(str(manyparts.__file__)).parent / "envs"
    paths = [*sorted((package / "suites").glob(f"{suite}*.py")), package / "rendering.py"]
    settings = f"{SIDE} {SEED} {suite in SHOWN_AT_THE_END}".encode()
    return hashlib.sha256(b"".join([settings, *(path.read_bytes() for path in paths)])).hexdigest()[
        :16
    ]


def _draw_some(tasks: Sequence[tuple[str, str]]) -> dict[str, str]:
    facts = {}
    for suite, task in tasks:
        try:
            with contextlib.closing(registry.make(f"{suite}/{task}")) as env:
                env.reset(seed=SEED)
                if suite in SHOWN_AT_THE_END:
                    _follow_expert(env)
                image = Image.fromarray(env.render()).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
                facts[f"{suite}/{task}"] = f"{env.embodiment_spec.summary()}, {env.max_steps} steps"
            image.save(IMAGES / image_file(suite, task), quality=85)
        except UserError as error:  # no renderer, say
            print(f"warning: no image of {suite}/{task}: {error}", file=sys.stderr)
    return facts


def _follow_expert(env: Environment) -> None:
    """Until the task is solved, or the episode ends."""
    for _ in range(env.max_steps):
        _, terminated, _, info = env.advance(env.expert_action())
        if info["success"] or terminated:
            return
