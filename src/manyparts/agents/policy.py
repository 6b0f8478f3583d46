"""A trained model as an agent: a prompt is encoded once, a frame once, a chunk of actions planned
at a time."""

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
    """One slot's memory. prompt_tokens: of `prompt`, encoded once. past: observation and action
    tokens of the steps before the current one, oldest first. visual, state: tokens of the current
    step's observation. done: its actions so far, in [-1, 1]; planned: those that are still to come.
    decisions: how many chunks were planned.
    """

    prompt: Prompt | None
    prompt_tokens: PromptTokens | None
    past: tuple[Tokens, ...] = ()
    visual: Tensor | None = None
    state: Tensor | None = None
    done: tuple[np.ndarray, ...] = ()
    planned: tuple[np.ndarray, ...] = ()
    decisions: int = 0


class PolicyAgent(Described):
    """Acts with a system's behaviour cloning. Tokens of past frames are kept in `carry`, so that a
    step costs the encoding of one frame and a pass of the decoder over the window; the decoder
    reads the window anew because a sliding key-value cache would let it see farther back than it
    did in training.
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
        """embodiment: the one to act for, which may be left out where the agent learned but one.
        precision: of matrix products; for bf16 the weights that every decision uses are rounded
        here, in `system` itself. Raises UserError for an embodiment that it did not learn, or if it
        learned no policy."""
        if precision not in get_args(Precision):
            raise UserError(
                f"precision is {precision!r}; choices: {', '.join(get_args(Precision))}"
            )
        policy = (
            system.objectives["behaviour_cloning"]
            if "behaviour_cloning" in system.objectives
            else None
        )
        if not isinstance(policy, BehaviourCloning):
            raise UserError(
                "this run learned no policy: it has no behaviour_cloning objective (a phase I run?)"
            )
        self.system, self.policy = system.eval(), policy
        self.model: ControlTransformer = system.model
        self.info, self.seed = info, seed
        self.window = from_jsonable(WindowConfig, info.window)
        place = embodiment_index(info, embodiment)
        body, several = info.embodiments[place], len(info.embodiments) > 1
        self.spec, self.environment = body.spec, body.environment
        self.prompted = self.model.prompt_encoder is not None
        self._normaliser = StateNormaliser.of(body.statistics, body.spec.state_dimension)
        self._slots = self.model.embodiments.slot_of(body.spec)
        self._device = next(self.model.parameters()).device
        self._embodiment = torch.tensor([place], device=self._device) if several else None
        self._bf16 = precision == "bf16"
        if self._bf16:
            for part in (
                self.model.embedding,
                self.model.blocks,
                self.model.prompt_blocks,
                self.policy,
            ):
                _round_weights(part)

    def needs_observation(self, carry: Carry | None) -> bool:
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
        """See `agents.base.Agent`. prompt: a plain instruction will do. explore: sample from the
        bins; a continuous policy has no spread to sample from.

        Raises UserError for a prompt given to an unprompted agent, none given to a prompted one, or
        an observation that does not fit the embodiment.
        """
        prompt = Prompt.of(prompt)
        require_carry(carry, Carry)
        if carry is None or carry.prompt != prompt:
            with self._autocast():
                carry = self._begin(prompt)
        if not carry.planned:
            with self._autocast():
                carry = self._plan(carry, observation, explore)
        action, *planned = carry.planned
        carry = replace(carry, done=(*carry.done, action), planned=tuple(planned))
        return self.spec.action.denormalise(action), carry

    @torch.inference_mode()
    def attention(self, images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Where each visual token looks in frames, of any of the agent's cameras: uint8 (n, h, w,
        3) each.

        Camera to float32 (n, tokens, maps, rows, columns): weights over the encoder's grid. Each
        map sums to 1, and reads an equal part of its token's channels. Raises UserError for frames
        that the agent does not take.
        """
        for name, frames in images.items():
            expected = (*self.spec.cameras.get(name, ()), 3)
            if (
                name not in self.spec.cameras
                or frames.shape[1:] != expected
                or frames.dtype != np.uint8
            ):
                taken = {camera: (*size, 3) for camera, size in self.spec.cameras.items()}
                raise UserError(
                    f"frames of {name!r} are {frames.dtype} {frames.shape}; choices: n of uint8 {taken}"
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
        if not self.prompted:
            refuse_prompt(prompt)
        if prompt is None and self.prompted:
            raise UserError('this agent needs a prompt, such as "open the drawer"')
        if prompt is None:
            return Carry(None, None)
        return Carry(
            prompt, self.model.encode_prompt((prompt,), self._pictures(prompt), self._embodiment)
        )

    def _pictures(self, prompt: Prompt) -> PromptImages | None:
        """A prompt's pictures as a batch of one; None where this agent was trained on instructions
        alone."""
        window, shown = self.window, prompt.demonstration
        for given, taken, name in (
            (prompt.goal, window.goal_image, "goal image"),
            (shown, window.demonstration_frames, "demonstration"),
        ):
            if given is not None and not taken:
                raise UserError(f"prompt has a {name}, but this agent was not trained on any")
        places, contract = window.prompt_images, self.spec.action
        if not places:
            return None
        images = {
            name: np.zeros((places, *size, 3), np.uint8) for name, size in self.spec.cameras.items()
        }
        action = np.zeros((places, window.chunk, contract.dimension), np.float32)
        mask, told = np.zeros(places, bool), np.zeros(places, bool)
        if prompt.goal is not None:
            mask[0] = True
        if shown is not None:
            mask[1:], told[1:] = True, shown.action is not None
        for name in images:
            if prompt.goal is not None:
                images[name][0] = self._picture(prompt.goal, name)
            if shown is not None:
                images[name][1:] = self._picture(shown.images, name, window.demonstration_frames)
        if shown is not None and shown.action is not None:
            action[1:] = self._demonstrated(shown.action)
        return PromptImages(
            images={
                self._slots[name]: rearrange(self._tensor(array), "f h w c -> 1 f c h w")
                for name, array in images.items()
            },
            features={},
            action=_widened(self._tensor(action), self.model.embodiments.action_dimension)[None],
            mask=self._tensor(mask)[None],
            action_mask=self._tensor(told)[None],
        )

    def _picture(self, images: Mapping[str, np.ndarray], camera: str, *count: int) -> np.ndarray:
        expected = (*count, *self.spec.cameras[camera], 3)
        if camera not in images or np.shape(images[camera]) != expected:
            given = {name: np.shape(array) for name, array in images.items()}
            raise UserError(
                f"prompt has pictures {given}; this agent expects {camera!r} of shape {expected}"
            )
        return pixels_of(images[camera], f"prompt's image of {camera!r}", expected)

    def _demonstrated(self, given: np.ndarray) -> np.ndarray:
        """A demonstration's actions, (n, k, a), normalised."""
        expected = (self.window.demonstration_frames, self.window.chunk, self.spec.action.dimension)
        action = np.asarray(given)
        if (
            action.shape != expected
            or action.dtype.kind not in "fiub"
            or not np.isfinite(action).all()
        ):
            raise UserError(
                f"demonstration has actions {action.dtype} {action.shape}; this agent expects finite numbers {expected}"
            )
        return self.spec.action.normalise(action)

    def _plan(self, carry: Carry, observation: Observation | None, explore: bool) -> Carry:
        """Take in one observation and plan the next chunk of actions."""
        past = carry.past
        if self.policy.history and carry.visual is not None and carry.state is not None:
            step = Tokens(carry.visual, carry.state, self._embed_actions(carry.done))
            past = (*past, step)[-self.policy.history :]
        visual, state = self._embed_observation(observation)
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
        """One frame's visual tokens (1, 1, v, d) and state token (1, 1, d)."""
        embedding, room = self.model.embedding, self.model.embodiments.state_dimension
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
        visual = F.pad(
            visual, (0, 0, 0, self.model.visual_tokens - visual.shape[1])
        )  # an embodiment fills the first
        real = torch.arange(room, device=state.device)[None] < state.shape[-1]
        return visual[:, None], embedding.embed_state(_widened(state, room), real)

    def _embed_actions(self, actions: tuple[np.ndarray, ...]) -> Tensor:
        action = _widened(self._tensor(np.stack(actions)), self.model.embodiments.action_dimension)[
            None, None
        ]
        return self.model.action_embedding(
            action, torch.ones_like(action, dtype=torch.bool), self._embodiment
        )

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(self._device)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16)


def embodiment_index(info: CheckpointInfo, name: str | None) -> int:
    """The place of an embodiment among those that a checkpoint knows."""
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
    """Round to bfloat16 what autocast would round at every use."""
    for module in part.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.to(torch.bfloat16)


def _widened(values: Tensor, dimension: int) -> Tensor:
    return F.pad(values, (0, dimension - values.shape[-1]))
