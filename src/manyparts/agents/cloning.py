"""What agents share that act with behaviour cloning."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from manyparts.agents.base import Described
from manyparts.agents.origin import Origin
from manyparts.core.errors import UserError, closest
from manyparts.core.printing import first_of
from manyparts.core.records import Precision
from manyparts.core.serialisation import from_jsonable
from manyparts.data.sampling.config import WindowConfig
from manyparts.models.checkpoint import CheckpointInfo
from manyparts.objectives.base import Objective
from manyparts.objectives.system import System

OBJECTIVE = "behaviour_cloning"


class CloningAgent(Described):
    """A system's behaviour cloning, and the embodiment that it acts for.

    Args:
        system: The trained model and its objectives.
        info: The checkpoint's description.
        kind: The class of behaviour cloning that the agent can act with.
        embodiment: The embodiment to act for; None if the agent learned only one.
        precision: Precision of matrix products.

    Raises:
        UserError: The run learned no policy, or not for this embodiment, or the precision is none.
    """

    origin: Origin | None = None
    policy: Any
    model: Any

    def __init__(
        self,
        system: System,
        info: CheckpointInfo,
        kind: type[Objective],
        *,
        embodiment: str | None,
        precision: Precision,
    ):
        if precision not in get_args(Precision):
            raise UserError(
                f"precision is {precision!r}; choices: {', '.join(get_args(Precision))}"
            )
        policy = system.objectives[OBJECTIVE] if OBJECTIVE in system.objectives else None
        if not isinstance(policy, kind):
            raise UserError(
                f"this run learned no policy: it has no {OBJECTIVE} objective "
                "(a phase I run, or only a representation?)"
            )
        self.system, self.policy, self.model = system.eval(), policy, system.model
        self.info = info
        self.window = from_jsonable(WindowConfig, info.window)
        self.index = embodiment_index(info, embodiment)
        learned = info.embodiments[self.index]
        self.spec, self.environment, self.codec = learned.spec, learned.environment, learned.codec
        self._device = next(system.parameters()).device
        self._bf16 = precision == "bf16"

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
            f"this agent acts for several embodiments; name one of them: {first_of(learned, 5)}"
        )
    if name is not None and name not in learned:
        raise UserError(
            f"this agent was not trained for embodiment {name!r}; {closest(name, learned)}"
        )
    return info.embodiment_set.names.index(name or learned[0])
