"""Prediction quality: what is fed back, what is compared, and the command that says it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import av
import numpy as np
import pytest
from evaluation.prediction.small_data import CONFIG, collected, few_windows

from manyparts import cli
from manyparts.core.columns import ACTION, REWARD, STATE
from manyparts.core.errors import UserError
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.splits import split_episodes
from manyparts.embodiment.normalisation import StateNormaliser
from manyparts.evaluation.prediction.forecast import Imagined, labels
from manyparts.evaluation.prediction.imagined import show
from manyparts.evaluation.prediction.open_loop import imagine, open_loop
from manyparts.models.checkpoint import resolve
from manyparts.rollout.collect import collect


@pytest.fixture(scope="module")
def runs(data: EpisodeDataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    steps = {"parallel": 50, "sequential": 50, "mlp": 400, "ensemble": 400}
    return {name: trained(name, count, data, folder) for name, count in steps.items()}


def trained(name: str, steps: int, data: EpisodeDataset, folder: Path) -> Path:
    words = ["--data", str(data.path), "--output", str(folder / name), "--steps", str(steps)]
    assert cli.main(["train", f"dynamics/{name}-debug", *words]) == 0
    return folder / name


@pytest.mark.slow
@pytest.mark.parametrize("decoding", ["parallel", "sequential"])
def test_errors_of_trained_models_grow(data: EpisodeDataset, decoding: str, tmp_path: Path) -> None:
    run = trained(decoding, 800, data, tmp_path)
    (forecast,) = open_loop([run], data.path, horizons=(1, 5, 20), windows=32)
    rows = forecast.horizons
    assert [row.steps for row in rows] == [1, 5, 20]
    for row in rows:
        assert row.low is not None and row.high is not None
        assert row.low <= row.error <= row.high
    assert rows[0].still < rows[1].still < rows[2].still
    if decoding == "parallel":
        assert rows[0].error < rows[0].still and rows[0].error < rows[1].error < rows[2].error
    else:  # it learns more slowly: better than the mean state
        assert rows[0].error < 1
    assert set(rows[0].dimensions) == set(data.spec.state_names)
    np.testing.assert_allclose(np.mean(list(rows[1].dimensions.values())), rows[1].error, rtol=1e-5)


@pytest.mark.slow
def test_command_writes_its_files(
    runs: dict[str, Path], data: EpisodeDataset, tmp_path: Path, capsys: Any
) -> None:
    words = few_windows(data, tmp_path)
    assert cli.main(["predict", str(runs["parallel"]), *words]) == 0
    assert "nothing changes" in capsys.readouterr().out
    written = json.loads((tmp_path / "prediction.json").read_text())
    assert [row["steps"] for row in written["horizons"]] == [1, 3] and written["windows"] == 4
    assert ElementTree.parse(tmp_path / "imagined.svg").getroot().tag.endswith("svg")
    with av.open(str(tmp_path / "imagined-1.mp4")) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    model = 4  # steps of a window
    assert len(frames) == model - 1 + 3 + 1 and frames[0].shape == (268, 2 * 268, 3)
    real, imagined = np.split(np.stack(frames).astype(int), 2, axis=2)
    apart = np.abs(real - imagined)[:, :, :4].mean(
        axis=(1, 2, 3)
    )  # the frame around a scene that is imagined
    assert apart[:model].max() < 5 and apart[model:].min() > 20
    assert not (tmp_path / "imagined-2.mp4").exists()


def test_without_simulator_only_curves_are_drawn(
    runs: dict[str, Path], data: EpisodeDataset, tmp_path: Path, capsys: Any
) -> None:
    foreign = tmp_path / "foreign"
    shutil.copytree(data.path, foreign)
    info = json.loads((foreign / "meta/info.json").read_text())
    info["manyparts"]["environment"] = {}
    (foreign / "meta/info.json").write_text(json.dumps(info))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/imagined-7.mp4").write_bytes(b"an older run's")
    words = [
        "--data",
        str(foreign),
        "--horizons",
        "3",
        "--windows",
        "2",
        "--output",
        str(tmp_path / "out"),
    ]
    assert cli.main(["predict", str(runs["mlp"]), *words, "--shown", "1"]) == 0
    assert "does not say in which simulator" in capsys.readouterr().err
    assert (tmp_path / "out/imagined.svg").exists() and not [*(tmp_path / "out").glob("*.mp4")]


def test_imagined_windows_have_the_errors(runs: dict[str, Path], data: EpisodeDataset) -> None:
    (forecast,) = open_loop([runs["mlp"]], data.path, horizons=(1, 3), windows=2, seed=5)
    windows = imagine([runs["mlp"]], data.path, horizon=3, windows=2, seed=5)
    std = StateNormaliser.of(data.statistics, data.spec.state_dimension).std
    for row in forecast.horizons:
        ends = [(window.context + row.steps, window) for window in windows]
        error = [
            (window.imagined["mlp"][0][row.steps - 1] - window.state[end]) / std
            for end, window in ends
        ]
        reward = [
            window.imagined["mlp"][1][row.steps - 1] - window.reward[end - 1]
            for end, window in ends
        ]
        assert row.error == pytest.approx(np.square(error).mean(), rel=1e-3)
        assert row.reward == pytest.approx(np.square(reward).mean(), rel=1e-3)


def test_imagination_that_explodes_is_black(data: EpisodeDataset, tmp_path: Path) -> None:
    state = data.columns(0)[STATE][:4]
    exploded = np.full((2, state.shape[1]), np.inf, np.float32)
    window = Imagined(0, 0, 1, state, np.zeros(3), {"model": (exploded, np.full(2, np.nan))})
    assert len(show([window], data, tmp_path)) == 2
    with av.open(str(tmp_path / "imagined-0.mp4")) as film:
        last = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)][-1]
    assert last[10:-10, 10:250].mean() > 100 and last[10:-10, 280:-10].mean() < 5


def test_models_predict_the_same_windows(
    runs: dict[str, Path], data: EpisodeDataset, tmp_path: Path, capsys: Any
) -> None:
    names = ["mlp", "ensemble", "parallel"]
    words = [
        "--data",
        str(data.path),
        "--horizons",
        "1",
        "5",
        "--windows",
        "8",
        "--output",
        str(tmp_path),
    ]
    assert cli.main(["predict", *(str(runs[name]) for name in names), *words]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in names) and "calibration error" in said
    written = json.loads((tmp_path / "prediction.json").read_text())["models"]
    assert [Path(each["run"]).name for each in written] == names
    still = [[row["still"] for row in each["horizons"]] for each in written]
    assert still[0] == pytest.approx(still[1]) and still[0] == pytest.approx(still[2])
    assert written[0]["calibration"] is None
    for each in written[1:]:
        assert each["calibration"]["steps"] == 8 * 5
        assert set(each["calibration"]["numbers"]) == {*data.spec.state_names, "reward"}
    drawn = ElementTree.parse(tmp_path / "prediction.svg").getroot()
    assert drawn.tag.endswith("svg")


@pytest.mark.parametrize("name", ["mlp", "ensemble"])
def test_trained_baseline_beats_standing_still(
    runs: dict[str, Path], data: EpisodeDataset, name: str
) -> None:
    (forecast,) = open_loop([runs[name]], data.path, horizons=(1, 5), windows=32)
    assert all(row.error < row.still for row in forecast.horizons)


def test_windows_are_spread_over_episodes(runs: dict[str, Path], data: EpisodeDataset) -> None:
    drawn = [
        {
            window.episode
            for window in imagine([runs["mlp"]], data.path, horizon=3, windows=4, seed=seed)
        }
        for seed in range(8)
    ]
    assert all(len(episodes) == 4 for episodes in drawn) and set.union(*drawn) == set(range(8))
    assert (
        len({window.episode for window in imagine([runs["mlp"]], data.path, horizon=3, windows=8)})
        == 8
    )


def test_errors_have_first_runs_unit(
    runs: dict[str, Path], data: EpisodeDataset, tmp_path: Path
) -> None:
    """A copy with training data that spread four times as wide: what it takes for a std is worth
    four."""
    wide = tmp_path / "wide"
    shutil.copytree(runs["mlp"], wide, symlinks=True)
    path = resolve(wide) / "config.json"
    config = json.loads(path.read_text())
    state = config["embodiments"][0]["statistics"]["observation.state"]
    state["std"] = [4 * value for value in state["std"]]
    path.write_text(json.dumps(config))
    settings: dict[str, Any] = {"horizons": (1,), "windows": 4}
    (own,) = open_loop([wide], data.path, **settings)
    _, second = open_loop([runs["mlp"], wide], data.path, **settings)
    assert second.horizons[0].error == pytest.approx(16 * own.horizons[0].error, rel=1e-4)
    assert second.horizons[0].still == pytest.approx(16 * own.horizons[0].still, rel=1e-4)


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        (STATE, np.nan, r"episode \d+, frame \d+: \w+ is nan; expected finite numbers"),
        (REWARD, np.inf, "reward is inf; expected finite numbers"),
        (ACTION, 7.0, r"is 7.0; expected actions from \("),
    ],
)
def test_impossible_numbers_are_named(
    runs: dict[str, Path],
    data: EpisodeDataset,
    monkeypatch: pytest.MonkeyPatch,
    column: str,
    value: float,
    says: str,
) -> None:
    whole = EpisodeDataset.columns

    def spoilt(self: EpisodeDataset, index: int) -> dict[str, np.ndarray]:
        columns = whole(self, index)
        return columns | {column: np.full_like(columns[column], value)}

    monkeypatch.setattr(EpisodeDataset, "columns", spoilt)
    with pytest.raises(UserError, match=says):
        open_loop([runs["mlp"]], data.path, horizons=(1,), windows=1)


def test_forecast_says_what_was_trained_on(
    runs: dict[str, Path], data: EpisodeDataset, tmp_path: Path
) -> None:
    """Of a dataset of its own only what it held out is predicted, also by what started from it; of
    one with too few episodes to hold any out, all; and models are compared on what all have held
    out."""
    large = collect(
        ["pointmass/reach"],
        episodes=24,
        output=tmp_path / "large",
        config=CONFIG,
        steps_after_success=5,
    )
    words = ["--data", str(large.path), "--steps", "1", "--validation-fraction", "0.25"]
    for name, more in (("own", []), ("later", ["--seed", "1", "--from", str(tmp_path / "own")])):
        assert (
            cli.main(
                ["train", "dynamics/mlp-debug", *words, "--output", str(tmp_path / name), *more]
            )
            == 0
        )
    asked: dict[str, Any] = {"horizons": (1,), "windows": 24}
    held_out = {
        seed: set(split_episodes(large.episode_task, 0.25, seed)[1].tolist()) for seed in (0, 1)
    }
    (own,) = open_loop([tmp_path / "own"], large.path, **asked)
    assert (own.trained_on, own.episodes) == ("other episodes", 6)
    windows = imagine([tmp_path / "own"], large.path, horizon=1, windows=24)
    assert {window.episode for window in windows} == held_out[0]
    both = held_out[0] & held_out[1]
    (later,) = open_loop([tmp_path / "later"], large.path, **asked)
    assert (later.trained_on, later.episodes) == (
        ("other episodes", len(both)) if both else ("these episodes", 24)
    )
    (elsewhere,) = open_loop([tmp_path / "own"], data.path, **asked)
    assert (elsewhere.trained_on, elsewhere.episodes) == ("other data", 8)
    (few,) = open_loop([runs["mlp"]], data.path, **asked)
    assert (few.trained_on, few.episodes) == ("these episodes", 8)


@pytest.mark.slow
def test_single_episode_without_rewards(
    runs: dict[str, Path],
    data: EpisodeDataset,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    one = collected(tmp_path / "one", 1)
    whole = EpisodeDataset.columns
    monkeypatch.setattr(
        EpisodeDataset,
        "columns",
        lambda self, index: {
            name: values for name, values in whole(self, index).items() if name != REWARD
        },
    )
    words = few_windows(one, tmp_path / "out")
    for names in (["ensemble"], ["mlp", "ensemble"]):
        assert cli.main(["predict", *(str(runs[name]) for name in names), *words]) == 0
        said = capsys.readouterr().out
        assert "there are no intervals" in said and "has no rewards: they are not scored" in said
        assert "ensemble was trained on other data" in said and "nan" not in said
    (_, written) = json.loads((tmp_path / "out/prediction.json").read_text())["models"]
    assert written["episodes"] == 1 and written["trained_on"] == "other data"
    assert set(written["calibration"]["numbers"]) == set(data.spec.state_names)
    for row in written["horizons"]:
        assert row["reward"] is row["low"] is row["high"] is None and np.isfinite(row["error"])


def test_horizon_beyond_episodes_is_named(
    runs: dict[str, Path], data: EpisodeDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match="a horizon of 500"):
        open_loop([runs["parallel"]], data.path, horizons=(500,))
    with pytest.raises(UserError, match="expected at least 1"):
        open_loop([runs["parallel"]], data.path, horizons=(0,))
    assert cli.main(["predict", str(runs["mlp"]), "--data", str(data.path), "--shown", "-1"]) == 2
    assert "--shown is -1" in capsys.readouterr().err
    with pytest.raises(UserError, match="0 runs"):
        open_loop([], data.path)


def test_dynamics_model_needs_a_planner(runs: dict[str, Path], capsys: Any) -> None:
    for run in runs.values():
        assert cli.main(["evaluate", str(run), "--episodes", "1"]) == 2
        assert (
            "acts only with a planner; choices: random-shooting, cem, mppi, policy"
            in capsys.readouterr().err
        )


def test_policy_predicts_no_dynamics(data: EpisodeDataset, tmp_path: Path, capsys: Any) -> None:
    words = ["--data", str(data.path), "--output", str(tmp_path / "run"), "--steps", "2"]
    assert cli.main(["train", "inverse_dynamics/finetune-states-debug", *words]) == 0
    assert cli.main(["predict", str(tmp_path / "run"), "--data", str(data.path)]) == 2
    assert "predicts no dynamics" in capsys.readouterr().err


@pytest.mark.slow
def test_transformers_feed_back_samples(data: EpisodeDataset, tmp_path: Path, capsys: Any) -> None:
    """By how they were trained, or by a flag; the seed decides what is drawn."""
    words = ["train", "dynamics/parallel-debug", "--data", str(data.path), "--steps", "2"]
    run, other = tmp_path / "sample", tmp_path / "expectation"
    assert cli.main([*words, "--output", str(run), "--model.next", "sample"]) == 0
    assert (
        cli.main([*words, "--output", str(other), "--from", str(run)]) == 0
    )  # no weight depends on it

    def errors(path: Path, *flags: str) -> list[float]:
        asked = ["--data", str(data.path), "--windows", "4", "--horizons", "5", "--shown", "1"]
        assert (
            cli.main(["predict", str(path), *asked, "--output", str(tmp_path / "feedback"), *flags])
            == 0
        )
        written = json.loads((tmp_path / "feedback" / "prediction.json").read_text())
        return [row["error"] for row in written["horizons"]]

    drawn, expected = errors(run), errors(run, "--model.next", "expectation")
    assert drawn == errors(run, "--model.next", "sample") and drawn != expected
    assert errors(other) != errors(other, "--model.next", "sample")
    mlp = tmp_path / "mlp"
    assert cli.main(["train", "dynamics/mlp-debug", *words[2:], "--output", str(mlp)]) == 0
    assert cli.main(["predict", str(mlp), "--data", str(data.path), "--model.next", "sample"]) == 2
    assert "model.next is a setting of none of these models" in capsys.readouterr().err
    both = ["--data", str(data.path), "--windows", "2", "--horizons", "5", "--model.next", "sample"]
    assert (
        cli.main(["predict", str(mlp), str(run), *both]) == 0
    )  # the perceptron draws nothing and stays as it is
    assert cli.main([*words, "--output", str(tmp_path / "bad"), "--model.next", "mode"]) == 2


@pytest.mark.parametrize(
    ("runs", "names"),
    [
        (["runs/mlp", "runs/ensemble"], ["mlp", "ensemble"]),
        (["stages/mlp/run", "stages/ensemble/run"], ["mlp", "ensemble"]),
        (["a/mlp/0/run", "a/mlp/1/run", "a/ensemble/0/run"], ["mlp/0", "mlp/1", "ensemble/0"]),
        (["a/run", "a/b/run"], ["a/run", "a/b/run"]),
        (["a/run", "a/run"], ["a/run", "a/run"]),
        (["run"], ["run"]),
    ],
)
def test_labels_distinguish_the_runs(runs: list[str], names: list[str]) -> None:
    assert labels(runs) == names
