"""One agent for a point mass and a navigator of miniworld, from collection to a result."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from training.runs import first, rows, second

from manyparts import cli
from manyparts.agents.loading import load
from manyparts.core.errors import UserError
from manyparts.envs.base import EnvConfig
from manyparts.evaluation.protocol import evaluate
from manyparts.report.html import write_report
from manyparts.rollout.collect import collect
from manyparts.training.train import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("miniworld") is None, reason="miniworld is not installed"),
]

POINT, ROOM = "pointmass/reach-red", "navigation/one-room"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two phases on both embodiments, goals hidden from the point mass alone."""
    folder = tmp_path_factory.mktemp("embodiments")
    hidden, visible = EnvConfig(image_size=16, goal="hidden"), EnvConfig(image_size=16)
    for name, task, config in (("point", POINT, hidden), ("room", ROOM, visible)):
        collect([task], episodes=3, output=folder / name, config=config, workers=1)
    data = [folder / "point", folder / "room"]
    one = train(first(steps=3), data=data, output=folder / "one", device="cpu")
    return train(second(steps=3), data=data, output=folder / "two", start_from=one, device="cpu")


@pytest.mark.slow
def test_each_task_gets_its_embodiment(run, tmp_path):
    result = evaluate(run, episodes=1, max_steps=9, workers=1)
    assert result.tasks == (POINT, ROOM)
    environments = result.provenance["environment"]
    assert {suite: each["goal"] for suite, each in environments.items()} == {
        "pointmass": "hidden",
        "navigation": "visible",
    }
    assert result.provenance["max_steps"] == 9
    alone = evaluate(
        run, tasks=[ROOM], episodes=1, max_steps=9, workers=1, output=tmp_path / "alone"
    )
    assert alone.provenance["environment"] == environments["navigation"]
    assert alone.episodes[0] == result.episodes[1]
    page = write_report(run).read_text()
    assert str(run.parent / "point") in page and str(run.parent / "room") in page


def test_same_weights_act_for_both(run):
    agents = [load(run, embodiment=name) for name in ("pointmass", "miniworld")]
    assert [agent.spec.action.dimension for agent in agents] == [2, 1]
    for one, other in zip(
        agents[0].system.parameters(), agents[1].system.parameters(), strict=True
    ):
        assert one.equal(other)


def test_agent_of_one_embodiment_is_evaluated(run, tmp_path):
    agent = load(run, embodiment="miniworld")
    assert evaluate(agent, episodes=1, max_steps=2, workers=1, output=tmp_path / "x").tasks == (
        ROOM,
    )


def test_unlearned_embodiment_is_refused_early(run, tmp_path):
    alone = train(first(steps=1), data=run.parent / "room", output=tmp_path / "one", device="cpu")
    only = train(
        second(steps=1),
        data=run.parent / "room",
        output=tmp_path / "two",
        start_from=alone,
        device="cpu",
    )
    with pytest.raises(
        UserError,
        match=r"another embodiment than the agent \(embodiment: miniworld, pointmass; .*action",
    ):
        evaluate(only, tasks=[POINT], episodes=1, output=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_command_trains_on_several_datasets(run, tmp_path):
    sets = [str(run.parent / name) for name in ("point", "room")]
    words = [
        "--data",
        *sets,
        "--weights",
        "3",
        "1",
        "--output",
        str(tmp_path / "run"),
        "--steps",
        "2",
    ]
    assert cli.main(["train", "dualmind/phase1-debug", *words, "--device", "cpu"]) == 0
    (row,) = rows(tmp_path / "run")
    assert row["fraction/pointmass"] == 0.75 and np.isfinite(row["loss"])
