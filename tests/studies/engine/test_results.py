"""What becomes of claims, on episodes that are made up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from studies.engine.constructed import conclude
from studies.engine.declared import evaluated, imitation

from manyparts.studies import find_study
from manyparts.studies.engine.results import gather
from manyparts.studies.engine.study import Claim, Measurement, Study
from manyparts.studies.library.representations import CLONING, INVERSE, STATES, Choice, study

SETTING = "here"


def compared(output: Path, a: Sequence[int], b: Sequence[int], margin: float) -> str:
    """The verdict on "A is above B by the margin". a, b: solved episodes of 50 for each seed."""
    by_name = {"a": a, "b": b}
    measurements = [
        Measurement(
            method,
            SETTING,
            seed,
            (replace(evaluated(imitation(seed=seed, steps=steps)), episodes=50),),
        )
        for steps, method in enumerate(by_name, start=1)
        for seed in range(len(by_name[method]))
    ]
    conclude(measurements, output, lambda each: by_name[each.method][each.seed])
    claims = (Claim("a", "b", "a is above b", margin=margin),)
    toy = Study("toy", "", ("debug",), "a", lambda preset, seeds: measurements, claims=claims)
    (verdict,) = gather(toy, "debug", measurements, output).verdicts
    return verdict.verdict


@pytest.mark.parametrize(
    ("a", "b", "margin", "verdict"),
    [  # an interval reaches .1 to .14 to either side of its difference
        ((30, 30, 30), (25, 25, 25), 0.0, "not told apart"),
        ((45, 45, 45), (25, 25, 25), 0.0, "shows"),
        ((45, 45, 45), (25, 25, 25), 0.1, "shows"),
        ((45, 45, 45), (25, 25, 25), 0.4, "not told apart"),
        ((45, 45, 45), (25, 25, 25), 0.8, "opposite"),
        ((45, 45, 45), (45, 45, 45), -0.3, "shows"),
        ((45, 45, 45), (45, 45, 45), -0.05, "not told apart"),
        ((25, 25, 25), (45, 45, 45), -0.1, "opposite"),
        ((25,), (45,), -0.1, "one seed cannot tell"),
    ],
)
def test_claims_show_above_their_margin(
    tmp_path: Path, a: Sequence[int], b: Sequence[int], margin: float, verdict: str
) -> None:
    assert compared(tmp_path, a, b, margin) == verdict


def test_claims_may_need_largest_pretraining(
    tmp_path: Path,
) -> None:
    chosen = study(Choice(("pointmass", "pick-place"), (INVERSE, CLONING, STATES), (100, 10), (2,)))
    measurements = chosen.measurements("laptop", 3)
    success = {INVERSE: 0.98, CLONING: 0.8, STATES: 1.0}
    conclude(
        measurements,
        tmp_path,
        lambda each: int(success[each.method] * each.evaluations[0].episodes),
    )
    result = gather(chosen, "laptop", measurements, tmp_path)
    by_name = {(each.words, each.setting): each.verdict for each in result.verdicts}
    large, small = "pointmass, 2 demonstrations", "pointmass, 2 demonstrations, pretrained on 10"
    assert (
        by_name["inverse dynamics beats cloning", large]
        == by_name["inverse dynamics beats cloning", small]
        == "shows"
    )
    assert by_name["inverse dynamics beats cloning by 10 points", large] == "not told apart"
    assert by_name["inverse dynamics is within 10 points of states", large] == "shows"
    assert by_name["inverse dynamics beats forward-pixels by 10 points", large] == "not tested"
    by_points = {setting for words, setting in by_name if "10 points" in words}
    assert by_points == {large, "pick-place, 2 demonstrations"}
    assert {setting for words, setting in by_name if "10 points" not in words} > by_points


def test_every_objective_has_a_claim() -> None:
    claims = find_study("representations").claims
    beaten = {claim.worse for claim in claims if not claim.margin}
    assert {claim.worse for claim in claims if claim.margin == 0.1} == beaten - {
        "scratch",
        "random",
        "imagenet",
    }
    assert [claim.worse for claim in claims if claim.margin < 0] == [STATES]
