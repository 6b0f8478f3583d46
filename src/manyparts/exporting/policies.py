"""What can be exported: policies, and no searches."""

from __future__ import annotations

from pathlib import Path

from manyparts.core.errors import UserError
from manyparts.core.serialisation import from_jsonable
from manyparts.models.checkpoint import load_info
from manyparts.models.configs import ModelConfig
from manyparts.models.dynamics.configs import DynamicsConfig, LatentWorldConfig
from manyparts.models.run_files import resolve


def require_policy(run: str | Path) -> None:
    """Raise UserError for an agent that acts only with a planner.

    Args:
        run: A run or checkpoint folder, or the name of an agent that comes with the package.
    """
    model = from_jsonable(ModelConfig, dict(load_info(resolve(run)).model))
    if isinstance(model, DynamicsConfig) and not isinstance(model, LatentWorldConfig):
        raise UserError(f"{run} acts only with a planner, and searches are not exported")
