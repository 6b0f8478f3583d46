"""Teachers: trained world models of other tasks, which filter what a student sees (Vid2Act).

Dimensions: n rows, k teachers, f numbers of a teacher's features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from manyparts.core.errors import UserError
from manyparts.models.dynamics.configs import TeacherConfig
from manyparts.models.dynamics.latent_world import LatentFilter
from manyparts.models.dynamics.state_space import WorldState

TAUGHT, SURPRISE = "taught", "surprise"  # names of `Taught`'s parts in a replay and a batch


class Taught(NamedTuple):
    """What teachers make of one step."""

    states: tuple[WorldState, ...]
    """One per world model, with a row for each of its sources and each row: (n k', ...)."""

    features: Float[Tensor, "n k f"]
    """The mean states of all teachers."""

    surprise: Float[Tensor, "n k"]
    """KL(posterior || prior) in nats: how badly each teacher foresaw the step; zeros for teachers
    that are not `surprised`."""


class Teachers(nn.Module):
    """The filters of several world models. Nothing in it is trained.

    Args:
        configs: One per world model.
        actions: Which actions teachers take, see `TaughtWorldConfig.teacher_actions`.
        surprised: Whether `observe` computes their surprise, which takes a fifth of its time.

    Attributes:
        names: Of all teachers.
        features: Numbers of a teacher's features, f.

    Raises:
        UserError: The models have features of different sizes.
    """

    def __init__(
        self,
        configs: Sequence[TeacherConfig],
        *,
        actions: Literal["own", "none"],
        surprised: bool = True,
    ):
        super().__init__()
        self.configs, self.actions, self.surprised = tuple(configs), actions, surprised
        self.filters = nn.ModuleList(
            LatentFilter(
                config.world, cameras=config.cameras, state=config.state, action=config.action
            )
            for config in configs
        )
        sizes = {each.features for each in self._filters()}
        if len(sizes) > 1:
            raise UserError(
                f"teachers have states of {', '.join(map(str, sorted(sizes)))} numbers, which one "
                "student cannot be drawn to; train them with one preset"
            )
        self.features = sizes.pop() if sizes else 0
        for number, config in enumerate(configs):
            marks = torch.eye(len(config.names)) if config.world.sources else torch.zeros(1, 0)
            self.register_buffer(f"marks_{number}", marks, persistent=False)
            if config.actions:
                # Of each source, its own actions, and the marks behind them.
                own = torch.arange(config.action) < torch.tensor(config.actions)[:, None]
                kept = torch.cat([own.float(), torch.ones_like(marks)], dim=1)
                self.register_buffer(f"kept_{number}", kept, persistent=False)
            for name in ("scale", "shift"):
                values = torch.tensor(getattr(config, name))
                self.register_buffer(f"{name}_{number}", values, persistent=False)
        self.names: tuple[str, ...] = sum((config.names for config in configs), ())
        self.requires_grad_(False)

    def __len__(self) -> int:
        return len(self.names)

    @torch.no_grad()
    def observe(
        self,
        before: Taught | None,
        action: Float[Tensor, "n a"] | None,
        images: Mapping[str, UInt8[Tensor, "n c h w"]],
        state: Float[Tensor, "n s"],
    ) -> Taught:
        """Return what the teachers make of observations. Nothing is drawn.

        Args:
            before: Of the step before; None at an episode's start.
            action: Executed after that step; None at an episode's start.
            images: Slot to images.
            state: Normalised states, as the student sees them.
        """
        states: list[WorldState] = []
        features: list[Tensor] = []
        surprise: list[Tensor] = []
        for number, (config, model) in enumerate(zip(self.configs, self._filters(), strict=True)):
            last = None if before is None else before.states[number]
            count, rows = len(config.names), len(state)
            # The student's slots in their order: a teacher's may have other names.
            seen = dict(zip(model.cameras, images.values(), strict=False))
            # All sources of one model see the same, and are rows of one pass.
            embedding = self._of_all(number, model.embed_alone(seen, self._own(number, state)))
            if last is None or action is None:
                recurrent = model.initial(embedding).recurrent
            else:
                taken = self._of_all(number, self._taken(config, action))
                if config.actions:
                    # What the source's own body lacks was never anything but zero in training.
                    taken = taken * self._fixed("kept", number).repeat_interleave(rows, 0)
                recurrent = model.advance(last.recurrent, last.drawn, taken)
            if self.surprised:
                posterior = model.posterior(recurrent, embedding)
                current = WorldState(recurrent, model.latent.draw(posterior))
                divergence = model.latent.divergence(posterior, model.prior(recurrent))
                surprise.append(divergence.view(count, rows))
            else:
                current = model.observed(recurrent, embedding)
            states.append(current)
            features.append(current.features.view(count, rows, -1))
        if not self.surprised:
            surprise = [state.new_zeros(len(self), len(state))]
        return Taught(
            tuple(states), _joined(features).transpose(0, 1), _joined(surprise).transpose(0, 1)
        )

    def _filters(self) -> list[LatentFilter]:
        # For the type checker, to which a ModuleList holds any modules.
        return [each for each in self.filters if isinstance(each, LatentFilter)]

    def _of_all(self, number: int, inputs: Float[Tensor, "n i"]) -> Float[Tensor, "m j"]:
        """Return inputs of a world model for each of its sources, with the source's mark if it
        tells them apart."""
        marks, rows = self._fixed("marks", number), len(inputs)
        count = len(self.configs[number].names)
        # `repeat` takes ten times as long as a view.
        repeated = inputs.expand(count, -1) if rows == 1 else inputs.repeat(count, 1)
        if not marks.shape[1]:
            return repeated
        return torch.cat([repeated, marks if rows == 1 else marks.repeat_interleave(rows, 0)], -1)

    def _fixed(self, name: str, number: int) -> Tensor:
        """Return a buffer of a world model, without the search that `get_buffer` makes."""
        buffer = self._buffers[f"{name}_{number}"]
        assert buffer is not None
        return buffer

    def _own(self, number: int, state: Float[Tensor, "n s"]) -> Float[Tensor, "n t"]:
        """Return states in a teacher's own scale; none for one that sees images alone."""
        if not self.configs[number].state:
            return state[:, :0]
        if self.configs[number].scale:
            state = state * self._fixed("scale", number) + self._fixed("shift", number)
        return state

    def _taken(self, config: TeacherConfig, action: Float[Tensor, "n a"]) -> Float[Tensor, "n b"]:
        """Return actions as a teacher takes them: cut or padded with zeros to its own size.

        A teacher of another body takes the first actions of the student for its own, as many as
        that body has. What it predicts is then wrong, while what it makes of images is not.
        """
        if self.actions == "none":
            return action.new_zeros(len(action), config.action)
        missing = config.action - action.shape[-1]
        return F.pad(action, (0, missing)) if missing else action


def _joined(parts: list[Tensor]) -> Tensor:
    """Return the teachers of all world models together."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)
