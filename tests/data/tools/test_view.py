"""The page of a dataset, in a real browser: episodes are chosen, scrubbed and filtered, and nothing
is fetched."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.synthetic import make_episode, write

from manyparts.cli import main
from manyparts.core.errors import UserError
from manyparts.data.tools.view import _rounded, view

EPISODES = [make_episode(seed, 5 + seed) for seed in range(6)]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("view")
    failed = [
        replace(each, success=each.success & (seed != 3)) for seed, each in enumerate(EPISODES)
    ]
    return view(write(folder / "set", failed).path, folder / "set.html")


def held(page: Path) -> dict[str, Any]:
    (content,) = re.findall(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    return json.loads(content)


def test_page_holds_the_dataset(page: Path) -> None:
    content = held(page)
    assert [each["index"] for each in content["episodes"]] == [0, 2, 4, 1, 3, 5]
    assert content["episodes"][1]["length"] == len(EPISODES[2])
    assert content["episodes"][0]["action"][0] == pytest.approx(
        EPISODES[0].action[:, 0].tolist(), rel=1e-3
    )
    assert sum(content["histograms"][0]) == sum(map(len, EPISODES))


def test_page_works_without_network(page: Path, browser: Any) -> None:
    complaints, requests = [], []
    tab = browser.new_page()
    tab.on(
        "console",
        lambda message: complaints.append(message.text) if message.type == "error" else None,
    )
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(page.resolve().as_uri())
    tab.wait_for_timeout(300)
    assert tab.locator("#list button").count() == 6
    before = pixel(tab)
    tab.evaluate(
        "() => { const s = document.getElementById('scrub'); s.value = 3; "
        "s.dispatchEvent(new Event('input')); }"
    )
    assert tab.inner_text("#step").startswith("step 3 ") and pixel(tab) != before
    tab.select_option("#task", "1")
    assert tab.locator("#list button").count() == 3 and "push the block" in tab.inner_text("#about")
    tab.select_option("#success", "no")
    assert tab.locator("#list button").count() == 1 and "not solved" in tab.inner_text("#about")
    tab.click("#action .legend button >> nth=0")
    assert tab.locator("#action path").count() == 1
    tab.click("#play")
    tab.wait_for_timeout(1000)
    assert tab.inner_text("#step").startswith("step 7 ") and tab.inner_text("#play") == "Play"
    assert complaints == [] and all(url.startswith(("file:", "data:")) for url in requests)


def pixel(tab: Any) -> list[int]:
    """Red tells the step in these images."""
    return tab.evaluate(
        "() => [...document.querySelector('canvas').getContext('2d').getImageData(8, 8, 1, 1).data]"
    )


def test_unknown_episodes_and_tasks_are_named(page: Path, tmp_path: Path) -> None:
    source = page.with_name("set")
    for arguments, message in (
        ({"only": [9]}, "no episode 9; expected 0 to 5"),
        ({"tasks": ["toy/fly"]}, "no task 'toy/fly'; .*choices: toy/reach, toy/push"),
        ({"episodes": 0}, "episodes is 0"),
    ):
        with pytest.raises(UserError, match=message):
            view(source, tmp_path / "page.html", **arguments)
    assert [
        each["index"]
        for each in held(view(source, tmp_path / "page.html", only=[4, 1]))["episodes"]
    ] == [4, 1]


def test_page_through_a_view_shows_what_the_model_sees(page: Path, tmp_path: Path) -> None:
    source, file, seen = page.with_name("set"), tmp_path / "view.json", tmp_path / "seen.html"
    file.write_text(json.dumps({"cameras": {"top": "front"}, "size": [8, 12], "fit": "pad"}))
    flags = ["--view", str(file), "--view.every", "2", "--output", str(seen)]
    assert main(["data", "view", str(source), *flags]) == 0
    whole, content = held(page), held(seen)
    assert content["facts"]["cameras"] == "top 12×8"
    assert '"every": 2' in content["facts"]["seen through"] and content["fps"] == whole["fps"] / 2
    assert "seen through" not in whole["facts"]
    for one, other in zip(content["episodes"], whole["episodes"], strict=True):
        assert one["index"] == other["index"] and one["length"] == (other["length"] + 1) // 2
        assert one["state"] == [column[::2] for column in other["state"]]
        sheet = one["cameras"]["top"]
        assert (sheet["height"], sheet["width"]) == (8, 12) and len(one["cameras"]) == 1


def test_info_through_a_view_describes_what_the_model_sees(page: Path, capsys: Any) -> None:
    source = str(page.with_name("set"))
    assert main(["data", "info", source, "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert (
        main(["data", "info", source, "--view.size", "4", "6", "--view.every", "2", "--json"]) == 0
    )
    seen = json.loads(capsys.readouterr().out)
    assert seen["spec"]["cameras"] == {"front": [4, 6]} and seen["fps"] == whole["fps"] / 2
    assert seen["spec"]["action"]["high"] == [2 * high for high in whole["spec"]["action"]["high"]]


def test_what_is_no_number_is_a_gap() -> None:
    """JSON knows no NaN, and the page would be empty."""
    assert _rounded(np.array([[np.nan, 1.23456], [np.inf, 2.0]])) == [[None, None], [1.235, 2.0]]
