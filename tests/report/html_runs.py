"""A small run with everything that a report shows."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from manyparts.core.serialisation import to_jsonable
from manyparts.evaluation.attention import Attention
from manyparts.evaluation.prompt_results import PROMPTS, PromptStudy
from manyparts.evaluation.record import EpisodeRecord
from manyparts.evaluation.results import Result
from manyparts.evaluation.statistics import Interval
from manyparts.rollout.video import write_video

NASTY = "metaworld/<script>alert('x')</script>&amp;"


TASKS = ("metaworld/reach", "metaworld/door-open", NASTY)


def make_run(folder: Path) -> Path:
    """Two phases, an evaluation of three tasks with videos, and the dataset they were trained
    on."""
    data, first, second = folder / "data", folder / "phase1", folder / "phase2"
    make_dataset(data)
    make_phase(
        first, "phase1", ["forward_dynamics", "inverse_dynamics", "masked_hindsight"], data, None
    )
    make_phase(second, "phase2", ["behaviour_cloning"], data, first)
    generator = np.random.default_rng(0)
    episodes = []
    for task in TASKS:
        for index in range(20):
            success = bool(generator.random() < 0.8)
            instruction = f'please do "{task}" <now>'
            episodes.append(
                EpisodeRecord(
                    task,
                    index,
                    1000 + index,
                    instruction,
                    success,
                    success,
                    12.5 * index,
                    60 + index,
                )
            )
    provenance = {
        "commit": "0123abc+changes",
        "split": "evaluation",
        "episodes": 20,
        "prompts": "instruction",
        "max_steps": None,
        "control_delay": 3,
        "seeds": {"evaluation": 7, "training": 0},
        "environment": {"image_size": 64, "cameras": []},
        "simulators": {"metaworld": {"metaworld": "3.1.1", "mujoco": "3.3.0", "renderer": "egl"}},
        "note": "<b>not bold</b>",
    }
    result = Result(tuple(episodes), provenance)
    (second / "evaluation").mkdir()
    result.save(second / "evaluation")
    for task in TASKS:
        own = [episode for episode in episodes if episode.task == task]
        for success in (True, False):
            for episode in [episode for episode in own if episode.success_any == success][:2]:
                make_video(second / "evaluation" / "videos" / video_name(episode), episode.seed)
                make_attention(second / "evaluation" / "videos" / video_name(episode), episode.seed)
    bounded = Interval(0.5, 0.2, 0.8)
    matrix = {
        task: {scene: Interval(0.9, 0.6, 1.0) if task == scene else bounded for scene in TASKS}
        for task in TASKS
    }
    study = PromptStudy(
        10, "goal_image", {"sentence": bounded, "instruction+goal_image": bounded}, matrix, seed=5
    )
    (second / "prompts").mkdir()
    (second / "prompts" / PROMPTS).write_text(json.dumps(to_jsonable(study)))
    return second


def video_name(episode: EpisodeRecord) -> str:
    verdict = "success" if episode.success_any else "failure"
    return f"{episode.task.replace('/', '_')}/{verdict}-{episode.seed}.mp4"


def make_dataset(folder: Path) -> None:
    (folder / "meta").mkdir(parents=True)
    spec = {
        "cameras": {"corner": [64, 64]},
        "state_names": ["hand_x", "hand_y", "hand_z", "gripper"],
    }
    entry = {"spec": spec, "tasks": [{"name": task, "sentence": "do it"} for task in TASKS]}
    info = {"total_episodes": 150, "total_frames": 12345, "manyparts": entry}
    environment = {
        "image_size": 64,
        "cameras": [],
        "goal": "visible",
        "state": "full",
        "faithful_rendering": False,
    }
    noise = {"fraction": 0.5, "std": 0.4, "correlation": 0.9}
    collection = {
        "tasks": list(TASKS),
        "episodes": 50,
        "seed": 3,
        "environment": environment,
        "noise": noise,
    }
    collection |= {"images": "png", "keep_failures": False, "steps_after_success": 20}
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    (folder / "meta" / "collection.json").write_text(json.dumps(collection))


def make_phase(
    folder: Path, phase: str, losses: list[str], data: Path, start_from: Path | None
) -> None:
    folder.mkdir(parents=True)
    config = {"method": "dualmind", "phase": phase, "steps": 600, "batch_size": 64, "seed": 0}
    config |= {"train_only": ["model.blocks.*"] if start_from else [], "data": str(data)}
    config |= {"objectives": {name: {"weight": 1.0} for name in losses}}
    config |= {"start_from": str(start_from) if start_from else None}
    arguments = [
        "/usr/bin/manyparts",
        "train",
        f"dualmind/{phase}-laptop",
        "--data",
        str(data),
        "--resume",
    ]
    config |= {"provenance": {"arguments": arguments if start_from else ["train.py"]}}
    (folder / "config.json").write_text(json.dumps(config))
    rows = [
        {"step": step}
        | {f"loss/{name}": math.exp(-step / 200 - k) for k, name in enumerate(losses)}
        for step in range(20, 620, 20)
    ]
    rows += [{"step": 600, "gradient_norm": 1.0} | {f"validation/{name}": 0.1 for name in losses}]
    lines = [json.dumps(row) for row in rows]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 62')  # torn by a kill


def make_video(path: Path, seed: int, frames: int = 20) -> None:
    shades = np.linspace(0, 255, 128, dtype=np.uint8)
    images = [
        np.stack([np.roll(np.tile(shades, (128, 1)), 4 * t + seed, 1)] * 3, -1)
        for t in range(frames)
    ]
    write_video(path, images, fps=20)


def make_attention(video: Path, seed: int, steps: int = 3) -> None:
    """Of two cameras; two tokens of two maps each."""
    draw = np.random.default_rng(seed)
    frames = draw.integers(0, 256, (steps, 16, 16, 3), dtype=np.uint8)
    maps = draw.random((steps, 2, 2, 4, 4), np.float32)
    maps /= maps.sum(axis=(-2, -1), keepdims=True)
    cameras = ("corner", "<wrist>")
    attention = Attention(
        np.arange(steps) * 4, dict.fromkeys(cameras, frames), dict.fromkeys(cameras, maps)
    )
    attention.save(video.with_suffix(".npz"))
