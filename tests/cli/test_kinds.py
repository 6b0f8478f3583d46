"""Flags that choose a kind of a nested config."""

from __future__ import annotations

import pytest

from manyparts.cli import main
from manyparts.cli.help_page import flags_on
from manyparts.cli.kinds import with_kinds
from manyparts.cli.parsing import flags
from manyparts.cli.train_online import options_with
from manyparts.core.errors import UserError
from manyparts.methods import preset
from manyparts.models.configs import KeypointEncoderConfig
from manyparts.models.dynamics.configs import CategoricalLatentConfig


@pytest.mark.parametrize(
    "words", [["--model.latent", "categorical"], ["--model.latent=categorical"]]
)
def test_a_kind_is_chosen_with_its_flags(words: list[str]) -> None:
    arguments = ["--seed", "1", *words, "--model.width", "8"]
    config, rest = with_kinds(preset("vid2act/laptop"), arguments, "model")
    assert config.model.latent == CategoricalLatentConfig()
    assert rest == ["--seed", "1", "--model.width", "8"]
    assert "--model.latent.categories" in flags(options_with(config))


def test_the_kind_of_the_preset_keeps_its_values() -> None:
    config, _ = with_kinds(preset("dreamer/debug"), ["--model.latent", "gaussian"], "model")
    assert config == preset("dreamer/debug")


def test_encoders_are_kinds() -> None:
    words = ["--model.encoder", "keypoint-encoder"]
    config, _ = with_kinds(preset("dualmind/phase1-debug"), words, "model")
    assert config.model.encoder == KeypointEncoderConfig()


@pytest.mark.parametrize("words", [["--model.latent", "categoricl"], ["--model.latent"]])
def test_other_kinds_are_refused(words: list[str]) -> None:
    with pytest.raises(UserError, match=r"--model.latent is '.*choices: gaussian, categorical"):
        with_kinds(preset("dreamer/debug"), words, "model")


def test_help_lists_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "dreamer/debug", "--model.latent", "categorical", "--help"])
    page = capsys.readouterr().out
    assert {"--model.latent", "--model.latent.categories"} <= set(flags_on(page))
    assert "--model.latent {gaussian,categorical}" in page and "(default: categorical)" in page
