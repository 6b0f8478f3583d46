"""The six figures of docs/start/concepts.md: `python scripts/docs/figures.py docs/images/start`.

It takes about a minute. Frames are rendered by the simulators, plans come from a small dynamics
model that is trained here, errors under confounding from `manyparts.studies.library.confounding`.
Needs the extras metaworld and navigation.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from drawing import BLUE, FILLS, GREEN, INK, LINE, MUTED, ORANGE, PURPLE, Canvas


class Frames(NamedTuple):
    """An expert's episode. images: uint8 (t, h, w, 3). state: (t, s). action, expert: (t, a)."""

    images: np.ndarray
    state: np.ndarray
    action: np.ndarray
    expert: np.ndarray


def recorded(task: str, steps: int, size: int = 64, seed: int = 0, camera: str = "") -> Frames:
    """The first steps of the scripted expert with correlated noise, from a process of its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_record, task, steps, size, seed, camera).result()


def _record(task: str, steps: int, size: int, seed: int, camera: str) -> Frames:
    from manyparts import make
    from manyparts.envs.base import EnvConfig

    config = EnvConfig(image_size=size, cameras=(camera,) if camera else ())
    env = make(task, config, split="train")
    generator, noise, rows = np.random.default_rng(seed), 0.0, []
    observation, _ = env.reset(seed=seed)
    for _ in range(steps):
        expert = env.expert_action()
        noise = 0.9 * noise + (1 - 0.9**2) ** 0.5 * 0.3 * generator.normal(size=expert.shape)
        action = env.interface.action.executed(expert + noise)
        image = next(iter(observation["images"].values()))
        rows.append((image, observation["state"], action, expert))
        observation = env.step(action)[0]
    return Frames(*(np.stack(column) for column in zip(*rows, strict=True)))


def data_flow() -> Canvas:
    """What is made of what, and by which command."""
    canvas = Canvas(368, "How data flows from a simulator or files to a report")
    lanes = (
        (16, "Record", "collect · data", BLUE),
        (132, "Learn", "train", PURPLE),
        (248, "Measure", "evaluate · report", GREEN),
    )
    for y, name, commands, colour in lanes:
        canvas.rectangle(14, y, 672, 104, FILLS[colour])
        canvas.text(26, y + 46, name, size=15, bold=True, colour=colour, anchor="start")
        canvas.text(26, y + 66, commands, size=11, colour=MUTED, anchor="start", code=True)
    y = 40
    canvas.box(150, y, 130, 56, ["simulator,", "or your files"], fill="white", colour=BLUE)
    canvas.box(330, y, 110, 56, ["Episode"], fill="white", colour=BLUE, bold=True)
    canvas.box(
        500, y, 160, 56, ["EpisodeDataset", "on disk, LeRobot v3"], fill="white", colour=BLUE
    )
    canvas.arrow((280, y + 28), (328, y + 28))
    canvas.arrow((440, y + 28), (498, y + 28))
    y = 156
    canvas.box(150, y, 110, 56, ["Batch", "of windows"], fill="white", colour=PURPLE)
    canvas.box(300, y, 84, 56, ["model"], fill="white", colour=PURPLE, bold=True)
    canvas.box(424, y, 96, 56, ["objectives"], fill="white", colour=PURPLE, bold=True)
    canvas.box(560, y, 100, 56, ["Loss"], fill="white", colour=PURPLE, bold=True)
    for left, right in ((260, 298), (384, 422), (520, 558)):
        canvas.arrow((left, y + 28), (right, y + 28))
    canvas.arrow((580, 96), (580, 125), (205, 125), (205, 154), colour=BLUE)
    canvas.path([(610, y), (610, y - 14), (360, y - 14)], colour=PURPLE)
    canvas.arrow((360, y - 14), (360, y - 2), colour=PURPLE)
    canvas.text(490, y - 3, "update", size=11, colour=PURPLE)
    y = 272
    canvas.box(180, y, 84, 56, ["Agent"], fill="white", colour=GREEN, bold=True)
    canvas.box(304, y, 90, 56, ["rollout"], fill="white", colour=GREEN, bold=True)
    canvas.box(434, y, 86, 56, ["Result"], fill="white", colour=GREEN, bold=True)
    canvas.box(560, y, 100, 56, ["report", "with videos"], fill="white", colour=GREEN)
    for left, right in ((264, 302), (394, 432), (520, 558)):
        canvas.arrow((left, y + 28), (right, y + 28))
    canvas.arrow((342, 212), (342, 241), (222, 241), (222, 270), colour=PURPLE)
    return canvas


def window() -> Canvas:
    """A real window of an expert's episode: four observations, four actions after each."""
    first, chunk, steps, length = 28, 4, 4, 84
    episode = recorded("metaworld/door-open", length)
    canvas = Canvas(424, "A window: four observations and the chunk of four actions after each")
    left, scale = 40.0, 620 / length
    canvas.text(
        left, 28, f"One episode, {length} steps shown", size=12, colour=MUTED, anchor="start"
    )
    canvas.rectangle(left, 38, 620, 12, "#e4e7eb")
    canvas.rectangle(left + first * scale, 38, steps * chunk * scale, 12, BLUE)
    canvas.text(left + first * scale, 66, "t", size=12, colour=BLUE)
    canvas.text(left + (first + 16) * scale, 66, "t + 16", size=12, colour=BLUE)
    canvas.path([(left + first * scale, 70), (left, 92)], colour=BLUE, dashed=True)
    canvas.path([(left + (first + 16) * scale, 70), (660, 92)], colour=BLUE, dashed=True)
    for index in range(steps):
        frame, x = first + index * chunk, left + index * 157
        canvas.box(x - 4, 96, 156, 218, colour=BLUE, fill="white")
        canvas.image(x + 4, 104, 96, episode.images[frame])
        canvas.text(
            x + 52, 216, "o" + f"(t + {index * chunk})" * bool(index) + "(t)" * (not index), size=12
        )
        state = episode.state[frame]
        for row, value in enumerate(state):
            canvas.text(x + 146, 120 + 22 * row, f"{value:.2f}", size=11, anchor="end", code=True)
        canvas.text(x + 146, 120 + 22 * len(state), "state", size=11, colour=MUTED, anchor="end")
        _chunk(canvas, x + 4, 228, episode.action[frame : frame + chunk])
        canvas.text(x + 74, 306, "chunk: 4 actions", size=11, colour=ORANGE)
    canvas.path([(36, 326), (36, 334), (660, 334), (660, 326)], colour=INK)
    canvas.lines(
        350,
        352,
        ["context: what the model may look at, here 4 model steps of 4 environment steps"],
        size=13,
    )
    canvas.rectangle(40, 372, 620, 1, LINE)
    notes = [
        "Every frame starts one window. Past an episode's end, "
        "steps are masked and count for nothing.",
        "Imitation learns what the expert wanted; "
        "dynamics learn what was executed, noise included.",
    ]
    canvas.lines(350, 396, notes, size=12, colour=MUTED)
    return canvas


def _chunk(canvas: Canvas, x: float, y: float, actions: np.ndarray) -> None:
    """Actions (k, a) in [-1, 1] as columns of bars around zero."""
    for column, action in enumerate(actions):
        x0, middle = x + column * 36, y + 32
        canvas.rectangle(x0, y, 31, 64, FILLS[ORANGE])
        canvas.rectangle(x0, middle - 0.5, 31, 1, LINE)
        for row, value in enumerate(action):
            height = 28 * abs(float(value))
            canvas.rectangle(
                x0 + 2 + 7 * row, middle - height * (value > 0), 6, max(height, 1), ORANGE
            )


def two_phases() -> Canvas:
    """What DualMind's phases predict, and what they see."""
    canvas = Canvas(
        428, "DualMind: phase I learns dynamics without labels, phase II learns to follow prompts"
    )
    door = recorded("metaworld/door-open", 41)
    canvas.text(178, 30, "Phase I: how the world moves", size=15, bold=True, colour=PURPLE)
    canvas.text(178, 50, "no instruction, no label", size=12, colour=MUTED)
    canvas.text(526, 30, "Phase II: what you ask for", size=15, bold=True, colour=GREEN)
    canvas.text(526, 50, "instruction, goal image or demonstration", size=12, colour=MUTED)
    canvas.path([(350, 18), (350, 402)], colour=LINE, dashed=True)
    targets = (
        (24, ("the next", "observation", "(forward", "dynamics)")),
        (128, ("the action", "between two", "(inverse", "dynamics)")),
        (232, ("hidden", "actions", "(masked", "hindsight)")),
    )
    for x, lines in targets:
        canvas.box(x, 66, 98, 78, lines, colour=PURPLE, size=12)
        canvas.arrow((x + 49, 176), (x + 49, 146), colour=PURPLE)
    canvas.box(24, 178, 306, 40, ["control transformer"], colour=PURPLE, bold=True)
    canvas.box(24, 248, 306, 32, ["vision encoder, action embedding"], colour=PURPLE, size=12)
    _stream(canvas, 24, 312, door.images[[0, 20, 40]])
    canvas.text(178, 410, "Targets: what the recording shows next", size=12, colour=MUTED)
    canvas.box(
        506,
        66,
        148,
        78,
        ["the expert's next", "chunk of actions", "(behaviour cloning)"],
        colour=GREEN,
        size=12,
    )
    canvas.arrow((580, 176), (580, 146), colour=GREEN)
    canvas.box(484, 178, 192, 40, ["control transformer"], colour=PURPLE, bold=True)
    canvas.box(362, 248, 104, 32, ["prompt encoder"], colour=GREEN, size=11)
    canvas.arrow((414, 248), (414, 198), (482, 198), colour=GREEN)
    canvas.text(422, 190, "cross-", size=11, colour=GREEN, anchor="start")
    canvas.text(422, 212, "attention", size=11, colour=GREEN, anchor="start")
    canvas.box(368, 316, 92, 50, ["“open", "the door”"], colour=GREEN, fill="white", size=12)
    canvas.arrow((414, 316), (414, 282), colour=GREEN)
    canvas.box(500, 248, 160, 32, ["vision encoder, frozen"], size=12, dashed=True)
    canvas.arrow((580, 248), (580, 220), colour=BLUE)
    canvas.image(551, 312, 58, door.images[40], frame=BLUE)
    canvas.arrow((580, 312), (580, 282), colour=BLUE)
    canvas.text(580, 386, "o(t)", size=12)
    canvas.text(526, 410, "Starts from the weights of phase I", size=12, colour=MUTED)
    return canvas


def _stream(canvas: Canvas, x: float, y: float, images: np.ndarray) -> None:
    """Observations and actions of three steps in turn."""
    for index, image in enumerate(images):
        left = x + index * 104
        canvas.image(left, y, 58, image, frame=BLUE)
        canvas.box(left + 64, y + 12, 34, 34, [f"a{'₁₂₃'[index]}"], colour=ORANGE)
        canvas.text(left + 29, y + 74, f"o{'₁₂₃'[index]}", size=12)
        for middle, top, colour in ((left + 29, y, BLUE), (left + 81, y + 12, ORANGE)):
            canvas.arrow((middle, top), (middle, 282), colour=colour)
            canvas.arrow((middle, 248), (middle, 220), colour=colour)


class Planned(NamedTuple):
    """One decision of MPPI. Positions are in metres."""

    scene: np.ndarray
    """The image without the disc."""
    past: np.ndarray
    """Of shape (p, 2)."""
    imagined: np.ndarray
    """Of each candidate, of shape (n, t, 2)."""
    returns: np.ndarray
    """Of each candidate, of shape (n,)."""
    plan: np.ndarray
    """What the model predicts for the weighted mean, of shape (t, 2)."""
    action: np.ndarray
    """The first action of the weighted mean, of shape (2,)."""


def planned() -> Planned:
    """Train a perceptron on 100 noisy episodes of the point mass and plan in an unseen scene."""
    from manyparts import EpisodeDataset, collect, preset, train
    from manyparts.agents.expert import Noise
    from manyparts.envs.base import EnvConfig

    with tempfile.TemporaryDirectory() as folder:
        collect(
            ["pointmass/reach"],
            output=f"{folder}/data",
            episodes=100,
            config=EnvConfig(state="full"),
            noise=Noise(fraction=0.9, std=1.0),
            keep_failures=True,
        )
        recipe = replace(preset("dynamics/mlp-laptop"), steps=4000)
        train(recipe, data=EpisodeDataset.open(f"{folder}/data"), output=f"{folder}/run")
        return planned_with(f"{folder}/run")


def planned_with(run: str, steps_before: int = 10, seed: int = 1) -> Planned:
    """What the model of a run imagines in a scene of the point mass, after some steps of acting."""
    import torch

    from manyparts import load, make
    from manyparts.envs.base import EnvConfig
    from manyparts.models.dynamics.world_model import step_by_step
    from manyparts.planners import MppiConfig
    from manyparts.planners.plans import candidates, predicted_reward, returns

    planner = MppiConfig(horizon=16, std=0.8, correlation=0.8, temperature=0.1)
    agent = load(run, planner=planner)
    env = make("pointmass/reach", EnvConfig(state="full"), split="evaluation")
    observation, _ = env.reset(seed=seed)
    carry, past = None, []
    for _ in range(steps_before):
        past.append(observation["state"][:2])
        action, carry = agent.act(carry, observation, explore=False)
        observation = env.step(action)[0]
    past.append(observation["state"][:2])
    action, carry = agent.act(carry, observation, explore=False)
    start = torch.zeros_like(carry.plan)
    plans = candidates(start, start, planner, torch.Generator().manual_seed(0))
    worth = returns(carry.context, plans, planner, predicted_reward)
    both = torch.cat([plans, carry.plan[None]])
    seen = step_by_step(carry.context.imagine(len(both)), both).observation
    scales = agent._normaliser
    positions = (seen.numpy() * scales.std + scales.mean)[..., :2]
    scene = next(iter(env.depict([np.array([9.0, 9, 0, 0, 0, 0])])))
    past = np.array(past)
    return Planned(scene, past, positions[:-1], worth.numpy(), positions[-1], action)


def planning() -> Canvas:
    """One decision of a planner, drawn into the scene where it was made."""
    planned_scene = planned()
    canvas = Canvas(318, "Planning: encode the context, imagine candidates, act, and plan again")
    side, top = 200.0, 58.0
    panels = (
        ("1  Encode the context", "what was really seen and done"),
        ("2  Imagine candidates", "coloured by predicted return"),
        ("3  Do the first action", "of their weighted mean"),
    )
    for panel, (title, words) in enumerate(panels):
        x = 24 + panel * 226
        canvas.text(x + side / 2, 30, title, size=14, bold=True)
        canvas.text(x + side / 2, 48, words, size=12, colour=MUTED)
        draw_scene(canvas, x, top, side, planned_scene, candidates=panel == 1, plan=panel == 2)
        if panel < 2:
            canvas.arrow((x + side + 3, top + 100), (x + side + 23, top + 100))
    canvas.arrow((576, 262), (576, 284), (124, 284), (124, 262), colour=PURPLE)
    words = "one step later: plan again, around the plan moved on by a step"
    canvas.text(350, 302, words, size=12, colour=PURPLE)
    return canvas


def draw_scene(
    canvas: Canvas,
    x: float,
    top: float,
    side: float,
    planned_scene: Planned,
    *,
    candidates: bool = False,
    plan: bool = False,
) -> None:
    """The scene from above with the disc's past and, if asked for, imagined futures or the plan."""

    def placed(points: np.ndarray) -> list[tuple[float, float]]:
        inside = np.clip(points, -1, 1)
        return [(x + side * (1 + px) / 2, top + side * (1 - py) / 2) for px, py in inside]

    canvas.image(x, top, side, planned_scene.scene)
    now, past = planned_scene.past[-1:], placed(planned_scene.past)
    if candidates:
        low, high = planned_scene.returns.min(), planned_scene.returns.max()
        for index in np.argsort(planned_scene.returns):
            line = placed(np.concatenate([now, planned_scene.imagined[index]]))
            heat = _heat((planned_scene.returns[index] - low) / (high - low))
            canvas.path(line, colour=heat, width=1.2)
    if plan:
        canvas.path(placed(np.concatenate([now, planned_scene.plan])), colour=GREEN, width=2)
        tip = placed(now + 0.3 * planned_scene.action / np.linalg.norm(planned_scene.action))[0]
        canvas.path([past[-1], tip], colour=ORANGE, width=2.5, arrow=True)
    for dot in past[:-1]:
        canvas.disc(*dot, 3, INK, 0.45)
    canvas.disc(*past[-1], 7, INK)


def _heat(part: float) -> str:
    """From pale blue-grey (0) to strong green (1)."""
    pale, strong = np.array([178, 190, 205]), np.array([22, 122, 60])
    red, green, blue = np.rint(pale + (strong - pale) * float(part) ** 2).astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"


def embodiments() -> Canvas:
    """What two embodiments share in one model, and what each has of its own."""
    canvas = Canvas(372, "One model for two embodiments: what is shared and what is not")
    arm = recorded("metaworld/door-open", 30).images[-1]
    room = recorded("navigation/one-room", 12, seed=1).images[-1]
    rows = (
        (
            52,
            arm,
            "sawyer",
            ("1 camera, 4 state numbers",),
            ("4 numbers:", "x, y, z,", "gripper"),
            BLUE,
        ),
        (206, room, "miniworld", ("2 cameras, 1 state number",), ("1 of 4", "choices"), ORANGE),
    )
    for x, words in (
        (106, "sees"),
        (264, "its own"),
        (414, "shared"),
        (540, "its own"),
        (636, "does"),
    ):
        canvas.text(x, 30, words, size=13, bold=True, colour=MUTED)
    canvas.box(348, 46, 132, 272, colour=PURPLE)
    shared = ["image encoders,", "state encoder,", "transformer,", "prompt encoder"]
    canvas.lines(414, 182, shared, size=12)
    for y, image, name, seen, done, colour in rows:
        canvas.image(60, y, 84, image, frame=colour)
        canvas.text(102, y + 101, name, size=13, bold=True)
        canvas.lines(102, y + 114, seen, size=11, colour=MUTED)
        own = ["scales of states", "and actions,", "embeddings of", "its tokens"]
        canvas.box(204, y, 118, 84, own, colour=colour, size=11)
        canvas.box(506, y + 16, 68, 52, ["heads"], colour=colour, bold=True)
        for left, right in ((144, 202), (322, 346), (480, 504), (574, 596)):
            canvas.arrow((left, y + 42), (right, y + 42), colour=colour)
        canvas.lines(638, y + 42, done, size=12)
    note = "What an embodiment lacks is masked: no token sees it and no loss counts it."
    canvas.text(350, 350, note, size=12, colour=MUTED)
    return canvas


def confounding() -> Canvas:
    """Two worlds with a hidden context, and the error of a policy on frozen encoders in each."""
    from manyparts.studies.library.confounding import DEMONSTRATIONS, errors

    canvas = Canvas(548, "When a hidden context confounds cloning, and when it does not")
    colours = {
        "inverse dynamics": BLUE,
        "cloning": ORANGE,
        "random": MUTED,
        "position itself": GREEN,
    }
    worlds = (
        (
            "drift",
            20,
            "Each trajectory has a hidden direction",
            "At one position, actions point everywhere.",
        ),
        (
            "goals",
            360,
            "Each trajectory has a hidden goal",
            "At one position, actions lean to the middle.",
        ),
    )
    for world, x, title, words in worlds:
        canvas.text(x + 160, 30, title, size=14, bold=True)
        canvas.text(x + 160, 50, words, size=12, colour=MUTED)
        _world(canvas, x + 40, 62, 240, 176, world)
        by_method = errors(world, DEMONSTRATIONS[1:])
        means = {name: error.mean(axis=0) for name, error in by_method.items()}
        _errors(canvas, x + 40, 292, 260, 170, means, colours)
        verdict = (
            "Cloning is no better than random."
            if world == "drift"
            else "Cloning learns the position as well."
        )
        canvas.text(x + 160, 262, verdict, size=13, bold=True, colour=ORANGE)
    for name, x in zip(colours, (60, 226, 340, 500), strict=True):
        dashed = name == "position itself"
        canvas.path([(x, 526), (x + 26, 526)], colour=colours[name], width=3, dashed=dashed)
        words = {"random": "random encoder"}.get(name, name)
        canvas.text(x + 33, 530, words, size=12, anchor="start")
    return canvas


def _world(canvas: Canvas, x: float, y: float, width: float, height: float, world: str) -> None:
    """Actions (arrows) that trajectories take at a few positions; stars are hidden goals."""
    generator = np.random.default_rng(4)
    canvas.box(x, y, width, height, fill="white")
    middle = np.array([x + width / 2, y + height / 2])
    for px, py in ((0.2, 0.26), (0.5, 0.7), (0.82, 0.34)):
        here = np.array([x + px * width, y + py * height])
        for turn in range(7):
            angle = 2 * np.pi * (turn + generator.uniform(-0.2, 0.2)) / 7
            step = 30 * np.array([np.cos(angle), np.sin(angle)])
            if world == "goals":
                goal = middle + 1.0 * step * generator.uniform(0.4, 1.1)
                step = (goal - here) * 0.42
            colour = (BLUE, PURPLE, GREEN)[turn % 3]
            canvas.path(
                [tuple(here), tuple(here + step)],
                colour=colour,
                width=1.5,
                arrow=True,
                opacity=0.85,
            )
        canvas.disc(*here, 5, INK)


def _errors(
    canvas: Canvas,
    x: float,
    y: float,
    width: float,
    height: float,
    means: dict[str, np.ndarray],
    colours: dict[str, str],
) -> None:
    """Error against demonstrated frames, log axis; 0 is the expert, 1 is predicting nothing."""
    from manyparts.studies.library.confounding import DEMONSTRATIONS

    top, counts = 1.6, DEMONSTRATIONS[1:]
    canvas.rectangle(x, y, width, height, "white", LINE)
    for value, label in ((0, "0"), (1, "1")):
        level = y + height * (1 - (value + 0.1) / (top + 0.1))
        canvas.path([(x, level), (x + width, level)], colour="#d5dae0", width=1)
        canvas.text(x - 6, level + 4, label, size=11, colour=MUTED, anchor="end")
    columns = [x + 14 + (width - 28) * index / (len(counts) - 1) for index in range(len(counts))]
    for column, count in zip(columns, counts, strict=True):
        canvas.text(column, y + height + 16, str(count), size=11, colour=MUTED)
    canvas.text(x + width / 2, y + height + 33, "demonstrated frames", size=11, colour=MUTED)
    canvas.text(
        x + width - 6, y + 16, "error of the tuned policy", size=11, colour=MUTED, anchor="end"
    )
    canvas.text(
        x + width - 6,
        y + height * 0.353 + 14,
        "predict nothing",
        size=11,
        colour=MUTED,
        anchor="end",
    )
    for name, mean in means.items():
        levels = y + height * (1 - (np.minimum(mean, top) + 0.1) / (top + 0.1))
        line = list(zip(columns, levels.tolist(), strict=True))
        thick = 5 if name == "inverse dynamics" else 2.5
        canvas.path(line, colour=colours[name], width=thick, dashed=name == "position itself")


FIGURES = {
    "data-flow": data_flow,
    "window": window,
    "two-phases": two_phases,
    "planning": planning,
    "embodiments": embodiments,
    "confounding": confounding,
}


def main(folder: str, *names: str) -> None:
    """Draw the named figures, or all, into a folder."""
    for name in names or FIGURES:
        FIGURES[name]().save(Path(folder) / f"{name}.svg")


if __name__ == "__main__":
    main(*sys.argv[1:])
