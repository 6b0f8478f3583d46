"""Images of docs/tutorials: `scripts/docs/tutorial_images.py WORK docs/images/tutorials [NAMES]`.

WORK is the folder in which the commands of the tutorials were run, with its `runs` and `data`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from drawing import BLUE, GREEN, INK, LINE, MUTED, ORANGE, PURPLE, Canvas
from PIL import Image, ImageDraw, ImageFont

CELL = 150


def strip(rows: Sequence[tuple[str, Sequence[np.ndarray]]], path: Path) -> None:
    """Film strips, one a row, under a line of text each; JPEG."""
    columns, caption = len(rows[0][1]), 24
    sheet = Image.new("RGB", (columns * CELL, len(rows) * (CELL + caption)), "white")
    draw, font = ImageDraw.Draw(sheet), _font(14)
    for row, (words, frames) in enumerate(rows):
        top = row * (CELL + caption)
        draw.text((6, top + 4), words, fill=INK, font=font)
        for column, frame in enumerate(frames):
            small = Image.fromarray(frame).resize((CELL - 2, CELL - 2), Image.Resampling.LANCZOS)
            sheet.paste(small, (column * CELL + 1, top + caption + 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, quality=85, optimize=True)


def _font(size: int) -> Any:
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(str(folder / "DejaVuSans.ttf"), size)


def film(run: str, task: str, instruction: str, seed: int, at: Sequence[int]) -> list[np.ndarray]:
    """What happens in an unseen scene under an instruction: the frames after these steps."""
    from manyparts import load, make
    from manyparts.envs.base import EnvConfig

    agent = load(run)
    env = make(task, EnvConfig.of(agent.environment), split="evaluation")
    observation, _ = env.reset(seed=seed)
    carry, frames = None, []
    for step in range(max(at) + 1):
        if step in at:
            frames.append(env.render())
        action, carry = agent.act(carry, observation, instruction, explore=False)
        observation = env.step(action)[0]
    return frames


def faucets(work: Path, output: Path) -> None:
    """One scene, two instructions, the shipped agent."""
    run, at = "manyparts/metaworld45-small", (0, 20, 40, 60, 90)
    words = ("open the faucet", "close the faucet")
    rows = [(f"“{each}”", film(run, "metaworld/faucet-open", each, 3, at)) for each in words]
    strip(rows, output / "faucets.jpg")


def box(work: Path, output: Path) -> None:
    """One unseen scene before and after tuning."""
    at = (0, 30, 60, 90, 120)
    runs = {
        "before tuning": "manyparts/metaworld45-small",
        "after ten demonstrations": str(work / "runs/box-close"),
    }
    rows = [
        (name, film(run, "metaworld/box-close", "put the lid on the box", 1, at))
        for name, run in runs.items()
    ]
    strip(rows, output / "box-close.jpg")


def first_agent(work: Path, output: Path) -> None:
    """Three tasks by the agent of the quickstart."""
    run, at = str(work / "runs/quickstart/phase2"), (0, 25, 50, 75, 100)
    words = {
        "drawer-open": "open the drawer",
        "window-open": "open the window",
        "door-open": "open the door",
    }
    rows = [
        (f"“{text}”", film(run, f"metaworld/{task}", text, 0, at)) for task, text in words.items()
    ]
    strip(rows, output.parent / "start" / "first-agent.jpg")


def losses(work: Path, output: Path) -> None:
    """The losses of both phases of docs/tutorials/dualmind-from-nothing.md."""
    canvas = Canvas(250, "Training losses of phase I and phase II")
    first = _metrics(work / "runs/phase1/metrics.jsonl")
    second = _metrics(work / "runs/phase2/metrics.jsonl")
    panels = (
        (
            "Phase I",
            first,
            {"masked_hindsight": PURPLE, "inverse_dynamics": BLUE, "forward_dynamics": ORANGE},
            0.6,
        ),
        ("Phase II", second, {"behaviour_cloning": GREEN}, 0.3),
    )
    for index, (title, rows, names, top) in enumerate(panels):
        x = 54 + 340 * index
        canvas.text(x + 130, 28, title, size=14, bold=True)
        canvas.rectangle(x, 44, 270, 160, "white", LINE)
        steps = max(row["step"] for row in rows)
        for part in (0, 0.5, 1):
            canvas.text(
                x - 6, 208 - 160 * part, f"{top * part:.2g}", size=11, colour=MUTED, anchor="end"
            )
            canvas.text(x + 270 * part, 220, f"{steps * part:.0f}", size=11, colour=MUTED)
        canvas.text(x + 135, 236, "optimiser step", size=11, colour=MUTED)
        for line, (name, colour) in enumerate(names.items()):
            points = [
                (x + 270 * row["step"] / steps, 204 - 160 * min(row[f"loss/{name}"] / top, 1))
                for row in rows
            ]
            canvas.path(points, colour=colour, width=2)
            words = name.replace("_", " ")
            canvas.text(
                x + 262, 64 + 16 * line, words, size=11, colour=colour, anchor="end", bold=True
            )
    canvas.save(output / "losses.svg")


def _metrics(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def rail(work: Path, output: Path) -> None:
    """A scene of the rail of docs/tutorials/record-your-own-episodes.md, both instructions."""
    sys.path.insert(0, str(work / "own"))
    from rail import Rail  # type: ignore[import-not-found]

    from manyparts import load

    agent, rows = load(str(work / "own/runs/rail")), []
    for colour in ("red", "blue"):
        cart, carry, frames = Rail(), None, []
        cart.reset(1001)
        for step in range(17):
            if step % 4 == 0:
                frames.append(np.kron(cart.image(), np.ones((5, 5, 1), np.uint8)))
            observation = {"images": {"front": cart.image()}, "state": cart.state()}
            action, carry = agent.act(carry, observation, f"go to the {colour} box", explore=False)
            cart.move(action[0])
        rows.append((f"“go to the {colour} box”", frames))
    strip(rows, output / "rail.png")


def arm(work: Path, output: Path) -> None:
    """What the cameras of docs/tutorials/train-on-your-lerobot-dataset.md see, what a model sees of
    it, and scenes in which the agent acts."""
    from manyparts import View

    folder = work / "arm"
    sys.path.insert(0, str(folder))
    cameras = _first_images(folder, View())
    top = [Image.fromarray(image).resize((384, 288)) for image in cameras.values()]
    views = {
        "64 x 64, squash": View(size=(64, 64)),
        "64 x 64, pad": View(size=(64, 64), fit="pad"),
        "64 x 64, crop": View(size=(64, 64), fit="crop"),
        "48 x 64": View(size=(48, 64)),
    }
    sheet = Image.new("RGB", (784, 548), "white")
    draw, font = ImageDraw.Draw(sheet), _font(14)
    for column, (name, image) in enumerate(zip(cameras, top, strict=True)):
        draw.text((400 * column, 2), f"camera {name}, 480 x 640", fill=INK, font=font)
        sheet.paste(image, (400 * column, 24))
    for column, (words, view) in enumerate(views.items()):
        seen = Image.fromarray(_first_images(folder, view)["top"])
        large = seen.resize((3 * seen.width, 3 * seen.height), Image.Resampling.NEAREST)
        draw.text((197 * column, 326), words, fill=INK, font=font)
        sheet.paste(large, (197 * column, 350))
    sheet.quantize(64).save(output / "arm-view.png", optimize=True)
    rows = [(f"scene {seed}", _reaching(folder, seed)) for seed in (2000, 2001)]
    strip(rows, output / "arm.jpg")


def _first_images(folder: Path, view: Any) -> dict[str, np.ndarray]:
    """Of each camera, an image of the recorded dataset through a view."""
    from manyparts import EpisodeDataset

    dataset = EpisodeDataset.open(folder / "data/arm", view)
    return {camera: dataset.frames(1, camera)[0] for camera in dataset.spec.cameras}


def _reaching(folder: Path, seed: int) -> list[np.ndarray]:
    """What the camera above sees in an unseen scene, without its left and right edge."""
    from arm import Arm  # type: ignore[import-not-found]

    from manyparts import load

    agent, robot, carry, frames = load(str(folder / "runs/arm")), Arm(seed), None, []
    for step in range(45):
        images = robot.images()
        if step in (0, 5, 10, 20, 44):
            frames.append(images["top"][:, 80:560])
        observation = {"images": images, "state": robot.state()}
        action, carry = agent.act(carry, observation, "touch the green disc", explore=False)
        robot.move(action)
    return frames


def ferry(work: Path, output: Path) -> None:
    """Crossings of docs/tutorials/bring-your-own-environment.md: the student's path in yellow, that
    of random actions in grey."""
    sys.path.insert(0, str(work / "ferry"))
    from manyparts import load, make
    from manyparts.agents.random import RandomAgent

    agent, panels = load(str(work / "ferry/runs/student")), []
    env = make("gym:my_world:Ferry-v0", agent.environment, split="evaluation")
    for seed in range(4):
        random = RandomAgent(env.embodiment_spec, seed=seed)
        aimless = _crossing(env, random, None, seed)
        path = _crossing(env, agent, "dock at the red jetty", seed)
        image = Image.fromarray(env.render())
        draw = ImageDraw.Draw(image)
        draw.line(aimless, fill=(60, 70, 90), width=2)
        draw.line(path, fill=(255, 220, 60), width=3)
        x, y = path[0]
        draw.ellipse((x - 6, y - 6, x + 6, y + 6), outline="white", width=2)
        panels += [np.asarray(image), np.full((image.height, 6, 3), 255, np.uint8)]
    sheet = Image.fromarray(np.concatenate(panels[:-1], axis=1))
    sheet.quantize(64).save(output / "ferry.png", optimize=True)


def _crossing(env: Any, agent: Any, prompt: str | None, seed: int) -> list[tuple[float, float]]:
    """The path of the ferry in an episode, in pixels of its image."""
    observation, _ = env.reset(seed=seed)
    carry, path = None, []
    for _ in range(env.max_steps):
        path.append(observation["state"][:2])
        action, carry = agent.act(carry, observation, prompt, explore=False)
        observation = env.step(action)[0]
    path.append(observation["state"][:2])
    size = len(env.render()) - 1
    return [((x + 1) / 2 * size, (1 - y) / 2 * size) for x, y in path]


def plans(work: Path, output: Path) -> None:
    """What models of narrow and wide data imagine in one scene, after eight steps of acting."""
    from figures import draw_scene, planned_with

    canvas = Canvas(320, "What two models imagine in one scene")
    for index, (run, words) in enumerate(
        (("narrow", "data with the default noise"), ("wide", "data with much noise"))
    ):
        planned_scene = planned_with(str(work / "runs" / run), steps_before=14, seed=5)
        x = 80 + 290 * index
        canvas.text(x + 125, 30, words, size=13, bold=True)
        draw_scene(canvas, x, 46, 250, planned_scene, candidates=True)
    canvas.save(output / "plans.svg")


def pages(work: Path, output: Path) -> None:
    """Screenshots of a report and of a dataset's page, by the system's Chromium."""
    from playwright.sync_api import sync_playwright

    start = output.parent / "start"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        tab = browser.new_page(viewport={"width": 1000, "height": 760})
        tab.goto((work / "own/rail.html").resolve().as_uri())
        tab.wait_for_timeout(1500)
        _shoot(tab, output / "view.png", 0, 760)
        tab.goto((work / "runs/quickstart/phase2/report.html").resolve().as_uri())
        tab.wait_for_timeout(3000)
        tops = {title: _top(tab, title) for title in ("What was trained on what", "Where it looks")}
        _shoot(tab, start / "report.png", 20, tops["What was trained on what"] - 30)
        looks = tops["Where it looks"]
        _shoot(tab, start / "report-looks.png", looks + 215, looks + 690)
        browser.close()


def _top(tab: Any, title: str) -> float:
    """Where a section of a page begins."""
    box = tab.get_by_role("heading", name=title, exact=True).bounding_box()
    return float(box["y"]) + float(tab.evaluate("window.scrollY"))


def _shoot(tab: Any, path: Path, top: float, bottom: float) -> None:
    """A part of a page, in 128 colours."""
    clip = {"x": 0, "y": top, "width": 1000, "height": bottom - top}
    path.parent.mkdir(parents=True, exist_ok=True)
    tab.screenshot(path=path, full_page=True, clip=clip)
    small = Image.open(path).convert("P", palette=Image.Palette.ADAPTIVE, colors=128)
    small.save(path, optimize=True)


IMAGES = {
    "first-agent": first_agent,
    "faucets": faucets,
    "box": box,
    "losses": losses,
    "rail": rail,
    "arm": arm,
    "ferry": ferry,
    "plans": plans,
    "pages": pages,
}


def main(work: str, output: str, *names: str) -> None:
    """Make the named images, or all, into a folder."""
    for name in names or IMAGES:
        IMAGES[name](Path(work), Path(output))


if __name__ == "__main__":
    main(*sys.argv[1:])
