"""What people pass to public functions is understood, or refused in one line that says what to
do."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.synthetic import make_episode, write
from evaluation.evaluating import make_run

from manyparts.cli import main
from manyparts.core.arguments import explained, names_of, path_of, set_by_replace, whole
from manyparts.core.errors import UserError, closest
from manyparts.core.records import Prompt


@dataclass(frozen=True)
class Part:
    rate: float = 0.1


@set_by_replace
@dataclass(frozen=True)
class Config:
    steps: int
    part: Part = field(default_factory=Part)


@explained(config=Config, render="draw() does it")
def work(config: Config, *, output: str, workers: int = 1) -> str:
    if workers == 7:
        raise TypeError("from within")
    return output


@pytest.mark.parametrize("value", ["~/run", Path("~/run")])
def test_a_tilde_is_the_home_folder(
    value: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert path_of(value) == tmp_path / "run"
    assert path_of("a/~/b") == Path("a/~/b") and path_of("~nobody-of-this-name/x").name == "x"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "output is empty; expected a path"),
        (None, "output is of type NoneType; expected a path"),
        (3, "output is of type int"),
        (b"run", "output is of type bytes"),
    ],
)
def test_other_values_are_no_paths(value: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        path_of(value, "output")


@pytest.mark.parametrize("value", [2.0, "2", None, True, [2]])
def test_other_values_are_no_whole_numbers(value: Any) -> None:
    with pytest.raises(UserError, match=r"episodes is .*; expected a whole number"):
        whole("episodes", value)


def test_whole_numbers_of_numpy_are_taken() -> None:
    assert type(whole("episodes", np.int64(3))) is int
    with pytest.raises(UserError, match="episodes is 0; expected at least 1"):
        whole("episodes", np.int32(0), minimum=1)


def test_a_single_name_is_a_name() -> None:
    assert names_of("pointmass/reach", "tasks") == ("pointmass/reach",)
    assert names_of(["a", "b"], "tasks") == ("a", "b")
    for wrong in (3, [3], [None]):
        with pytest.raises(UserError, match="expected names, as text"):
            names_of(wrong, "tasks")


def test_nearest_choices_are_named() -> None:
    assert closest("raech", ["reach", "push"]) == "did you mean reach? choices: reach, push"
    many = closest("task-07x", [f"task-{number:02d}" for number in range(62)])
    assert (
        many.startswith("did you mean task-07? the nearest of 62 choices: task-07, ")
        and many.count(",") == 4
    )


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda: work(Config(1)),
            r"work\(\): missing a required (keyword-only )?argument: 'output'; "
            "it takes config, output, workers",
        ),
        (lambda: work(Config(1), outptu="x"), "has no argument 'outptu'; did you mean output"),
        (
            lambda: work(Config(1), output="x", steps=3),
            r"a field of Config: pass config=dataclasses.replace\(config, st",
        ),
        (
            lambda: work(Config(1), output="x", rate=3),
            r"replace\(config, part=replace\(config.part, rate=...\)\)",
        ),
        (lambda: work(Config(1), output="x", render=1), r"no argument 'render': draw\(\) does it"),
        (lambda: work(Config(1), "x", "y"), "too many positional arguments"),
    ],
)
def test_wrong_call_names_right_one(call: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        call()


def test_inner_errors_stay_unchanged() -> None:
    assert work(Config(1), output="x") == "x"
    with pytest.raises(TypeError, match="from within"):
        work(Config(1), output="x", workers=7)


def test_setting_field_suggests_replace() -> None:
    config = Config(1)
    with pytest.raises(
        UserError,
        match=r"Config.steps cannot be set; .* dataclasses.replace\(Config\(...\), steps=3\)",
    ):
        config.steps = 3  # pyright: ignore[reportAttributeAccessIssue]
    assert config.steps == 1


@pytest.mark.parametrize("value", [3, ["open it"], {"instruction": "open it"}])
def test_other_values_are_no_prompts(value: Any) -> None:
    assert Prompt.of("open it") == Prompt("open it") and Prompt.of(None) is None
    with pytest.raises(UserError, match="expected an instruction, or a Prompt"):
        Prompt.of(value)


@pytest.mark.slow
def test_commands_expand_a_tilde(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "home" / "set", [make_episode(0, 6)])
    make_run(tmp_path / "home" / "run")
    assert main(["data", "convert", "~/set", "~/copy"]) == 0
    assert main(["data", "check", "~/copy", "--fix=~/fixed"]) == 0
    assert main(["data", "view", "~/fixed", "--output", "~/pages/page.html"]) == 0
    settings = [
        "--episodes",
        "1",
        "--max-steps",
        "2",
        "--workers",
        "1",
        "--tasks",
        "pointmass/reach",
    ]
    assert main(["evaluate", "~/run", *settings, "--output=~/found"]) == 0
    assert main(["evaluate", "--compare", "~/found", "~/found"]) == 0
    assert main(["report", "~/run", "--evaluation", "~/found", "--output=~/report.html"]) == 0
    made = {path.name for path in (tmp_path / "home").iterdir()}
    assert made == {"set", "run", "copy", "fixed", "pages", "found", "report.html"}
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


MISTAKES = {
    "train('dualmind/phase1-debug', data=D, output=O)": "expected a TrainConfig, such as",
    "train(P, data=D, output=O, start_from=A)": "start_from is of type PolicyAgent, loaded from",
    "train(P, data=D, output=O, steps=3)": "a field of TrainConfig: pass",
    "train(P, data=D, output=O, learning_rate=3)": "replace(config.optimizer, learning_rate=...)",
    "train(P, data=3, output=O)": "expected a dataset or its location, or several",
    "train(P, data=[3], output=O)": "the dataset is of type int; expected a path",
    "train(P, data=D, output=O, weights=0.5)": "weights is 0.5; expected a list of numbers, one",
    "train(P, data=D, output=O, weights=['a'])": "weights is ['a']; expected a list of numbers",
    "train(P, data=D, output=O, temperature='x')": "temperature is 'x'; expected a number above 0",
    "train(P, data=D, output=O, embodiment=3)": "embodiment is 3; expected names",
    "replace(P, learning_rate=1e-3)": "which is in a part of it:",
    "replace(P, optimiser=P.optimizer)": "TrainConfig has no field 'optimiser'; did you mean",
    "EnvConfig(split='train')": "EnvConfig has no field 'split'; the nearest of 8 choices: ",
    "preset(['a'])": "unknown preset ['a']",
    "A.act(O0, None, 'go on', explore=False)": "carry is of type dict; expected None or what",
    "train(P, data=D)": "missing a required argument: 'output'",
    "train(P, data=Path('s3://a/b'), output=O)": "pass a URL as text",
    "replace(P, steps=3.5)": "steps is 3.5; expected int",
    "replace(P, steps='3')": "steps is '3'; expected int",
    "replace(P, optimizer=replace(P.optimizer, learning_rate='1e-4'))": "learning_rate is '1e-4';",
    "setattr(P, 'steps', 3)": "TrainConfig.steps cannot be set",
    "setattr(P.window, 'steps', 3)": "WindowConfig.steps cannot be set",
    "setattr(P.optimizer, 'warmup_steps', 3)": "OptimizerConfig.warmup_steps cannot be set",
    "preset('dualmind/phase1_laptop')": "did you mean dualmind/phase1-laptop?",
    "load('s3://bucket/run')": "agents are loaded from a disk; download the run",
    "load('run', device='cuda:9')": "device 'cuda:9' is not there; choices: auto",
    "load('run', devise='cpu')": "did you mean device?",
    "load(None)": "path is of type NoneType",
    "A.act(None, O0, 3, explore=False)": "expected an instruction, or a Prompt",
    "evaluate('expert', tasks='pointmass/reach')": "evaluate_reference('expert', tasks,",
    "evaluate(object())": "expected a run's folder or an agent of load()",
    "evaluate('run', episodes=2.0)": "episodes is 2.0; expected a whole number",
    "evaluate('run', seed='0')": "seed is '0'; expected a whole number",
    "evaluate('run', workers=0)": "workers is 0; expected at least 1",
    "evaluate('run', workers=1.5)": "workers is 1.5; expected a whole number",
    "evaluate('run', max_steps=9.5)": "max_steps is 9.5; expected a whole number",
    "evaluate('run', tasks=3)": "tasks is 3; expected names",
    "evaluate('run', prompts='goal')": "or an instruction of two words or more",
    "evaluate('run', prompts='instruction + goal_image')": "did you mean instruction+goal_image",
    "evaluate('run', prompts=3)": "expected a kind of prompt",
    "evaluate('run', prompts=Prompt(goal={}))": "takes a prompt of an instruction alone",
    "evaluate('run', prompts='go on', prompt_task='pointmass/reach')": "both choose the",
    "evaluate('run', image_size=84)": "has no argument 'image_size'",
    "collect('pointmass/reach', episodes=2.0, output=O)": "episodes is 2.0; expected a whole",
    "collect('pointmass/reach', episodes=1, output=O, image_size=84)": "pass",
    "collect('pointmass/reach', episodes=1, output=O, std=1)": "pass noise=Noise(std=...)",
    "collect('pointmass/reach', episodes=1, output=O, config=84)": "expected an EnvConfig or a",
    "make('pointmass/reach', image_size=84)": "pass config=EnvConfig(image_size=...)",
    "make('pointmass/reach', {'image_siez': 84})": "config.image_siez",
    "make('pointmass/reach', {'image_size': '84'})": "image_size is '84'; expected int",
    "make('pointmass/reach', render_mode='human')": "env.render() returns",
    "make(['pointmass/reach'])": "expected a name, such as 'metaworld/reach'",
    "EnvConfig(image_size=84.0)": "image_size is 84.0; expected int",
    "EnvConfig(cameras=3)": "cameras is 3; expected names",
    "EpisodeDataset.open(3)": "the dataset is of type int",
    "DATA.episode(3)": "no episode 3; expected 0 to 1",
    "DATA[-3]": "no episode -3; expected 0 to 1",
    "DATA[0:2]": "episode is slice(0, 2, None); expected a whole number",
    "DATA.frames(0, 'side')": "has no camera 'side'; choices: front",
    "DATA.frames(0, 'front', [9])": "rows 9 to 9 of episode 0; expected 0 to 5",
    "write_report(DATA)": "run is of type EpisodeDataset; expected a path",
    "compare(A, A)": "result is of type PolicyAgent, loaded from run; expected a path",
    "rollout(E, A, seed=0, prompt=3, explore=False)": "expected an instruction, or a Prompt",
}
_SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
from manyparts import *
from manyparts.envs.base import EnvConfig
from manyparts.evaluation.results import compare
from manyparts.rollout.loop import rollout
P, D, O, A = preset("dualmind/phase1-debug"), "data", "output", load("run")
DATA, E = EpisodeDataset.open(D), make("pointmass/reach", A.environment)
O0 = E.reset(seed=0)[0]
for call in sys.stdin.read().splitlines():
    try:
        print("returned", eval(call))
    except UserError as error:
        print("refused", error)
    except BaseException as error:
        print(type(error).__name__, error)
"""


def test_wrong_calls_say_what_to_do(tmp_path: Path) -> None:
    """In a process of its own: under pytest the type checker would be first to refuse."""
    write(tmp_path / "data", [make_episode(seed, 6) for seed in range(2)])
    make_run(tmp_path / "run")
    calls = "\n".join(MISTAKES)
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        input=calls,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    answers = zip(MISTAKES.items(), done.stdout.splitlines(), strict=True)
    wrong = [
        f"{call}: {line}; expected {says!r}"
        for (call, says), line in answers
        if not (line.startswith("refused ") and says in line)
    ]
    assert not wrong, "\n".join(wrong)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "run"]
