"""A world model that is taught by others, and what it takes from them (Vid2Act).

Pan et al. 2023, "Vid2Act: Activate Offline Videos for Visual RL", arXiv 2306.03360. Dimensions: as
in `latent_world`; k teachers, f numbers of a teacher's features, g of the student's.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from manyparts.core.errors import UserError
from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.dynamics.action_vae import ActionVae
from manyparts.models.dynamics.configs import TaughtWorldConfig
from manyparts.models.dynamics.latent_world import LatentWorld
from manyparts.models.dynamics.teachers import Teachers
from manyparts.nn.linear import Linear


class TaughtWorld(LatentWorld):
    """See the module. The student does not read its teachers: they only give it a target.

    Args:
        config: Sizes, and the teachers.
        embodiments: See `LatentWorld`.
        chunk: Actions per step; must be 1.
        steps: Steps of a window.

    Attributes:
        teachers: Filters of other tasks, frozen.
        project: From a teacher's features to the student's.
        weigh: From features of teacher and student to a score of relevance.
        action_vae: A model of the sources' actions in the student's states.

    Raises:
        UserError: There are no teachers.
    """

    config: TaughtWorldConfig

    def __init__(
        self, config: TaughtWorldConfig, embodiments: EmbodimentSet, *, chunk: int, steps: int
    ):
        super().__init__(config, embodiments, chunk=chunk, steps=steps)
        if not config.teachers:
            raise UserError("a taught world needs teachers: name their runs with --teachers")
        self.teachers = Teachers(
            config.teachers,
            actions=config.teacher_actions,
            surprised=config.relevance == "prediction",
        )
        count, taught = len(self.teachers), self.teachers.features
        self.project = Linear(taught + (count if config.source_input else 0), self.features)
        self.weigh = nn.Linear(taught + self.features, 1)
        self.action_vae = ActionVae(
            self.features,
            self.action_dimension,
            count,
            width=config.replay_width,
            guide=config.guide,
        )

    def projected(self, taught: Float[Tensor, "... k f"]) -> Float[Tensor, "... k g"]:
        """Return teachers' features as the student's would be."""
        if self.config.source_input:
            marks = torch.eye(len(self.teachers), dtype=taught.dtype, device=taught.device)
            taught = torch.cat([taught, marks.expand(*taught.shape[:-1], -1)], dim=-1)
        return self.project(taught)

    def distance(
        self, features: Float[Tensor, "... g"], taught: Float[Tensor, "... k f"]
    ) -> Float[Tensor, "... k"]:
        """Return the mean squared distance of the student's features from each teacher's."""
        return (self.projected(taught) - features[..., None, :]).square().mean(dim=-1)

    def relevance(
        self,
        features: Float[Tensor, "... g"],
        taught: Float[Tensor, "... k f"],
        surprise: Float[Tensor, "... k"],
    ) -> Float[Tensor, "... k"]:
        """Return how much each teacher counts, which adds up to 1.

        No gradient reaches the student: it would move so as to move its weights. Learned scores
        are linear, as in the paper, so that the student's part of them cancels in the softmax.

        Args:
            features: The student's.
            taught: The teachers'.
            surprise: How badly each teacher foresaw the step, in nats; read for "prediction".
        """
        kind, count = self.config.relevance, taught.shape[-2]
        if kind == "uniform":
            return torch.full_like(surprise, 1 / count)
        if (fixed := self.config.fixed_teacher) is not None:
            chosen = torch.zeros_like(surprise)
            chosen[..., fixed] = 1
            return chosen
        if kind == "distance":
            # The minimiser of sum w m + t sum w log w over weights w, for distances m.
            scores = -self.distance(features, taught).detach()
        elif kind == "prediction":
            scores = -surprise
        else:
            own = features.detach()[..., None, :].expand(*taught.shape[:-1], -1)
            return self.weigh(torch.cat([taught, own], dim=-1))[..., 0].float().softmax(dim=-1)
        return F.softmax(scores.float() / self.config.temperature, dim=-1)
