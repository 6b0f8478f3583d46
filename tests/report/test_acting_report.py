"""Reports of runs that learned by acting: what they show of a real run, and what they conclude."""

from __future__ import annotations

import html
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report.test_html import wait_until
from training.online.tiny import SEEN, tiny

from manyparts.evaluation.curves import Curve
from manyparts.evaluation.prediction.own_episodes import TeacherWeights, predict_own
from manyparts.report import acting_pages
from manyparts.report.acted import Acted, verdict_on_weights
from manyparts.report.acting_pages import learning
from manyparts.report.html import write_report
from manyparts.training.online.train import train_online


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from images, which is not evaluated at the end."""
    config = tiny(environment_steps=90, evaluate_every_steps=20)
    run = train_online(
        replace(config, model=replace(config.model, sees="images", depth=2)),
        environment="pointmass/reach",
        environment_config={**SEEN, "image_size": 16},
        output=tmp_path_factory.mktemp("acted") / "run",
        device="cpu",
    )
    predict_own(run, run / "prediction", episodes=2, windows=2)
    return run


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return write_report(run).read_text(encoding="utf-8")


def titles(page: str) -> list[str]:
    return re.findall("<figcaption>(.*?)</figcaption>", html.unescape(page))


def test_acting_run_shows_its_curves(page: str) -> None:
    assert {
        "return of an episode",
        "success",
        "discounted return from the start",
        "entropy of the policy",
        "saturated actions",
        "gradient norm of each loss",
        "divergence of the model's states, in nats",
        "errors of the model, as weighted",
        "error of images, squared",
    } <= set(titles(page))
    assert not [title for title in titles(page) if title.endswith("nothing recorded")]
    assert "It was not evaluated at the end." in page
    assert "2 replayed steps for each" in page
    assert "Dashed: on held-out episodes" not in page and "Which teachers count" not in page


def test_films_of_imagination_are_embedded(
    run: Path, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert page.count("<video") == 2 and page.count("data:image/svg+xml") == 1
    monkeypatch.setattr(acting_pages, "FILM_BUDGET", 1)
    short = write_report(run, run / "short.html").read_text(encoding="utf-8")
    assert short.count("<video") == 0
    assert "Real on the left" in page and "Real on the left" not in short


def test_unpredicted_run_says_the_command(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run", symlinks=True)
    shutil.rmtree(tmp_path / "run" / "prediction")
    page = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert f"Nothing was predicted: <code>manyparts predict {tmp_path / 'run'}" in page


def test_acting_page_works_in_a_browser(run: Path, page: str, browser) -> None:
    complaints = []
    tab = browser.new_page()
    tab.on("console", lambda message: complaints.append(message.text))
    tab.goto((run / "report.html").resolve().as_uri())
    wait_until(
        tab, "[...document.querySelectorAll('video')].every((video) => video.readyState >= 2)"
    )
    assert tab.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
    for width in (1280, 360):
        tab.set_viewport_size({"width": width, "height": 800})
        assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), width
    assert complaints == []


def curves(**values: tuple[float, ...]) -> dict[str, Curve]:
    """Curves of four checks."""
    return {name: Curve(np.arange(4.0), np.array(each)) for name, each in values.items()}


@pytest.mark.parametrize(
    ("floor", "said"),
    [
        (0.0, "a counts most, 74 %. c is dead: its weight stays near 0."),
        (0.3, "a counts most, 74 %. b and c are dead: their weight stays near the floor, which"),
    ],
)
def test_dead_sources_are_named(floor: float, said: str) -> None:
    weights = curves(a=(0.3, 0.3, 0.73, 0.75), b=(0.3, 0.3, 0.26, 0.24), c=(0.4, 0.4, 0.01, 0.01))
    assert said in verdict_on_weights(weights, floor=floor)


def test_weights_without_preference_are_named() -> None:
    alike = curves(a=(0.9, 0.9, 0.52, 0.51), b=(0.1, 0.1, 0.48, 0.49))
    assert "do not tell the sources apart" in verdict_on_weights(alike, floor=0.0)
    alone = curves(a=(1.0, 1.0, 1.0, 1.0))
    assert verdict_on_weights(alone, floor=0.0).startswith("There is one teacher")


def acted(expected: float, realised: float) -> Acted:
    row = {
        "environment_steps": 10.0,
        "validation/expected_return": expected,
        "validation/discounted_return": realised,
    }
    return Acted("pointmass/reach", {}, [row], {}, {}, (), None, None)


@pytest.mark.parametrize(
    ("expected", "realised", "is_exploited"),
    [
        (3.0, 3.1, False),
        (3.0, 1.0, True),
        (-1.0, -3.0, True),
        (-8.0, -10.0, False),
        (-3.0, -2.9, False),
        (0, 0, False),
    ],
)
def test_an_exploited_model_is_named(expected: float, realised: float, is_exploited: bool) -> None:
    said = "".join(learning(acted(expected, realised), Path("run")))
    assert ("the policy exploits errors of the model" in said) == is_exploited


def test_next_to_nothing_is_not_far_more() -> None:
    rows = [*acted(9.0, 9.0).rows, {**acted(0.1, 0.0).rows[0], "environment_steps": 20.0}]
    said = "".join(learning(replace(acted(1, 1), rows=rows), Path("run")))
    assert "0.1, and 0 came" in said and "exploits" not in said


@pytest.mark.parametrize(
    ("best", "said"),
    [
        (
            10.0,
            "return 9, success 60 %, at step 10. Its weights are kept: <code>manyparts evaluate",
        ),
        (20.0, "return 8, success 60 %. It is the best one so far."),
    ],
)
def test_the_best_check_is_named(best: float, said: str) -> None:
    rows = [
        {"environment_steps": step, "validation/return": value, "validation/success": 0.6}
        for step, value in ((10.0, 9.0), (20.0, 8.0))
    ]
    outcome = {"environment_steps": best, "return": 9.0, "success": 0.6}
    assert said in "".join(learning(replace(acted(1, 1), rows=rows, best=outcome), Path("run")))


def test_weights_of_episodes_are_drawn() -> None:
    rows = [{"environment_steps": 10.0, "distillation/weight/<a>": 0.7}]
    rows[0]["distillation/weight/b"] = 0.3
    weights = TeacherWeights(("<a>", "b"), (np.array([[0.7, 0.3]] * 4),) * 3)
    page = "".join(acting_pages.teachers(replace(acted(1, 1), rows=rows, weights=weights)))
    assert titles(page) == [
        "over training, mean of all steps",
        "in an episode of its own, 1",
        "in an episode of its own, 2",
    ]
    assert "&lt;a&gt; counts most, 70 %" in page and "<a>" not in page
