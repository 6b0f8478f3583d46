"""What training a dynamics model requires of its settings and of the rewards in its data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manyparts import cli
from manyparts.core.columns import REWARD
from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.training.inputs import Sources


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--model.decoding", "both"], "decoding"),
        (["--window.chunk", "2"], "window.chunk is 2"),
        (["--cache-features"], "sees no images"),
        (
            ["--model.policy"],
            "no objective trains the policy; add the objective NextActionConfig",
        ),
    ],
)
def test_settings_that_do_not_fit(
    data: EpisodeDataset, tmp_path: Path, flags: list[str], says: str, capsys: Any
) -> None:
    words = ["--data", str(data.path), "--output", str(tmp_path / "run"), "--steps", "2"]
    assert cli.main(["train", "dynamics/parallel-debug", *words, *flags]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_rewards_are_checked_not_their_statistics(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "arrays"
    path.mkdir()
    for episode in range(2):
        arrays = np.random.default_rng(episode).uniform(-1, 1, (2, 20, 2))
        np.savez(
            path / f"{episode}.npz", position=arrays[0], action=arrays[1], reward=np.full(20, 300.0)
        )
    assert cli.main(["data", "convert", str(path), str(tmp_path / "data")]) == 0
    (statistics,) = (tmp_path / "data").glob("meta/stats.json")
    recorded = json.loads(statistics.read_text())
    recorded[REWARD] |= {"max": [1.0], "min": [0.0]}
    statistics.write_text(json.dumps(recorded))
    words = ["--data", str(tmp_path / "data"), "--output", str(tmp_path / "run"), "--steps", "1"]
    assert cli.main(["train", "dynamics/parallel-debug", *words]) == 2
    assert "has a reward of 300" in capsys.readouterr().err


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize(
    ("tokeniser", "reward", "says"),
    [
        ("uniform", 5.5, "a reward of 5.5; this model tells rewards from -5 to 5 apart"),
        ("uniform", 5.0, None),
        ("mu-law", -256.5, "a reward of -256.5; this model tells rewards from -256 to 256 apart"),
        ("mu-law", 5.5, None),
    ],
)
def test_rewards_beyond_bins_are_refused(
    tmp_path: Path, tokeniser: str, reward: float, says: str | None, recorded: bool, capsys: Any
) -> None:
    """Whether the dataset says in its statistics what rewards it has or not."""
    rng, path = np.random.default_rng(0), tmp_path / "arrays"
    path.mkdir()
    for episode in range(2):
        np.savez(
            path / f"{episode}.npz",
            position=rng.normal(size=(20, 3)),
            action=rng.uniform(-1, 1, size=(20, 2)),
            reward=np.array([*[0.5] * 19, reward if episode else 0.0]),
        )
    assert REWARD not in EpisodeDataset.open(path).statistics.features
    if recorded:
        assert cli.main(["data", "convert", str(path), str(tmp_path / "data")]) == 0
        path = tmp_path / "data"
        assert REWARD in EpisodeDataset.open(path).statistics.features
    words = [
        "--data",
        str(path),
        "--output",
        str(tmp_path / "run"),
        "--steps",
        "1",
        "--model.tokeniser",
        tokeniser,
    ]
    assert cli.main(["train", "dynamics/parallel-debug", *words]) == (0 if says is None else 2)
    assert (tmp_path / "run").exists() == (says is None)
    assert (says or "") in capsys.readouterr().err


def test_mixture_needs_rewards_everywhere(tmp_path: Path, capsys: Any) -> None:
    rng, data = np.random.default_rng(0), []
    for name, more in (("with", {"reward": np.ones(20)}), ("without", {})):
        folder = tmp_path / name / "arm"
        folder.mkdir(parents=True)
        for episode in range(2):
            arrays = {
                "position": rng.normal(size=(20, 3)),
                "action": rng.uniform(-1, 1, size=(20, 2)),
                **more,
            }
            np.savez(folder / f"{episode}.npz", **arrays)
        data.append(str(folder))
    words = ["--data", *data, "--output", str(tmp_path / "run"), "--steps", "1"]
    assert cli.main(["train", "dynamics/mlp-debug", *words]) == 2
    assert "has none, which a dynamics model would learn as rewards of 0" in " ".join(
        capsys.readouterr().err.split()
    )
    assert not (tmp_path / "run").exists()


def test_unbounded_reward_model_takes_all(data: EpisodeDataset) -> None:
    sources = Sources((data,))
    sources.require_rewards(float("inf"))
    with pytest.raises(
        UserError,
        match=r"has a reward of -?[0-9.e-]+; this model tells rewards from -0.0001 to 0.0001",
    ):
        sources.require_rewards(1e-4)
