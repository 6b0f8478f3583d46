"""An exported policy as an agent: onnxruntime and numpy do the work, without torch."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from manyparts.agents.base import Described, Situation, refuse_prompt
from manyparts.agents.checks import image_of, pixels_of, require_actions, require_carry, state_of
from manyparts.agents.exported_files import (
    CARRIED,
    CARRY_IN,
    CARRY_OUT,
    CHUNK,
    CONTRACT,
    POLICY,
    PROMPT,
    Computation,
    computation_of,
    read_contract,
    require_bounded,
    understood,
)
from manyparts.core.errors import UserError
from manyparts.core.printing import shown_short
from manyparts.core.records import Observation, Prompt
from manyparts.data.instructions import words
from manyparts.data.sampling.config import WindowConfig
from manyparts.embodiment.embodiment import Embodiment
from manyparts.embodiment.prompt_layout import DEMONSTRATION

if TYPE_CHECKING:
    from manyparts.agents.origin import Origin
    from manyparts.agents.viewed import ViewedAgent


def load_exported(path: str | Path, *, threads: int = 1) -> ExportedAgent | ViewedAgent:
    """Load an exported policy.

    Args:
        path: The folder that `manyparts export` wrote.
        threads: Of each computation.

    Returns:
        The agent. If it was trained through a view, it takes what its robot's cameras have.

    Raises:
        UserError: A file is missing or torn, or onnxruntime is not installed.
    """
    agent = ExportedAgent(path, threads=threads)
    if not agent.embodiment.sources:
        return agent
    from manyparts.agents.viewed import ViewedAgent

    return ViewedAgent(agent, agent.embodiment)


@shown_short
@dataclass(frozen=True)
class Carry:
    """The memory of an `ExportedAgent`."""

    prompt: Prompt | None
    """The prompt of the episode; another one starts the memory again."""

    prompt_inputs: Mapping[str, np.ndarray] = field(default_factory=dict)
    """What the policy reads of the prompt, one row each."""

    memory: Mapping[str, np.ndarray] = field(default_factory=dict)
    """What the policy reads of the steps before, one row each."""

    planned: tuple[np.ndarray, ...] = ()
    """Actions of the current chunk that are still to come, (a,) each."""


class ExportedAgent(Described):
    """Acts with the graphs of an exported policy; see `load_exported`.

    Args:
        path: The folder.
        threads: Of each computation.
        computations: By the names of their files; None: onnxruntime runs those of the folder.

    Raises:
        UserError: See `load_exported`.
    """

    origin: Origin | None = None

    def __init__(
        self,
        path: str | Path,
        *,
        threads: int = 1,
        computations: Mapping[str, Computation] | None = None,
    ) -> None:
        self.path = Path(path)
        self.contract = read_contract(self.path / CONTRACT)
        with understood(self.path / CONTRACT):
            self._read(self.contract)
        self.spec, self.environment = self.embodiment.spec, self.embodiment.environment
        self._codec, self._layout = self.embodiment.codec, self.window.prompt_layout
        if computations is None:
            names = (POLICY, PROMPT) if self.prompted else (POLICY,)
            computations = {name: computation_of(self.path / name, threads) for name in names}
        self._policy, self._prompt = computations[POLICY], computations.get(PROMPT)
        with understood(self.path / CONTRACT):
            self._rehearse()

    def _read(self, contract: Mapping[str, Any]) -> None:
        """Take what acting needs from a contract, which a stranger may have written."""
        self.embodiment = Embodiment.from_dict(contract["embodiment"])
        self.prompted = bool(contract["prompted"])
        self.window = WindowConfig(
            chunk=int(contract["chunk"]),
            goal_image=bool(contract["goal_image"]),
            demonstration_frames=int(contract["demonstration_frames"]),
        )
        tokeniser = contract["tokeniser"] if self.prompted else {}
        self._vocabulary = int(tokeniser.get("vocabulary_size", 1))
        self._max_words = int(tokeniser.get("max_words", 1))
        if min(self._vocabulary, self._max_words) < 1:
            raise ValueError("its tokeniser knows no words")
        self._memory: dict[str, np.ndarray] = {}
        for name, item in contract["carry"].items():
            if item["dtype"] not in CARRIED:
                raise ValueError(f"{name} is of type {str(item['dtype'])[:20]!r}")
            require_bounded(name, item["shape"])
            self._memory[name] = np.zeros((1, *item["shape"]), item["dtype"])
        for name, size in self.embodiment.spec.cameras.items():
            require_bounded(name, (*size, 3 * (1 + self.window.demonstration_frames)))

    def _rehearse(self) -> None:
        """Decide once, on zeros, so that graphs and a contract that differ are found at loading."""
        spec, asked = self.spec, Prompt("") if self.prompted else None
        observation: Observation = {
            "images": {name: np.zeros((*size, 3), np.uint8) for name, size in spec.cameras.items()},
            "state": np.asarray(self._codec.normaliser.mean, np.float32),
        }
        ready = self._ready(None, asked)
        (planned,) = self._plan([ready], [observation])
        if len(planned.planned) != self.window.chunk:
            given = len(planned.planned)
            raise ValueError(f"its chunk is {self.window.chunk}, and that of {POLICY} is {given}")
        for name, before in ready.memory.items():
            after = planned.memory[name]
            if (after.shape, after.dtype) != (before.shape, before.dtype):
                raise ValueError(
                    f"{name} is {before.dtype} {before.shape}, and comes back "
                    f"as {after.dtype} {after.shape}"
                )

    def needs_observation(self, carry: Carry | None) -> bool:
        """Return whether the last chunk is used up."""
        return carry is None or not carry.planned

    def act(
        self,
        carry: Carry | None,
        observation: Observation | None,
        prompt: Prompt | str | None = None,
        *,
        explore: bool,
    ) -> tuple[np.ndarray, Carry]:
        """See `agents.base.Agent`.

        Raises:
            UserError: The observation or the prompt does not fit, or asked to explore.
        """
        if explore:
            raise UserError("an exported policy takes its most likely actions; it cannot explore")
        (result,) = self.act_together([Situation(carry, observation, Prompt.of(prompt))])
        return result

    def act_together(self, situations: Sequence[Situation]) -> list[tuple[np.ndarray, Carry]]:
        """See `agents.base.ActingTogether`.

        Raises:
            UserError: See `act`.
        """
        carries = [self._ready(each.carry, Prompt.of(each.prompt)) for each in situations]
        rows = [row for row, carry in enumerate(carries) if not carry.planned]
        if rows:
            observations = [situations[row].observation for row in rows]
            planned = self._plan([carries[row] for row in rows], observations)
            for row, carry in zip(rows, planned, strict=True):
                carries[row] = carry
        return [
            # `replace` takes four times as long.
            (each.planned[0], Carry(each.prompt, each.prompt_inputs, each.memory, each.planned[1:]))
            for each in carries
        ]

    def replanned(self, carry: Carry) -> Carry:
        """See `agents.base.Replanning`; as in `PolicyAgent`, the last action stands in for those
        that were not carried out."""
        memory, missing = dict(carry.memory), len(carry.planned)
        if CARRY_IN + CHUNK in memory and missing:
            chunk = memory[CARRY_IN + CHUNK].copy()
            done = chunk.shape[1] - missing
            chunk[:, done:] = chunk[:, max(done - 1, 0)][:, None]
            memory[CARRY_IN + CHUNK] = chunk
        return replace(carry, memory=memory, planned=())

    def _ready(self, carry: Carry | None, prompt: Prompt | None) -> Carry:
        require_carry(carry, Carry)
        if carry is not None and carry.prompt == prompt:
            return carry
        if not self.prompted:
            refuse_prompt(prompt)
            return Carry(None, memory=self._memory)
        if prompt is None:
            raise UserError('this agent needs a prompt, such as "open the drawer"')
        return Carry(prompt, self._prompt_inputs(prompt), self._memory)

    def _plan(
        self, carries: Sequence[Carry], observations: Sequence[Observation | None]
    ) -> list[Carry]:
        """Each memory after one more observation, with its next chunk of actions planned."""
        spec = self.spec
        inputs = {
            f"image_{name}": _stacked([image_of(each, name, size) for each in observations])
            for name, size in spec.cameras.items()
        }
        if spec.state_dimension:
            inputs["state"] = _stacked([self._state(each) for each in observations])
        inputs |= _rows([carry.prompt_inputs for carry in carries])
        inputs |= _rows([carry.memory for carry in carries])
        outputs = self._policy(inputs)
        actions = require_actions(outputs["actions"], spec)
        return [
            Carry(
                carry.prompt,
                carry.prompt_inputs,
                {
                    name: outputs[CARRY_OUT + name.removeprefix(CARRY_IN)][row : row + 1]
                    for name in carry.memory
                },
                tuple(spec.action.executed(actions[row])),
            )
            for row, carry in enumerate(carries)
        ]

    def _state(self, observation: Observation | None) -> np.ndarray:
        """The state in the simulator's units; the graph normalises it."""
        state_of(observation, self._codec)  # refuses what is no state of this robot
        assert observation is not None
        return np.asarray(observation["state"], np.float32)

    def _prompt_inputs(self, prompt: Prompt) -> dict[str, np.ndarray]:
        assert self._prompt is not None
        return self._prompt(self._words(prompt.instruction) | self._prompt_images(prompt))

    def _words(self, instruction: str | None) -> dict[str, np.ndarray]:
        said, most = words(instruction or "") or ("",), self._max_words
        if len(said) > most:
            said = (*said[: most - 1], " ".join(said[most - 1 :]))
        ids = [zlib.crc32(word.encode()) % self._vocabulary for word in said]
        return {
            "words": np.array([ids], np.int64),
            "word_mask": np.ones((1, len(ids)), bool),
            "has_instruction": np.array([instruction is not None]),
        }

    def _prompt_images(self, prompt: Prompt) -> dict[str, np.ndarray]:
        """The images of a prompt, laid out as in training; see `PolicyAgent`."""
        layout, goal, shown = self._layout, prompt.goal, prompt.demonstration
        for part, learned, name in (
            (goal, layout.goal_image, "goal image"),
            (shown, layout.demonstration_frames, "demonstration"),
        ):
            if part is not None and not learned:
                raise UserError(f"prompt has a {name}, but this agent was not trained on any")
        if not layout.count:
            return {}
        inputs: dict[str, np.ndarray] = {}
        for name, size in self.spec.cameras.items():
            image = np.zeros((1, *size, 3), np.uint8)
            frames = np.zeros((layout.demonstration_frames, *size, 3), np.uint8)
            if goal is not None:
                image[0] = _prompt_pixels(goal, name, image.shape[1:])
            if shown is not None:
                frames = _prompt_pixels(shown.images, name, frames.shape)
            inputs[f"prompt_image_{name}"] = layout.join(image[None], frames[None])
        shape = (1, layout.count, layout.chunk, self.spec.action.dimension)
        action = np.zeros(shape, np.float32)
        done = None if shown is None else shown.action
        if done is not None:
            expected = (layout.demonstration_frames, *shape[2:])
            if np.shape(done) != expected:
                raise UserError(
                    f"demonstration has actions {np.shape(done)}; this agent expects {expected}"
                )
            action[:, DEMONSTRATION] = self._codec.encode_action(np.asarray(done))
        mask, action_mask = layout.masks(
            np.array([goal is not None]),
            np.array([shown is not None]),
            np.array([done is not None]),
        )
        return inputs | {
            "prompt_action": action,
            "prompt_image_mask": mask,
            "prompt_action_mask": action_mask,
        }


def _stacked(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """`np.stack` along rows, for one array without a copy."""
    return arrays[0][None] if len(arrays) == 1 else np.stack(arrays)


def _rows(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """One-row arrays by name as rows; prompts are padded to the longest."""
    if len(parts) == 1:
        return dict(parts[0])
    rows: dict[str, np.ndarray] = {}
    for name in parts[0]:
        arrays = [part[name] for part in parts]
        longest = max(np.shape(array)[1] if array.ndim > 1 else 0 for array in arrays)
        padded = [
            np.pad(array, [(0, 0), (0, longest - array.shape[1]), *[(0, 0)] * (array.ndim - 2)])
            if array.ndim > 1
            else array
            for array in arrays
        ]
        rows[name] = np.concatenate(padded)
    return rows


def _prompt_pixels(
    images: Mapping[str, np.ndarray], camera: str, expected: tuple[int, ...]
) -> np.ndarray:
    if camera not in images or np.shape(images[camera]) != expected:
        shapes = {name: np.shape(array) for name, array in images.items()}
        raise UserError(
            f"prompt has images {shapes}; this agent expects {camera!r} of shape {expected}"
        )
    return pixels_of(images[camera], f"prompt's image of {camera!r}", expected)
