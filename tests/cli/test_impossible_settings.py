"""Settings under which no model can be built, or nothing can be learned, are one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from data.synthetic import make_episode, make_spec, write

from manyparts.cli import main

PHASE1, PHASE2 = "dualmind/phase1-debug", "dualmind/phase2-debug"
INVERSE = "inverse_dynamics/inverse-dynamics-debug"
CASES = [
    (PHASE1, "--model.heads 3", "model.heads is 3; expected a divisor of model.width"),
    (PHASE1, "--model.heads 0", "model.heads is 0; expected at least 1"),
    (PHASE1, "--model.layers 0", "model.layers is 0; expected at least 1"),
    (PHASE1, "--model.token-maps 3", "model.token_maps is 3; expected a divisor of the encoder's"),
    (PHASE1, "--model.visual-tokens 0", "model.visual_tokens is 0; expected at least 1"),
    (PHASE1, "--model.dropout 2", "model.dropout is 2.0; expected in [0, 1)"),
    (PHASE1, "--model.encoder.width 30", "model.encoder.width is 30; expected a multiple of 4"),
    (PHASE1, "--model.encoder.layers 8 0 1", "model.encoder.layers is ((8, 0, 1),); expected"),
    (PHASE1, "--model.action.huber 0", "model.action.huber is 0.0; expected above 0"),
    (PHASE1, "--window.steps 1", "window.steps is 1; expected at least 2: "),
    (PHASE1, "--optimizer.betas 1.0 0.9", "optimizer.betas is (1.0, 0.9); expected each in [0, 1)"),
    (
        PHASE1,
        "--objectives.inverse-dynamics.attention causal",
        "is 'causal'; expected one of visual, inverse",
    ),
    (
        PHASE1,
        "--objectives.forward-dynamics.attention full",
        "attention is 'full', which would show it its answer",
    ),
    (PHASE1, "--objectives.masked-hindsight.hidden-to -1", "masked_hindsight.hidden_to is -1.0; "),
    (PHASE1, "--objectives.forward-dynamics.target-rate 2", "target_rate is 2.0; expected in [0"),
    (PHASE1, "--objectives.inverse-dynamics.weight -1", "objectives.inverse_dynamics.weight is -1"),
    (PHASE2, "--model.prompt.text.heads 3", "model.prompt.text.heads is 3; expected a divisor"),
    (PHASE2, "--model.prompt.text.max-words 0", "model.prompt.text.max_words is 0; expected"),
    (INVERSE, "--model.encoder.maps 0", "model.encoder.maps is 0; expected at least 1"),
    (INVERSE, "--window.steps 1", "window.steps is 1; expected at least 2: inverse dynamics"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = make_spec(48)
    path = tmp_path_factory.mktemp("data") / "set"
    return write(path, [make_episode(seed, 12, spec) for seed in range(4)], spec).path


@pytest.mark.parametrize(("preset", "flags", "says"), CASES)
def test_impossible_settings_are_one_line(
    preset: str,
    flags: str,
    says: str,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    words = ["train", preset, "--data", str(data), "--output", str(run), "--device", "cpu"]
    assert main([*words, *flags.split()]) == 2
    printed = capsys.readouterr().err
    assert says in printed and "Traceback" not in printed, printed
    assert not (run / "config.json").exists()
