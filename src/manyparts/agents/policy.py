"""A trained policy as an agent.

A prompt is encoded once, each frame is encoded once, and actions are planned in chunks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from manyparts.agents.base import Described, refuse_prompt
from manyparts.agents.checks import image_of, pixels_of, require_actions, require_carry, state_of
from manyparts.agents.generators import generator_of
from manyparts.agents.origin import Origin
from manyparts.core.errors import UserError
from manyparts.core.printing import shown_short
from manyparts.core.records import Observation, Precision, Prompt, PromptImages
from manyparts.core.serialisation import from_jsonable
from manyparts.data.sampling.windows import WindowConfig
from manyparts.embodiment.normalisation import StateNormaliser
from manyparts.models.checkpoint import CheckpointInfo
from manyparts.models.control_transformer import ControlTransformer, Tokens
from manyparts.models.prompts import PromptTokens
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


class PolicyAgent(Described):
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

    origin: Origin | None = None

    def __init__(
        self,
        system: System,
        info: CheckpointInfo,
        *,
        embodiment: str | None = None,
        seed: int = 0,
        precision: Precision = "fp32",
    ):
        if precision not in get_args(Precision):
            raise UserError(
                f"precision is {precision!r}; choices: {', '.join(get_args(Precision))}"
            )
        name = "behaviour_cloning"
        policy = system.objectives[name] if name in system.objectives else None
        if not isinstance(policy, BehaviourCloning):
            raise UserError(
                "this run learned no policy: it has no behaviour_cloning objective (a phase I run?)"
            )
        self.system, self.policy = system.eval(), policy
        self.model: ControlTransformer = system.model
        self.info, self.seed = info, seed
        self.window = from_jsonable(WindowConfig, info.window)
        index = embodiment_index(info, embodiment)
        learned, several = info.embodiments[index], len(info.embodiments) > 1
        self.spec, self.environment = learned.spec, learned.environment
        self.prompted = self.model.prompt_encoder is not None
        self._normaliser = StateNormaliser.of(learned.statistics, learned.spec.state_dimension)
        self._slots = self.model.embodiments.slot_of(learned.spec)
        self._device = next(self.model.parameters()).device
        self._embodiment = torch.tensor([index], device=self._device) if several else None
        self._bf16 = precision == "bf16"
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
        prompt = Prompt.of(prompt)
        require_carry(carry, Carry)
        # Another prompt in the middle of an episode starts the memory again.
        if carry is None or carry.prompt != prompt:
            with self._autocast():
                carry = self._begin(prompt)
        if not carry.planned:
            with self._autocast():
                carry = self._plan(carry, observation, explore)
        # A new carry each time: the caller may keep the old one and act from it again.
        action, *planned = carry.planned
        carry = replace(carry, done=(*carry.done, action), planned=tuple(planned))
        return self.spec.action.denormalise(action), carry

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
                    rearrange(self._tensor(frames), "n h w c -> n c h w"), self._slots[name]
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
        return Carry(prompt, self.model.encode_prompt((prompt,), images, self._embodiment))

    def _prompt_images(self, prompt: Prompt) -> PromptImages | None:
        """Return a prompt's images as a batch of one, laid out as in training.

        None where this agent was trained on instructions alone.
        """
        window, demonstration = self.window, prompt.demonstration
        for part, learned, name in (
            (prompt.goal, window.goal_image, "goal image"),
            (demonstration, window.demonstration_frames, "demonstration"),
        ):
            if part is not None and not learned:
                raise UserError(f"prompt has a {name}, but this agent was not trained on any")
        count, contract = window.prompt_images, self.spec.action
        if not count:
            return None
        # The goal image comes first, then the demonstration's frames.
        images = {
            name: np.zeros((count, *size, 3), np.uint8) for name, size in self.spec.cameras.items()
        }
        action = np.zeros((count, window.chunk, contract.dimension), np.float32)
        mask, action_mask = np.zeros(count, bool), np.zeros(count, bool)
        if prompt.goal is not None:
            mask[0] = True
        if demonstration is not None:
            mask[1:], action_mask[1:] = True, demonstration.action is not None
        for name in images:
            if prompt.goal is not None:
                images[name][0] = self._prompt_pixels(prompt.goal, name)
            if demonstration is not None:
                images[name][1:] = self._prompt_pixels(
                    demonstration.images, name, window.demonstration_frames
                )
        if demonstration is not None and demonstration.action is not None:
            action[1:] = self._demonstrated(demonstration.action)
        return PromptImages(
            images={
                self._slots[name]: rearrange(self._tensor(array), "f h w c -> 1 f c h w")
                for name, array in images.items()
            },
            features={},
            action=_padded(self._tensor(action), self.model.embodiments.action_dimension)[None],
            mask=self._tensor(mask)[None],
            action_mask=self._tensor(action_mask)[None],
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
        return self.spec.action.normalise(action)

    def _plan(self, carry: Carry, observation: Observation | None, explore: bool) -> Carry:
        """Return the memory after one more observation, with the next chunk of actions planned."""
        past = carry.past
        # The step before becomes past only now, when all actions of its chunk are known. It keeps
        # the embedded observation, so no frame is encoded twice.
        if self.policy.history and carry.visual is not None and carry.state is not None:
            step = Tokens(carry.visual, carry.state, self._embed_actions(carry.done))
            past = (*past, step)[-self.policy.history :]
        visual, state = self._embed_observation(observation)
        # Zeros stand in for the current step's action token, which its observation does not see.
        steps = [*past, Tokens(visual, state, torch.zeros_like(state))]
        window = Tokens(
            *(
                torch.cat([getattr(step, name) for step in steps], dim=1)
                for name in ("visual", "state", "action")
            )
        )
        parameters = self.policy.decide(self.model, window, carry.prompt_tokens, self._embodiment)
        generator = generator_of(self.seed, carry.decisions, self._device) if explore else None
        chunk = self.policy.head.decode(parameters, generator, embodiment=self._embodiment)
        actions = chunk[0, 0, :, : self.spec.action.dimension].float().cpu().numpy()
        planned = tuple(require_actions(actions, self.spec))
        return replace(
            carry,
            past=past,
            visual=visual,
            state=state,
            done=(),
            planned=planned,
            decisions=carry.decisions + 1,
        )

    def _embed_observation(self, observation: Observation | None) -> tuple[Tensor, Tensor]:
        """Return one frame's visual tokens (1, 1, v, d) and state token (1, 1, d)."""
        embedding, dimension = self.model.embedding, self.model.embodiments.state_dimension
        images = {
            name: image_of(observation, name, size) for name, size in self.spec.cameras.items()
        }
        state = self._tensor(state_of(observation, self.spec, self._normaliser))[None, None]
        visual = torch.cat(
            [
                embedding.visual(rearrange(self._tensor(images[name]), "h w c -> 1 c h w"), slot)
                for name, slot in self._slots.items()
            ],
            dim=1,
        )
        # An embodiment's cameras fill the first slots; the tokens of the others are zero.
        visual = F.pad(visual, (0, 0, 0, self.model.visual_tokens - visual.shape[1]))
        real = torch.arange(dimension, device=state.device)[None] < state.shape[-1]
        return visual[:, None], embedding.embed_state(_padded(state, dimension), real)

    def _embed_actions(self, actions: tuple[np.ndarray, ...]) -> Tensor:
        """Return the token (1, 1, d) of a chunk of actions."""
        chunk = _padded(self._tensor(np.stack(actions)), self.model.embodiments.action_dimension)
        action = chunk[None, None]
        return self.model.action_embedding(
            action, torch.ones_like(action, dtype=torch.bool), self._embodiment
        )

    def _tensor(self, array: np.ndarray) -> Tensor:
        """Return an array on the model's device; torch reads no negative strides."""
        return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(self._device)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16)


def embodiment_index(info: CheckpointInfo, name: str | None) -> int:
    """Return the index of an embodiment among those of a checkpoint.

    Args:
        info: The checkpoint's description.
        name: The embodiment; None for the only one.

    Raises:
        UserError: It was not learned, or it has to be named.
    """
    learned = [each.spec.embodiment for each in info.trained]
    if name is None and len(learned) > 1:
        raise UserError(
            f"this agent acts for several embodiments; name one of them: {', '.join(learned)}"
        )
    if name is not None and name not in learned:
        raise UserError(
            f"this agent was not trained for embodiment {name!r}; choices: {', '.join(learned)}"
        )
    return info.embodiment_set.names.index(name or learned[0])


def _round_weights(part: nn.Module) -> None:
    """Round the weights to bfloat16 that autocast would round at every use."""
    for module in part.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.to(torch.bfloat16)


def _padded(values: Tensor, dimension: int) -> Tensor:
    """Return values with zeros behind them, up to the model's dimension."""
    return F.pad(values, (0, dimension - values.shape[-1]))
