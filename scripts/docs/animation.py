"""Draw the animation of the README: the shipped agent at work on goals that it never saw.

    python scripts/docs/animation.py [--output docs/images/shipped-agent.webp] [--seed 0]

About two minutes on one core, most of it for drawing with shadows.

How the tasks were chosen: eight of those that the agent solves in 20 of 20 episodes, by its page
src/manyparts/weights/metaworld45-small/README.md. Two tasks with 18 of 20, basketball and
stick-pull, were tried first. The agent failed in the first episode of both.
How the episodes were chosen: each is the first one of its task that
`manyparts evaluate manyparts/metaworld45-small --seed 0` runs.

The agent acts on its own 64 px images. A second simulator repeats its actions and draws what you
see.
"""

from __future__ import annotations

import argparse
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from manyparts import EnvConfig, evaluate, load, make
from manyparts.evaluation.results import EpisodeRecord

AGENT, CAMERA = "manyparts/metaworld45-small", "workspace_side"
TASKS = (
    "metaworld/drawer-open",
    "metaworld/door-open",
    "metaworld/hammer",
    "metaworld/assembly",
    "metaworld/pick-place-wall",
    "metaworld/faucet-open",
    "metaworld/coffee-push",
    "metaworld/plate-slide",
)
COLUMNS = 4
TILE, CAPTION, GAP = 200, 40, 4  # pixels
STRIDE = 4  # steps per frame: 20 frames per simulated second
SLOWER = 2
STEPS_AFTER_SUCCESS = 20
MAX_STEPS = 300
HELD_FRAMES = 15  # how long the last frame stays
DARK, GREEN, WHITE = (36, 41, 47), (26, 127, 55), (255, 255, 255)


@dataclass
class Film:
    """One episode. solved: for each frame, whether the simulator has reported success by then."""

    caption: str
    frames: list[np.ndarray]
    solved: list[bool]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("docs/images/shipped-agent.webp"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--max-steps", type=int, default=MAX_STEPS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = evaluate(
            AGENT,
            tasks=options.tasks,
            episodes=1,
            seed=options.seed,
            max_steps=options.max_steps,
            until_success=True,
            output=Path(folder) / "evaluation",
        )
    films = [film(record, options.max_steps) for record in result.episodes]
    write(films, options.output)
    print(f"{options.output}: {options.output.stat().st_size / 1e6:.2f} MB, {result}")


def film(record: EpisodeRecord, max_steps: int) -> Film:
    """Repeat one evaluated episode, and draw it with a second simulator, shadows and all."""
    agent = load(AGENT)
    env = make(record.task, agent.environment, split="evaluation")
    config = EnvConfig(image_size=TILE, cameras=(CAMERA,), faithful_rendering=True)
    viewer = make(record.task, config, split="evaluation")
    observation, _ = env.reset(seed=record.seed)
    seen, _ = viewer.reset(seed=record.seed)
    filmed = Film(record.prompt, [seen["images"][CAMERA]], [False])
    carry, solved_at = None, None
    for step in range(1, max_steps + 1):
        action, carry = agent.act(carry, observation, record.prompt, explore=False)
        observation, _, _, _, info = env.step(action)
        seen, *_ = viewer.step(action)
        if info["success"] and solved_at is None:
            solved_at = step
        if step % STRIDE == 0:
            filmed.frames.append(seen["images"][CAMERA])
            filmed.solved.append(solved_at is not None)
        if solved_at is not None and step >= solved_at + STEPS_AFTER_SUCCESS:
            break
    assert (solved_at or max_steps) == record.length, f"{record.task} differs when it is filmed"
    print(f"{record.task}: {f'solved after {solved_at} steps' if solved_at else 'not solved'}")
    return filmed


def write(films: list[Film], output: Path) -> None:
    """Lay the films out as a grid and write an animated WebP that plays for ever."""
    length = max(len(each.frames) for each in films)
    frames = [Image.fromarray(grid(films, index)) for index in range(length)]
    durations = [round(1000 * SLOWER * STRIDE / 80)] * length
    durations[-1] *= HELD_FRAMES
    output.parent.mkdir(parents=True, exist_ok=True)
    frames[0].save(
        output,
        save_all=True,
        append_images=frames[1:],
        duration=durations,
        loop=0,
        quality=70,
        method=6,
    )


def grid(films: list[Film], index: int) -> np.ndarray:
    rows = -(-len(films) // COLUMNS)
    height, width = rows * (TILE + CAPTION + GAP) - GAP, COLUMNS * (TILE + GAP) - GAP
    canvas = Image.new("RGB", (width, height), WHITE)
    for number, each in enumerate(films):
        row, column = divmod(number, COLUMNS)
        canvas.paste(
            tile(each, min(index, len(each.frames) - 1)),
            (column * (TILE + GAP), row * (TILE + CAPTION + GAP)),
        )
    return np.asarray(canvas)


def tile(each: Film, index: int) -> Image.Image:
    """A frame over its instruction, on green once it is solved."""
    drawn = Image.new("RGB", (TILE, TILE + CAPTION), GREEN if each.solved[index] else DARK)
    drawn.paste(Image.fromarray(each.frames[index]), (0, 0))
    caption = textwrap.fill(each.caption, width=34)
    font = ImageFont.load_default(12)
    centre = TILE / 2, TILE + CAPTION / 2
    ImageDraw.Draw(drawn).text(centre, caption, WHITE, font, anchor="mm", align="center")
    return drawn


if __name__ == "__main__":
    main()
