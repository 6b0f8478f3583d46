"""The next state as one estimate: square error of the observation's change and of the reward."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from manyparts.core.records import Loss
from manyparts.models.dynamics.mlp import MlpDynamics
from manyparts.objectives.base import Objective
from manyparts.objectives.configs import NextStateConfig
from manyparts.objectives.steps import StepPasses


class NextState(Objective, config=NextStateConfig, model=MlpDynamics):
    """|| f(o_t, a_t) - (o_{t+1} - o_t, r_t) ||^2, one loss per number."""

    def __init__(self, config: NextStateConfig, model: MlpDynamics):
        super().__init__()
        self.config = config

    def predict(self, passes: StepPasses[MlpDynamics]) -> Float[Tensor, "b t m"]:
        """See `MlpDynamics.forward`."""
        return passes.model(passes.batch.state, passes.action)

    def forward(self, passes: StepPasses[MlpDynamics]) -> Loss:
        # The change, not the next observation, is predicted: it is what a step decides, and its
        # scale does not depend on where the robot is.
        return Loss((self.predict(passes) - passes.outcomes).square(), passes.outcome_mask)
