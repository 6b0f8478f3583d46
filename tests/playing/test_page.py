"""The page of `manyparts play` in a real browser: what moves, what is asked for, and a hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation.evaluating import make_run
from factories import ANY_PROMPT
from PIL import Image
from playing.page import Playing, playing

from manyparts import evaluate, preset, train
from manyparts.data.dataset import EpisodeDataset
from manyparts.evaluation.protocol import evaluate_reference


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Playing]:
    run = make_run(tmp_path_factory.mktemp("run"), window=ANY_PROMPT)
    folder = tmp_path_factory.mktemp("agent")
    with playing(folder, str(run), "--output", str(folder / "data")) as served:
        yield served


def opened(browser: Any, served: Playing) -> tuple[Any, list[str]]:
    """A tab with the page, and what it complains of."""
    tab, complaints = browser.new_page(), []
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on(
        "console",
        lambda message: complaints.append(message.text) if message.type == "error" else None,
    )
    tab.goto(served.url)
    tab.wait_for_selector("body[data-frame]")
    return tab, complaints


def pixels(tab: Any, canvas: str) -> str:
    return tab.evaluate(f"() => document.querySelector('{canvas}').toDataURL()")


def test_page_shows_asks_and_saves(browser: Any, agent: Playing, tmp_path: Path) -> None:
    tab, complaints = opened(browser, agent)
    before = pixels(tab, "#scene")
    tab.click("#run")
    tab.wait_for_function("() => +document.body.dataset.frame > 10")
    assert pixels(tab, "#scene") != before

    tab.fill("#instruction", "go to the corner")
    tab.press("#instruction", "Enter")
    tab.wait_for_function("() => document.querySelector('#said').textContent.includes('corner')")
    assert "does not count" in tab.inner_text("#said")
    tab.wait_for_selector(".log .said")
    assert "under the prompt before will not be saved" in tab.inner_text(".log .said >> nth=0")

    image = tmp_path / "goal.png"
    Image.fromarray(np.full((40, 60, 3), (255, 0, 0), np.uint8)).save(image)
    tab.set_input_files("#goal-file", str(image))
    tab.wait_for_selector("#views canvas")
    tab.wait_for_function("() => document.querySelector('#said').textContent.includes('goal')")
    red = tab.evaluate(
        "() => [...document.querySelector('#views canvas').getContext('2d')"
        ".getImageData(8, 8, 1, 1).data]"
    )
    assert red[0] > 240 and red[1] < 15 and red[2] < 15

    tab.keyboard.press("e")
    tab.wait_for_function("() => !document.querySelector('#beside').hidden")
    tab.select_option("#demonstration", "expert")
    tab.wait_for_function("() => document.querySelector('#said').textContent.includes('expert')")

    tab.check("input[value=takeover]")
    tab.keyboard.down("d")
    tab.wait_for_function("() => document.querySelector('#caption').textContent.includes('hand')")
    tab.keyboard.up("d")
    tab.check("input[name=verdict][value=no]")
    tab.keyboard.press("Enter")
    tab.wait_for_function(
        "() => document.querySelector('.log').textContent.includes('saved as episode 0')"
    )

    tab.click("#run")
    tab.wait_for_function("() => document.querySelector('#run').textContent === 'Run'")
    tab.select_option("#task", "pointmass/reach-left")
    tab.wait_for_function("() => document.querySelector('#said').textContent.includes('left')")
    tab.locator("#scene").hover(position={"x": 50, "y": 50})
    tab.mouse.down()
    tab.locator("#scene").hover(position={"x": 150, "y": 50})
    tab.mouse.up()
    tab.wait_for_function("() => document.querySelector('.log').textContent.includes('the disc')")
    assert complaints == []
    tab.close()
    episode = EpisodeDataset.open(agent.log.with_name("data"))[0]
    assert episode.instruction == "go to the corner" and not episode.success.any()
    note = json.loads((agent.log.with_name("data") / "meta" / "played.jsonl").read_text())
    assert note["by"] == "agent and hand" and note["said"] == "go to the corner"


SCRIPTED_HAND = """() => {
  const keys = [["KeyA", "KeyD"], ["KeyS", "KeyW"]], held = new Set();
  const press = (code, down) => {
    if (down === held.has(code)) return;
    if (down) held.add(code); else held.delete(code);
    const kind = down ? "keydown" : "keyup";
    document.body.dispatchEvent(new KeyboardEvent(kind, { code, bubbles: true, cancelable: true }));
  };
  setInterval(() => {
    const state = JSON.parse(document.body.dataset.state || "null");
    if (!state) return;
    keys.forEach(([low, high], axis) => {
      const wanted = 10 * (state[4 + axis] - state[axis]) - 3 * state[2 + axis];
      press(low, wanted < -0.4);
      press(high, wanted > 0.4);
    });
  }, 10);
}"""
EPISODES = 20
PAD = """() => {
  const pad = { connected: true, id: "a pad", axes: [0, -1, 0, 0], buttons: [] };
  navigator.getGamepads = () => [pad];
  setTimeout(() => { navigator.getGamepads = () => []; }, 800);
}"""


def try_every_device(tab: Any) -> None:
    """A key, the mouse and a gamepad push the disc; then the episode is begun again."""

    def until_action(*action: str) -> None:
        """Wait until the page shows this as the last action."""
        expected = json.dumps(list(action))
        shown = "[...document.querySelectorAll('#bars span:nth-child(2)')].map(e => e.textContent)"
        tab.wait_for_function(f"() => JSON.stringify({shown}) === '{expected.replace(' ', '')}'")

    tab.select_option("#speed", "0.25")
    tab.click("#run")
    tab.keyboard.down("ArrowLeft")
    until_action("-1", "0")
    tab.keyboard.up("ArrowLeft")
    until_action("0", "0")
    tab.select_option("#mouse", "drag")
    tab.locator("#scene").hover(position={"x": 200, "y": 200})
    tab.mouse.down()
    tab.locator("#scene").hover(position={"x": 200, "y": 400})
    until_action("0", "-1")
    tab.mouse.up()
    tab.evaluate(PAD)
    until_action("0", "1")
    until_action("0", "0")
    tab.click("#run")
    tab.keyboard.press("Backspace")
    tab.wait_for_function("() => document.querySelector('#caption').textContent.includes('step 0')")


@pytest.mark.slow
def test_a_scripted_hand_teaches_the_point_mass(browser: Any, tmp_path: Path) -> None:
    """Keys in the page, episodes in a dataset, a policy that learns from them."""
    data, task = tmp_path / "data", "pointmass/reach-red"
    flags = ("--tasks", task, "--state", "full", "--image-size", "16", "--output", str(data))
    with playing(tmp_path, "hand", *flags) as served:
        tab, complaints = opened(browser, served)
        try_every_device(tab)
        tab.select_option("#speed", "0.5")
        tab.check("#saves")
        tab.evaluate(SCRIPTED_HAND)
        tab.click("#run")
        enough = f"document.querySelector('#output').textContent.includes(': {EPISODES} episodes')"
        tab.wait_for_function(f"() => {enough}", timeout=600_000)
        assert complaints == []
        tab.close()
    dataset = EpisodeDataset.open(data)
    assert all(episode.success.any() for episode in dataset)
    notes = [json.loads(line) for line in (data / "meta" / "played.jsonl").open()]
    assert {note["by"] for note in notes} == {"hand"}
    run = train(
        preset("inverse_dynamics/finetune-states-laptop"), data=data, output=tmp_path / "run"
    )
    settings: dict[str, Any] = {"episodes": 20, "workers": 1}
    learned = evaluate(run, **settings)
    chance = evaluate_reference("random", [task], output=tmp_path / "random", **settings)
    reached = learned.per_task[task]["success_any"]
    assert reached.low > chance.per_task[task]["success_any"].high
