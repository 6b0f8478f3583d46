"""Layers point one way: a file imports its own layer or a lower one, and importing the package
stays light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import manyparts

PACKAGE = Path(manyparts.__file__).parent
LAYERS = [
    "core",
    "nn",
    "embodiment",
    "data",
    "envs",
    "models",
    "objectives",
    "planners",
    "agents",
    "rollout",
    "evaluation",
    "training",
    "methods",
    "report",
    "studies",
    "exporting",
    "sharing",
    "serving",
    "playing",
    "cli",
]
RANK = {name: rank for rank, name in enumerate(LAYERS)}
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 400  # of a file
DENSE_PACKAGES = ("nn", "models", "objectives", "planners")
MIN_COMMENTS = 3.0  # lines with a comment in 100 lines of a dense package
# Comments that are addressed to tools give no reason.
DIRECTIVES = ("# noqa", "# pyright:", "# type:", "# fmt:")


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_layers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, layer) of every import of ours, wherever in the file it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            modules = [node.module or ""]
            if modules == ["manyparts"]:
                modules = [f"manyparts.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            continue
        for module in modules:
            head, _, rest = module.partition(".")
            if head == "manyparts" and rest.partition(".")[0] in RANK:
                yield node.lineno, rest.partition(".")[0]


def test_files_import_no_higher_layer() -> None:
    # The package's front names every layer, lazily.
    front = {PACKAGE / "__init__.py", PACKAGE / "__main__.py"}
    higher = []
    for path in FILES:
        if path in front:
            continue
        layer = layer_of(path)
        assert layer in RANK, f"{layer} is in no layer; layers: {', '.join(RANK)}"
        higher += [
            f"{path}:{line}: {layer} imports {other}, which stands above it"
            for line, other in imported_layers(ast.parse(path.read_text()))
            if RANK[other] > RANK[layer]
        ]
    assert not higher, "\n".join(higher)


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(("manyparts", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def imports_of_every_module() -> dict[str, set[str]]:
    """Module to the modules of ours that it imports, wherever in the file: lazily and for type
    checkers, too."""
    modules = {module_of(path): path for path in FILES}
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        imported: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                parts = [f"{node.module}.{alias.name}" for alias in node.names]
                imported |= {part if part in modules else str(node.module) for part in parts}
            elif isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
        graph[module] = (imported & modules.keys()) - {module}
    return graph


def test_no_module_imports_itself_through_others() -> None:
    """Modules that import nothing of what is left are taken away, until none is; what then is left
    goes in circles."""
    graph = imports_of_every_module()
    while leaves := {module for module, imported in graph.items() if not imported & graph.keys()}:
        graph = {module: imported for module, imported in graph.items() if module not in leaves}
    assert not graph, {
        module: sorted(imported & graph.keys()) for module, imported in graph.items()
    }


def test_no_file_is_too_long() -> None:
    assert not [path for path in FILES if len(path.read_text().splitlines()) > MAX_LINES]


def test_every_module_has_a_docstring() -> None:
    sources = {path: path.read_text() for path in FILES}
    docstrings = {
        path: ast.get_docstring(ast.parse(source)) or ""
        for path, source in sources.items()
        if source.strip()
    }
    ends = (".", ":", "?")
    assert not [
        path
        for path, text in docstrings.items()
        if not text.split("\n\n")[0].rstrip().endswith(ends)
    ]


def comment_lines(path: Path) -> int:
    """Lines of a file with a comment for people."""
    with tokenize.open(path) as file:
        comments = [
            token
            for token in tokenize.generate_tokens(file.readline)
            if token.type == tokenize.COMMENT and not token.string.startswith(DIRECTIVES)
        ]
    return len({token.start[0] for token in comments})


@pytest.mark.parametrize("package", DENSE_PACKAGES)
def test_dense_code_gives_its_reasons(package: str) -> None:
    paths = [path for path in FILES if layer_of(path) == package]
    lines = sum(len(path.read_text().splitlines()) for path in paths)
    comments = sum(comment_lines(path) for path in paths)
    assert 100 * comments / lines >= MIN_COMMENTS, (
        f"{comments} of {lines} lines of {package} have a comment; say why where code is dense"
    )


def test_normalisation_is_in_one_module() -> None:
    """The codec is the one way; formats of files that store scaled actions are the exception."""
    others = [
        path.relative_to(PACKAGE)
        for path in FILES
        if re.search(r"StateNormaliser|\.normalise\(", path.read_text())
        and path.relative_to(PACKAGE).parts[0] != "embodiment"
    ]
    assert others == [Path("data/formats/robomimic_actions.py")]


def test_no_drawer_for_odds_and_ends() -> None:
    drawers = {"utils", "util", "helpers", "helper", "misc", "common"}
    assert not [path for path in FILES if path.stem in drawers]


def modules_loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    return set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )


@pytest.mark.parametrize(
    ("statement", "too_heavy"),
    [
        (
            "import manyparts, manyparts.cli",
            {"torch", "mujoco", "metaworld", "gymnasium", "pyarrow", "rich", "tyro"},
        ),
        (
            "import manyparts.core.records, manyparts.core.spec, manyparts.core.serialisation",
            {"torch", "mujoco", "metaworld"},
        ),
        (
            "import manyparts.envs.registry, manyparts.data.dataset, manyparts.rollout.collect",
            {"torch", "mujoco"},
        ),
    ],
)
def test_importing_the_package_stays_light(statement: str, too_heavy: set[str]) -> None:
    assert not modules_loaded_by(statement) & too_heavy


def test_building_every_preset_loads_no_torch() -> None:
    """Configs stand apart from what they configure, so that a preset's help is quick."""
    loaded = modules_loaded_by(
        "from manyparts.methods import preset, preset_names; "
        "configs = [preset(name) for name in preset_names()]; assert configs"
    )
    assert "manyparts.training.config" in loaded
    assert not loaded & {"torch", "jaxtyping", "einops", "pyarrow", "av", "mujoco"}


def test_importing_has_no_side_effects() -> None:
    code = (
        "import gymnasium  # which sets a variable of its own\n"
        "import os, numpy as np, torch\n"
        "numbers = lambda: (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())\n"
        "state = lambda: (dict(os.environ), numbers())\n"
        "before = state()\n"
        "import manyparts, manyparts.cli, manyparts.envs.registry, manyparts.data.dataset\n"
        "import manyparts.training.train\n"
        "print(before == state())"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "True"


def test_every_public_name_can_be_imported() -> None:
    for name in manyparts.__all__:
        assert getattr(manyparts, name) is not None
