"""A trained policy as an agent.

A prompt is encoded once, each frame is encoded once, and actions are planned in chunks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from manyparts.agents.base import Situation, refuse_prompt
from manyparts.agents.batching import joined, prompts_together, together
from manyparts.agents.checks import image_of, pixels_of, require_actions, require_carry, state_of
from manyparts.agents.cloning import CloningAgent
from manyparts.agents.generators import generator_of
from manyparts.core.errors import UserError
from manyparts.core.printing import shown_short
from manyparts.core.records import Observation, Precision, Prompt, PromptImages
from manyparts.embodiment.codec import padded
from manyparts.embodiment.prompt_layout import DEMONSTRATION
from manyparts.models.checkpoint import CheckpointInfo
from manyparts.models.control_transformer import ControlTransformer, Tokens
from manyparts.models.prompt_encoder import PromptTokens
from manyparts.objectives.behaviour_cloning import BehaviourCloning
from manyparts.objectives.system import System


@shown_short
@dataclass(frozen=True)
class Carry:
    """The memory of a `PolicyAgent`. A step is a decision: one observation and its chunk."""

    prompt: Prompt | None
    """The prompt of the episode; another one starts the memory again."""

    prompt_tokens: PromptTokens | None
    """The tokens of `prompt`."""

    past: tuple[Tokens, ...] = ()
    """Observation and action tokens of the steps before the current one, oldest first."""

    visual: Tensor | None = None
    """Visual tokens (1, 1, v, d) of the current step; None before the first one."""

    state: Tensor | None = None
    """State token (1, 1, d) of the current step; None before the first one."""

    done: tuple[np.ndarray, ...] = ()
    """Actions of the current chunk that were taken, (a,) each, within [-1, 1]."""

    planned: tuple[np.ndarray, ...] = ()
    """Actions of the current chunk that are still to come."""

    decisions: int = 0
    """Number of chunks planned so far."""


class PolicyAgent(CloningAgent):
    """Acts with a system's behaviour cloning.

    Tokens of past frames are kept in `carry`, so a step costs the encoding of one frame and a pass
    of the decoder over the window. The decoder reads the whole window each time: with a sliding
    key-value cache it would see farther back than in training.

    Args:
        system: The trained model and its objectives.
        info: The checkpoint's description.
        embodiment: The embodiment to act for; None if the agent learned only one.
        seed: Seed of exploration.
        precision: Precision of matrix products. For "bf16" the weights that every decision uses are
            rounded once, in `system` itself.

    Raises:
        UserError: The run learned no policy, or not for this embodiment, or the precision is none.
    """

    policy: BehaviourCloning
    model: ControlTransformer

    def __init__(
        self,
        system: System,
        info: CheckpointInfo,
        *,
        embodiment: str | None = None,
        seed: int = 0,
        precision: Precision = "fp32",
    ):
        super().__init__(system, info, BehaviourCloning, embodiment=embodiment, precision=precision)
        self.seed = seed
        self.prompted = self.model.prompt_encoder is not None
        self.slots = self.model.embodiments.slot_of(self.spec)
        self.embodiment = None
        if len(info.embodiments) > 1:
            self.embodiment = torch.tensor([self.index], device=self._device)
        if self._bf16:
            # Not the prompt encoder: it runs once per episode, and in float32.
            for part in (
                self.model.embedding,
                self.model.blocks,
                self.model.prompt_blocks,
                self.policy,
            ):
                _round_weights(part)

    def needs_observation(self, carry: Carry | None) -> bool:
        """Return whether the last chunk is used up."""
        return carry is None or not carry.planned

    @torch.inference_mode()
    def act(
        self,
        carry: Carry | None,
        observation: Observation | None,
        prompt: Prompt | str | None = None,
        *,
        explore: bool,
    ) -> tuple[np.ndarray, Carry]:
        """See `agents.base.Agent`.

        Args:
            carry: The memory.
            observation: The current observation.
            prompt: A prompt or a plain instruction.
            explore: Sample from the bins; a continuous policy has no distribution to sample from.

        Raises:
            UserError: There is a prompt but the agent takes none, or the other way around; or the
                observation does not fit the embodiment.
        """
        carry = self._ready(carry, Prompt.of(prompt))
        if not carry.planned:
            with self._autocast():
                (carry,) = self._plan([carry], [observation], explore)
        return self._next(carry)

    @torch.inference_mode()
    def act_together(self, situations: Sequence[Situation]) -> list[tuple[np.ndarray, Carry]]:
        """See `agents.base.ActingTogether`.

        Raises:
            UserError: See `act`.
        """
        carries = [self._ready(each.carry, Prompt.of(each.prompt)) for each in situations]
        rows = [row for row, carry in enumerate(carries) if not carry.planned]
        if rows:
            observations = [situations[row].observation for row in rows]
            with self._autocast():
                planned = self._plan([carries[row] for row in rows], observations, explore=False)
            for row, carry in zip(rows, planned, strict=True):
                carries[row] = carry
        return [self._next(carry) for carry in carries]

    def replanned(self, carry: Carry) -> Carry:
        """See `agents.base.Replanning`.

        A step's token stands for a whole chunk, so the last action stands in for those that were
        not carried out.
        """
        missing = len(carry.planned)
        return replace(carry, done=(*carry.done, *carry.done[-1:] * missing), planned=())

    @torch.inference_mode()
    def attention(self, images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return where each visual token looks.

        Args:
            images: Frames of any of the agent's cameras, uint8 (n, h, w, 3) each.

        Returns:
            Camera to float32 (n, tokens, maps, rows, columns): weights over the encoder's grid.
            Each map sums to 1, and reads an equal part of its token's channels.

        Raises:
            UserError: The agent does not take such frames.
        """
        for name, frames in images.items():
            expected = (*self.spec.cameras.get(name, ()), 3)
            if (
                name not in self.spec.cameras
                or frames.shape[1:] != expected
                or frames.dtype != np.uint8
            ):
                choices = {camera: (*size, 3) for camera, size in self.spec.cameras.items()}
                raise UserError(
                    f"frames of {name!r} are {frames.dtype} {frames.shape}; "
                    f"choices: n of uint8 {choices}"
                )
        with self._autocast():
            return {
                name: self.model.embedding.attention(
                    rearrange(self._tensor(frames), "n h w c -> n c h w"), self.slots[name]
                )
                .float()
                .cpu()
                .numpy()
                for name, frames in images.items()
            }

    def _begin(self, prompt: Prompt | None) -> Carry:
        """Return the memory at an episode's start, with the prompt encoded."""
        if not self.prompted:
            refuse_prompt(prompt)
        if prompt is None and self.prompted:
            raise UserError('this agent needs a prompt, such as "open the drawer"')
        if prompt is None:
            return Carry(None, None)
        images = self._prompt_images(prompt)
        return Carry(prompt, self.model.encode_prompt((prompt,), images, self.embodiment))

    def _prompt_images(self, prompt: Prompt) -> PromptImages | None:
        """Return a prompt's images as a batch of one, laid out as in training.

        None where this agent was trained on instructions alone.
        """
        layout, goal, demonstration = self.window.prompt_layout, prompt.goal, prompt.demonstration
        for part, learned, name in (
            (goal, layout.goal_image, "goal image"),
            (demonstration, layout.demonstration_frames, "demonstration"),
        ):
            if part is not None and not learned:
                raise UserError(f"prompt has a {name}, but this agent was not trained on any")
        if not layout.count:
            return None
        images = {}
        for name, size in self.spec.cameras.items():
            goal_image = np.zeros((1, *size, 3), np.uint8)
            frames = np.zeros((layout.demonstration_frames, *size, 3), np.uint8)
            if goal is not None:
                goal_image[0] = self._prompt_pixels(goal, name)
            if demonstration is not None:
                frames = self._prompt_pixels(demonstration.images, name, len(frames))
            images[self.slots[name]] = layout.join(goal_image[None], frames[None])
        action = np.zeros((1, layout.count, layout.chunk, self.spec.action.dimension), np.float32)
        shown_actions = None if demonstration is None else demonstration.action
        if shown_actions is not None:
            action[:, DEMONSTRATION] = self._demonstrated(shown_actions)
        mask, action_mask = layout.masks(
            np.array([goal is not None]),
            np.array([demonstration is not None]),
            np.array([shown_actions is not None]),
        )
        return PromptImages(
            images={
                slot: rearrange(self._tensor(array), "b f h w c -> b f c h w")
                for slot, array in images.items()
            },
            features={},
            action=padded(self._tensor(action), self.model.embodiments.action_dimension),
            mask=self._tensor(mask),
            action_mask=self._tensor(action_mask),
        )

    def _prompt_pixels(
        self, images: Mapping[str, np.ndarray], camera: str, *count: int
    ) -> np.ndarray:
        """Return a camera's image in a prompt, or a number of images."""
        expected = (*count, *self.spec.cameras[camera], 3)
        if camera not in images or np.shape(images[camera]) != expected:
            shapes = {name: np.shape(array) for name, array in images.items()}
            raise UserError(
                f"prompt has images {shapes}; this agent expects {camera!r} of shape {expected}"
            )
        return pixels_of(images[camera], f"prompt's image of {camera!r}", expected)

    def _demonstrated(self, actions: np.ndarray) -> np.ndarray:
        """Return a demonstration's actions, (n, k, a), normalised."""
        expected = (self.window.demonstration_frames, self.window.chunk, self.spec.action.dimension)
        action = np.asarray(actions)
        is_numeric = action.dtype.kind in "fiub"
        if action.shape != expected or not is_numeric or not np.isfinite(action).all():
            raise UserError(
                f"demonstration has actions {action.dtype} {action.shape}; "
                f"this agent expects finite numbers {expected}"
            )
        return self.codec.encode_action(action)

    def _ready(self, carry: Carry | None, prompt: Prompt | None) -> Carry:
        """Return a memory for a prompt: another one in the middle of an episode starts it again."""
        require_carry(carry, Carry)
        if carry is None or carry.prompt != prompt:
            with self._autocast():
                return self._begin(prompt)
        return carry

    def _next(self, carry: Carry) -> tuple[np.ndarray, Carry]:
        """Return the next planned action, and the memory after it."""
        # A new carry each time: the caller may keep the old one and act from it again.
        action, *planned = carry.planned
        carry = replace(carry, done=(*carry.done, action), planned=tuple(planned))
        return self.codec.decode_action(action), carry

    def _plan(
        self, carries: Sequence[Carry], observations: Sequence[Observation | None], explore: bool
    ) -> list[Carry]:
        """Return each memory after one more observation, with its next chunk of actions planned.

        Episodes with equally many steps in their memories go through the model together.
        """
        visual, state = self._embed_observations(observations)
        windows = [
            self._window(self._past(carry), visual[row : row + 1], state[row : row + 1])
            for row, carry in enumerate(carries)
        ]
        planned = list(carries)
        lengths = [window.state.shape[1] for window in windows]
        for length in dict.fromkeys(lengths):
            rows = [row for row, each in enumerate(lengths) if each == length]
            window = together([windows[row] for row in rows])
            prompts = prompts_together([carries[row].prompt_tokens for row in rows])
            chunks = self._decided(window, prompts, carries[rows[0]], explore)
            for row, chunk in zip(rows, chunks, strict=True):
                planned[row] = replace(
                    carries[row],
                    past=self._past(carries[row]),
                    visual=visual[row : row + 1],
                    state=state[row : row + 1],
                    done=(),
                    planned=tuple(require_actions(chunk, self.spec)),
                    decisions=carries[row].decisions + 1,
                )
        return planned

    def _decided(
        self, window: Tokens, prompts: PromptTokens | None, carry: Carry, explore: bool
    ) -> np.ndarray:
        """Return chunks of actions (n, k, a) for n windows."""
        count = len(window.state)
        embodiment = None if self.embodiment is None else self.embodiment.expand(count)
        parameters = self.policy.decide(self.model, window, prompts, embodiment)
        assert count == 1 or not explore, "what is drawn belongs to one episode"
        generator = generator_of(self.seed, carry.decisions, self._device) if explore else None
        chunk = self.policy.head.decode(parameters, generator, embodiment=embodiment)
        return chunk[:, 0, :, : self.spec.action.dimension].float().cpu().numpy()

    def _past(self, carry: Carry) -> tuple[Tokens, ...]:
        """Return the steps before the current one, with the last decision among them."""
        # The step before becomes past only now, when all actions of its chunk are known. It keeps
        # the embedded observation, so no frame is encoded twice.
        if self.policy.history and carry.visual is not None and carry.state is not None:
            step = Tokens(carry.visual, carry.state, self._embed_actions(carry.done))
            return (*carry.past, step)[-self.policy.history :]
        return carry.past

    def _window(self, past: Sequence[Tokens], visual: Tensor, state: Tensor) -> Tokens:
        """Return the tokens of the steps before and of the current one, (1, t, ...)."""
        # Zeros stand in for the current step's action token, which its observation does not see.
        steps = [*past, Tokens(visual, state, torch.zeros_like(state))]
        return joined(steps, dim=1)

    def _embed_observations(
        self, observations: Sequence[Observation | None]
    ) -> tuple[Tensor, Tensor]:
        """Return frames' visual tokens (n, 1, v, d) and state tokens (n, 1, d)."""
        embedding, dimension = self.model.embedding, self.model.embodiments.state_dimension
        images = {
            name: np.stack([image_of(each, name, size) for each in observations])
            for name, size in self.spec.cameras.items()
        }
        states = np.stack([state_of(each, self.codec) for each in observations])
        state = self._tensor(states)[:, None]
        visual = torch.cat(
            [
                embedding.visual(rearrange(self._tensor(images[name]), "n h w c -> n c h w"), slot)
                for name, slot in self.slots.items()
            ],
            dim=1,
        )
        # An embodiment's cameras fill the first slots; the tokens of the others are zero.
        visual = F.pad(visual, (0, 0, 0, self.model.visual_tokens - visual.shape[1]))
        real = torch.arange(dimension, device=state.device)[None] < state.shape[-1]
        real = real.expand(len(state), -1)
        return visual[:, None], embedding.embed_state(padded(state, dimension), real)

    def _embed_actions(self, actions: tuple[np.ndarray, ...]) -> Tensor:
        """Return the token (1, 1, d) of a chunk of actions."""
        chunk = padded(self._tensor(np.stack(actions)), self.model.embodiments.action_dimension)
        action = chunk[None, None]
        return self.model.action_embedding(
            action, torch.ones_like(action, dtype=torch.bool), self.embodiment
        )


def _round_weights(part: nn.Module) -> None:
    """Round the weights to bfloat16 that autocast would round at every use."""
    for module in part.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.to(torch.bfloat16)
