"""Help pages: every flag has a text, pages list what is parsed, and asking for one is cheap."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import docstring_parser
import pytest

from manyparts.cli import (
    bench,
    collect,
    data,
    data_editing,
    doctor,
    evaluate,
    export,
    listing,
    play,
    predict,
    prompts,
    push,
    quickstart,
    report,
    serve,
    study,
    train,
)
from manyparts.cli.help_page import flags_on
from manyparts.cli.parsing import flags, parse
from manyparts.cli.planners import with_planner
from manyparts.core.errors import UserError
from manyparts.core.naming import FORMER_FLAGS
from manyparts.methods import preset, preset_names
from manyparts.planners import PLANNERS

COMMANDS: dict[str, type] = {
    "bench": bench.Options,
    "collect": collect.Options,
    "data check": data.CheckOptions,
    "data convert": data.ConvertOptions,
    "data delete": data_editing.DeleteOptions,
    "data info": data.InfoOptions,
    "data merge": data_editing.MergeOptions,
    "data relabel": data_editing.RelabelOptions,
    "data split": data_editing.SplitOptions,
    "data view": data.ViewOptions,
    "doctor": doctor.Options,
    "evaluate": evaluate.Options,
    "export": export.Options,
    "list": listing.Options,
    "play": play.Options,
    "predict": predict.Options,
    "prompts": prompts.Options,
    "push": push.Options,
    "quickstart": quickstart.Options,
    "report": report.Options,
    "serve": serve.Options,
    "study": study.Options,
}


@cache
def every_command() -> dict[str, type]:
    """The options of every command, of every planner and of every preset, by what users type."""
    planners = {
        f"evaluate --planner {name}": with_planner(evaluate.Options, kind())
        for name, kind in PLANNERS.items()
    }
    presets = {f"train {name}": train.options_with(preset(name)) for name in preset_names()}
    return COMMANDS | planners | presets


def distinct_commands() -> dict[str, type]:
    """The same without presets that have the flags of another one."""
    by_flags = {tuple(flags(kind)): name for name, kind in reversed(every_command().items())}
    return {name: every_command()[name] for name in sorted(by_flags.values())}


def undocumented(kind: type, value: Any = None) -> Iterator[str]:
    """Flags of a dataclass that have no text of their own, and configs without one, as
    module.Class.field."""
    docstring = kind.__doc__ or ""
    if not docstring.strip() or docstring.startswith(f"{kind.__name__}("):
        yield f"{kind.__module__}.{kind.__name__} has no docstring"
    for item in dataclasses.fields(kind):
        held = field_value(item) if value is None else getattr(value, item.name)
        if dataclasses.is_dataclass(held) and not isinstance(held, type):
            yield from undocumented(type(held), held)
        elif isinstance(held, Mapping):
            for part in held.values():
                yield from undocumented(type(part), part)
        elif not any(item.name in texts_of(each) for each in kind.__mro__[:-1]):
            yield f"{kind.__module__}.{kind.__name__}.{item.name}"


def field_value(item: dataclasses.Field[Any]) -> Any:
    """The field's default."""
    if item.default_factory is not dataclasses.MISSING:
        return item.default_factory()
    return item.default


@cache
def texts_of(kind: type) -> dict[str, str]:
    """Texts of a class's fields, as tyro reads them: attribute docstrings, or a section of the
    class's docstring."""
    try:
        parsed = docstring_parser.parse_from_object(kind)
    except (OSError, TypeError):  # a class that was made at run time has no source
        return {}
    return {part.arg_name: part.description for part in parsed.params if part.description}


def help_page(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit):
        parse(every_command()[name], ["--help"], command=name)
    return capsys.readouterr().out


def test_every_flag_has_help_text() -> None:
    missing: dict[str, str] = {}
    for name, kind in every_command().items():
        for field in undocumented(kind):
            missing.setdefault(field, name)
    assert not missing, "\n".join(f"{field}, a flag of {name}" for field, name in missing.items())


def test_help_lists_what_is_parsed(capsys: pytest.CaptureFixture[str]) -> None:
    for name, kind in distinct_commands().items():
        listed = flags_on(help_page(name, capsys))
        assert sorted(set(listed)) == sorted(flags(kind)), name


def test_help_has_no_none_among_choices(capsys: pytest.CaptureFixture[str]) -> None:
    for name in distinct_commands():
        page = help_page(name, capsys)
        assert "{None" not in page and "None}" not in page, name
        assert "default: None" not in " ".join(page.split()), name


def test_help_has_whole_paragraphs(capsys: pytest.CaptureFixture[str]) -> None:
    """No line of a text ends early, as it does where a docstring's own lines do."""
    lines = help_page("evaluate", capsys).splitlines()
    width = max(map(len, lines))
    for line, following in itertools.pairwise(lines):
        if line.startswith(" " * 26) and following.startswith(" " * 26):
            first_word = following.split()[0]
            assert len(line) + 1 + len(first_word) > width, line


REQUIRED = {
    "collect": ["pointmass/reach", "--output", "set"],
    "evaluate": ["run"],
    "train": ["--data", "set", "--output", "run"],
}


@pytest.mark.parametrize("flag", FORMER_FLAGS)
def test_former_flag_works_with_note(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    former = FORMER_FLAGS[flag]
    name = next(name for name, kind in every_command().items() if flag in flags(kind))
    kind, required = every_command()[name], REQUIRED[name.partition(" ")[0]]
    is_switch = flag.endswith("policy-proposals")
    value = [] if is_switch else ["0.25"]
    parsed = parse(kind, [*required, former, *value], command=name)
    (line,) = capsys.readouterr().err.splitlines()
    assert former in line and flag in line and "0.3" in line
    assert parsed == parse(kind, [*required, flag, *value], command=name)
    assert capsys.readouterr().err == ""


def test_former_flag_works_with_equals_sign(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["pointmass/reach", "--output", "set", "--noise-deviation=0.25"]
    assert parse(collect.Options, words, command="collect").noise_std == 0.25
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_unknown_flag_names_few_choices() -> None:
    words = ["--data", "set", "--output", "run", "--optimizer.rate", "1"]
    name = "train dualmind/phase1-debug"
    with pytest.raises(UserError) as refused:
        parse(every_command()[name], words, command=name)
    message = str(refused.value)
    assert "--optimizer.learning-rate" in message
    assert "`manyparts train dualmind/phase1-debug --help`" in message
    assert message.count("--") <= 8


def test_help_loads_no_torch() -> None:
    """Nor does an error in a preset's flags. Planners do: their configs are in their modules."""
    words = [[*name.split(), "--help"] for name in COMMANDS]
    words += [["--help"], ["train", "--help"], ["data", "--help"], ["list", "presets"]]
    one_of_each_method = {name.partition("/")[0]: name for name in preset_names()}
    for name in one_of_each_method.values():
        words += [["train", name, "--help"], ["train", name]]
    code = (
        "import contextlib, io, sys\n"
        "from manyparts import cli\n"
        f"for words in {words!r}:\n"
        "    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "        cli.main(words)\n"
        "    assert 'torch' not in sys.modules, words\n"
    )
    script = [sys.executable, "-c", code]
    result = subprocess.run(script, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
