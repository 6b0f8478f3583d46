"""What a page shows: the task and its robot, the state of the episode, and pictures."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from manyparts.envs.offers import Pushable
from manyparts.envs.registry import has_own_instructions, instructions, steps_after_success
from manyparts.playing import prompting
from manyparts.playing.cast import Cast
from manyparts.playing.paths import imagined_paths, plans
from manyparts.playing.session import Session
from manyparts.playing.trace import is_own

_QUALITY = 85  # of JPEG, for people
_MAX_EPISODES = 2000  # of a dataset, that a page lists
_MAX_NUMBERS = 64  # of a state, that a page shows


def of_cast(cast: Cast) -> dict[str, Any]:
    """Return what a page shows of what there is to play with, as JSON values.

    Args:
        cast: What there is.
    """
    dataset = cast.demonstrations
    episodes = []
    if dataset is not None:
        for index in range(min(len(dataset), _MAX_EPISODES)):
            task = dataset.tasks[dataset.episode_task[index]]
            episodes.append(
                {"index": index, "task": task.name, "said": task.instruction}
                | {"steps": dataset.length(index)}
            )
    return {
        "name": cast.name,
        "tasks": list(cast.tasks),
        "split": cast.split,
        "has_agent": cast.agent_of is not None,
        "prompts": list(cast.prompts),
        "instructions": list(cast.instructions),
        "demonstrations": episodes,
        "output": None if cast.recorder is None else str(cast.recorder.path),
        "command": cast.command,
    }


def of_task(session: Session) -> dict[str, Any]:
    """Return what a page shows of the task, as JSON values.

    Args:
        session: The page's.
    """
    env = session.env
    contract, own = env.embodiment_spec.action, instructions(env.task)
    wordings = []
    if not has_own_instructions(env.task):
        wordings = [own.instruction, *own.paraphrases, *own.held_out]
    return {
        "task": env.task,
        "embodiment": env.embodiment_spec.embodiment,
        "cameras": {name: list(size) for name, size in env.embodiment_spec.cameras.items()},
        "state_names": list(env.embodiment_spec.state_names[:_MAX_NUMBERS]),
        "actions": list(contract.names),
        "choices": list(contract.choices),
        "low": list(contract.low),
        "high": list(contract.high),
        "representation": contract.representation,
        "frame": contract.frame,
        "gripper": contract.gripper,
        "rate": contract.control_rate_hz,
        "max_steps": env.max_steps,
        "wordings": wordings,
        "has_expert": prompting.has_expert(env.task),
        "can_push": isinstance(env, Pushable),
        "knows_success": env.knows_success,
        "reproduces": env.reproduces,
        "steps_after_success": steps_after_success([env.task]),
        "style": session.hand.style,
        "plans": plans(session.agent),
    }


def of_episode(session: Session, *, paths: bool) -> dict[str, Any]:
    """Return the state of the episode, as JSON values.

    Args:
        session: The page's.
        paths: Whether to show where plans lead.
    """
    recorder, action = session.cast.recorder, session.action
    return {
        "seed": session.seed,
        "step": session.steps,
        "ended": session.ended,
        "waiting": session.waiting,
        "control": session.control,
        "actor": session.actor,
        "said": session.said,
        "prompt": session.prompt_words,
        "is_own": is_own(session.env, session.followed),
        "has_goal": session.asked.goal is not None,
        "demonstration": session.asked.demonstration_name,
        "success": session.success,
        "solved_at": session.solved_at,
        "reward": session.reward,
        "return": session.return_,
        "helped": session.helped,
        "action": None if action is None else [round(float(each), 4) for each in action],
        "kept": len(session.trace.moments),
        "saved": session.saved,
        "unsaved_work": session.has_unsaved_work,
        "episodes": 0 if recorder is None else recorder.episodes,
        "shows_expert": session.shows_expert,
        "paths": _paths(session) if paths else None,
        "state": None if session.state is None else session.state[:_MAX_NUMBERS].tolist(),
    }


def counts(session: Session) -> dict[str, Any]:
    """Return how often episodes succeeded, as JSON values.

    Args:
        session: The page's.
    """
    return {"rows": session.cast.counts.rows(), "left_out": session.cast.counts.left_out}


def frame(header: Mapping[str, Any], pictures: Sequence[tuple[str, np.ndarray]]) -> bytes:
    """Return a frame's message: the length of a header, the header in JSON, and JPEG files.

    Args:
        header: JSON values; the names and lengths of the pictures are added.
        pictures: Names and images, uint8 (h, w, 3).
    """
    files = [(name, _jpeg(image)) for name, image in pictures]
    whole = dict(header) | {"pictures": [[name, len(content)] for name, content in files]}
    head = json.dumps(whole).encode()
    return struct.pack(">I", len(head)) + head + b"".join(content for _, content in files)


def pictures(session: Session, *, views: bool) -> list[tuple[str, np.ndarray]]:
    """Return the pictures of a moment: for people, of the expert beside, and what cameras see.

    Args:
        session: The page's.
        views: Whether to show what cameras see.
    """
    shown = [("scene", session.env.render())]
    if session.beside is not None:
        shown.append(("expert", session.beside.env.render()))
    if views:
        shown += [(f"camera {name}", image) for name, image in session.scene().items()]
    if session.asked.goal is not None:
        shown += [(f"goal {name}", image) for name, image in session.asked.goal.items()]
    return shown


def _paths(session: Session) -> dict[str, Any] | None:
    """Where the plans of the agent's last decision lead, if it was the last to act."""
    if session.agent is None or session.actor != "agent" or session.carry is None:
        return None
    return imagined_paths(session.env, session.agent, session.carry_before, session.carry)


def _jpeg(image: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=_QUALITY)
    return content.getvalue()
