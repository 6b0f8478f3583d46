"""Exported policies act as the agents that they are made of, without torch."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation.evaluating import TASKS, make_run

from manyparts.agents.exported import ExportedAgent, load_exported
from manyparts.agents.loading import device_for, load
from manyparts.agents.policy import PolicyAgent
from manyparts.core.errors import UserError
from manyparts.core.records import Demonstration, Prompt
from manyparts.data.sampling.config import WindowConfig
from manyparts.evaluation.protocol import evaluate
from manyparts.exporting.export import export_policy
from manyparts.exporting.parity import TOLERANCE, compared, random_episodes

ALL_PROMPTS = WindowConfig(steps=3, chunk=2, goal_image=True, demonstration_frames=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy with a history of three steps, prompted by images, too."""
    return make_run(tmp_path_factory.mktemp("run"), window=ALL_PROMPTS)


@pytest.fixture(scope="module")
def folder(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Exporters trace with numbers that the tests' checks of types take for wrong ones.
    output = tmp_path_factory.mktemp("exported") / "policy"
    assert "5 episodes together" in exported(run, output, "--exporter", "tracing")
    return output


def exported(run: Path, output: Path, *options: str) -> str:
    """What `manyparts export` prints."""
    command = [sys.executable, "-m", "manyparts", "export", str(run), "--output", str(output)]
    command += options
    done = subprocess.run(command, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return done.stdout


def prompts_of(agent: PolicyAgent, count: int) -> list[Prompt]:
    """Prompts of every kind, drawn at random."""
    generator = np.random.default_rng(5)

    def images(*frames: int) -> dict[str, np.ndarray]:
        return {
            name: generator.integers(0, 256, (*frames, *size, 3), dtype=np.uint8)
            for name, size in agent.spec.cameras.items()
        }

    window = agent.window
    shape = (window.demonstration_frames, window.chunk, agent.spec.action.dimension)
    shown = Demonstration(images(shape[0]), generator.uniform(-1, 1, shape).astype(np.float32))
    prompts = [
        Prompt("reach the red target"),
        Prompt(goal=images()),
        Prompt(demonstration=shown),
        Prompt("go", images(), replace(shown, action=None)),
        Prompt(""),
    ]
    return prompts[:count]


def test_every_prompt_and_a_history_give_equal_actions(run: Path, folder: Path) -> None:
    agent, exported = load(run), load_exported(folder)
    assert isinstance(agent, PolicyAgent) and isinstance(exported, ExportedAgent)
    assert agent.policy.history == 2 and set(exported.contract["carry"]) == {
        "carry_in_visual", "carry_in_state", "carry_in_action", "carry_in_chunk", "carry_in_count",
    }  # fmt: skip
    zeros, ones = np.zeros(2), np.ones(2)
    episodes = random_episodes(agent.spec, zeros, ones, count=5, steps=6, seed=1)
    parity = compared(agent, exported, "all", episodes, prompts_of(agent, 5))
    assert parity.decisions == 30 and parity.worst < TOLERANCE


@pytest.mark.slow
def test_episodes_are_equally_good(run: Path, folder: Path, tmp_path: Path) -> None:
    results = [
        evaluate(each, episodes=3, workers=1, output=tmp_path / name)
        for name, each in (("agent", run), ("exported", folder))
    ]
    for one, other in zip(*(result.episodes for result in results), strict=True):
        assert (one.task, one.seed, one.success_any) == (other.task, other.seed, other.success_any)
        assert one.return_ == pytest.approx(other.return_, abs=1e-3)
    assert results[0].provenance["weights"] != results[1].provenance["weights"]


def test_it_acts_without_torch(folder: Path) -> None:
    code = f"""
import sys
import numpy as np
from manyparts.agents.exported import load_exported
agent = load_exported({str(folder)!r})
observation = {{"images": {{"top": np.zeros((16, 16, 3), np.uint8)}}, "state": np.zeros(2)}}
action, carry = agent.act(None, observation, "reach the red target", explore=False)
assert action.shape == (2,) and "torch" not in sys.modules, sorted(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert not done.returncode, done.stderr


def test_a_part_of_a_chunk_is_remembered_equally(run: Path, folder: Path) -> None:
    agents: list[Any] = [load(run), load_exported(folder)]
    first, second = random_episodes(agents[0].spec, np.zeros(2), np.ones(2), count=1, steps=2)[0]
    actions = []
    for agent in agents:
        _, carry = agent.act(None, first, "go", explore=False)
        action, _ = agent.act(agent.replanned(carry), second, "go", explore=False)
        actions.append(action)
    np.testing.assert_allclose(*actions, atol=1e-5)


def test_the_contract_says_what_numbers_mean(folder: Path) -> None:
    contract = json.loads((folder / "contract.json").read_text())
    assert contract["action"]["names"] == ["x", "y"] and contract["state_names"] == ["x", "y"]
    assert contract["inputs"]["prompt"]["shape"][:2] == ["batch", "length"]
    assert contract["tokeniser"]["max_words"] > 1
    assert all(each["worst"] < TOLERANCE for each in contract["parity"])
    assert "no torch" in (folder / "README.md").read_text()


@pytest.mark.slow
def test_both_exporters_write_the_same(run: Path, folder: Path, tmp_path: Path) -> None:
    exported(run, tmp_path / "other")
    one, other = load_exported(folder), load_exported(tmp_path / "other")
    assert isinstance(one, ExportedAgent) and isinstance(other, ExportedAgent)
    assert other.contract["exporters"]["policy.onnx"] == "torch.export"
    episodes = random_episodes(one.spec, np.zeros(2), np.ones(2), count=2, steps=4, seed=3)
    prompts = [Prompt("go"), Prompt("stop")]
    assert compared(one, other, "both", episodes, prompts).worst < TOLERANCE


@pytest.mark.slow
def test_programs_of_torch_act_as_the_agent(run: Path, tmp_path: Path) -> None:
    said = exported(run, tmp_path / "programs", "--format", "torch")
    assert "5 episodes together" in said  # compared before they are written
    names = {path.name for path in (tmp_path / "programs").iterdir()}
    assert {"policy.pt2", "prompt.pt2", "contract.json"} <= names


@pytest.mark.slow
def test_a_policy_that_differs_is_not_written(run: Path, tmp_path: Path) -> None:
    code = f"""
from manyparts.exporting import export
export.TOLERANCE = 0.0
export.export_policy({str(run)!r}, {str(tmp_path / "policy")!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "the exported policy acts differently: by" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("contract.json", "{", "is torn"),
        ("contract.json", "{}", "is not the contract"),
        ("contract.json", '{"format": "manyparts-policy", "version": 9}', "is of version 9"),
        ("policy.onnx", "no graph", "cannot be read by onnxruntime"),
    ],
)
def test_torn_files_are_one_line(
    folder: Path, tmp_path: Path, file: str, content: str, says: str
) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / file).write_text(content)
    with pytest.raises(UserError, match=says) as raised:
        load_exported(tmp_path)
    assert "\n" not in str(raised.value)


def test_what_is_no_policy_is_refused(folder: Path, run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="exists; choose another"):
        export_policy(run, folder)
    with pytest.raises(UserError, match="cannot explore"):
        load_exported(folder).act(None, None, "go", explore=True)
    with pytest.raises(UserError, match="device is 'meta'; exported policies run on the cpu here"):
        load(folder, "meta")
    assert device_for(folder, "auto") == "cpu", "whatever else there is"
    with pytest.raises(UserError, match="takes no planner"):
        load(folder, objective=lambda *values: values[-1])
    assert TASKS


def test_an_exported_policy_is_exported_once(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is an exported policy already"):
        export_policy(folder, tmp_path / "again")


def test_files_that_are_not_of_one_policy_are_one_line(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "part")
    shutil.copyfile(folder / "policy.onnx", tmp_path / "part" / "prompt.onnx")
    with pytest.raises(UserError, match=r"contract\.json is incomplete or damaged") as raised:
        load_exported(tmp_path / "part")
    assert "\n" not in str(raised.value)
    (tmp_path / "part" / "prompt.onnx").unlink()
    with pytest.raises(UserError, match=r"prompt\.onnx is missing"):
        load_exported(tmp_path / "part")


@pytest.mark.parametrize("file", ["contract.json", "policy.onnx"])
def test_a_file_that_is_missing_is_named(folder: Path, tmp_path: Path, file: str) -> None:
    shutil.copytree(folder, tmp_path / "part", ignore=shutil.ignore_patterns(file))
    with pytest.raises(UserError, match=f"is an exported policy without {file}; export it again"):
        load(tmp_path / "part")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("embodiment", None, "KeyError: 'embodiment'"),
        ("embodiment", {}, "contract.json"),
        ("chunk", "x", "contract.json"),
        ("tokeniser", None, "KeyError: 'tokeniser'"),
        ("tokeniser", {"vocabulary_size": 0, "max_words": 3}, "knows no words"),
        ("carry", {"carry_in_x": {"shape": [10**6, 10**6], "dtype": "float32"}}, "numbers may be"),
        ("carry", {"carry_in_x": {"shape": [-1], "dtype": "float32"}}, "numbers may be"),
        ("carry", {"carry_in_x": {"shape": [2], "dtype": "U100000"}}, "is of type 'U100000'"),
        ("carry", {"carry_in_x": {"shape": [2], "dtype": "float32"}}, "contract.json"),
        ("carry", 3, "contract.json"),
        ("chunk", math.inf, "OverflowError"),
        ("chunk", 9, "prompt.onnx cannot be run by onnxruntime"),
        ("demonstration_frames", 10**9, "numbers may be"),
        ("demonstration_frames", 3, "prompt.onnx cannot be run by onnxruntime"),
        ("prompted", False, "contract.json"),
    ],
)
def test_an_incomplete_contract_is_one_line(
    folder: Path, tmp_path: Path, key: str, value: Any, says: str
) -> None:
    shutil.copytree(folder, tmp_path / "part")
    contract = json.loads((folder / "contract.json").read_text())
    del contract[key]
    contract |= {} if value is None else {key: value}
    (tmp_path / "part" / "contract.json").write_text(json.dumps(contract))
    with pytest.raises(UserError, match=re.escape(says)) as raised:
        load_exported(tmp_path / "part")
    assert "\n" not in str(raised.value)
