"""An agent of manyparts as a policy of LeRobot."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from huggingface_hub import snapshot_download
from lerobot.policies.pretrained import PreTrainedPolicy
from lerobot.utils.constants import OBS_IMAGE, OBS_IMAGES, OBS_STATE
from torch import Tensor, nn

import manyparts
from lerobot_policy_manyparts.configuration_manyparts import TRAINED_BY, ManypartsConfig
from manyparts.agents.base import ActingTogether, Situation

_FILES = ("config.json", "agent/config.json", "agent/model.safetensors")


class ManypartsPolicy(PreTrainedPolicy):
    """Acts for the rows of a batch, each of which is an episode with a memory of its own.

    Args:
        config: Of the folder.
        folder: That of config.json; None makes a policy that cannot act.
    """

    config_class = ManypartsConfig
    name = "manyparts"

    def __init__(self, config: ManypartsConfig, folder: Path | None = None, **others: Any) -> None:
        super().__init__(config)
        del others  # statistics of a data set, which the agent has of its own
        if folder is None:
            raise ValueError("a policy of manyparts has weights: give --policy.path=FOLDER")
        config.validate_features()
        self.agent = manyparts.load(
            folder / config.agent, device=config.device or "cpu", embodiment=config.embodiment
        )
        self._parameter = nn.Parameter(torch.zeros(0))  # LeRobot asks a policy for its device
        self._carries: list[Any] = []

    @classmethod
    def from_pretrained(
        cls,
        pretrained_name_or_path: str | Path,
        *,
        config: ManypartsConfig | None = None,
        revision: str | None = None,
        **options: Any,
    ) -> ManypartsPolicy:
        """Load a folder, or the repository of one on the Hugging Face Hub."""
        folder = Path(pretrained_name_or_path)
        if not folder.is_dir():
            name = str(pretrained_name_or_path)
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=[*_FILES]))
        if config is None:
            config = ManypartsConfig.from_pretrained(folder, **options)
        return cls(config, folder).eval()

    def _save_pretrained(self, save_directory: Path) -> NoReturn:
        raise NotImplementedError("`manyparts export --format lerobot` writes the folder")

    def get_optim_params(self) -> NoReturn:
        raise NotImplementedError(TRAINED_BY)

    def forward(self, batch: dict[str, Tensor]) -> NoReturn:
        raise NotImplementedError(TRAINED_BY)

    def reset(self) -> None:
        """Begin episodes."""
        self._carries = []

    @torch.no_grad()
    def select_action(self, batch: dict[str, Any], **options: Any) -> Tensor:
        """Return the next action of each row (B, a), in the robot's units."""
        del options
        actions, self._carries = self._acted(self._situations(batch))
        return torch.from_numpy(np.stack(actions))

    @torch.no_grad()
    def predict_action_chunk(self, batch: dict[str, Any], **options: Any) -> Tensor:
        """Return the chunk of each row (B, k, a): the next actions up to the next decision."""
        del options
        situations = self._situations(batch)
        chunk = []
        while True:
            actions, self._carries = self._acted(situations)
            chunk.append(np.stack(actions))
            if any(self.agent.needs_observation(carry) for carry in self._carries):
                return torch.from_numpy(np.stack(chunk, axis=1))
            situations = [
                Situation(carry, None, each.prompt)
                for carry, each in zip(self._carries, situations, strict=True)
            ]

    def _acted(self, situations: list[Situation]) -> tuple[list[np.ndarray], list[Any]]:
        if isinstance(self.agent, ActingTogether):
            decided = self.agent.act_together(situations)
        else:
            decided = [
                self.agent.act(each.carry, each.observation, each.prompt, explore=False)
                for each in situations
            ]
        actions, carries = zip(*decided, strict=True)
        return list(actions), list(carries)

    def _situations(self, batch: dict[str, Any]) -> list[Situation]:
        """What the agent decides from, in each row."""
        spec = self.agent.spec
        images = {name: _pixels(_image(batch, name, len(spec.cameras))) for name in spec.cameras}
        state = None
        if spec.state_names:
            if OBS_STATE not in batch:
                raise ValueError(f"the batch has no {OBS_STATE}")
            state = batch[OBS_STATE].detach().cpu().numpy().astype(np.float32)
        rows = (
            len(next(iter(images.values()))) if images else len(state if state is not None else ())
        )
        if len(self._carries) not in (0, rows):
            raise ValueError(
                f"the batch has {rows} rows, and had {len(self._carries)}: reset first"
            )
        prompts = self._prompts(batch, rows)
        return [
            Situation(
                self._carries[row] if self._carries else None,
                {
                    "images": {name: frames[row] for name, frames in images.items()},
                    "state": np.zeros(0, np.float32) if state is None else state[row],
                },
                prompts[row],
            )
            for row in range(rows)
        ]

    def _prompts(self, batch: dict[str, Any], rows: int) -> list[Any]:
        if not self.agent.prompted:
            return [None] * rows
        said = batch.get("task")
        said = [said] * rows if isinstance(said, str) else list(said or [])
        if len(said) != rows or not all(isinstance(each, str) and each.strip() for each in said):
            raise ValueError(
                "this policy needs an instruction: LeRobot sends one as 'task', from the data set, "
                "--task, or an environment that has task_description"
            )
        return [manyparts.Prompt(each) for each in said]


def _image(batch: dict[str, Any], name: str, cameras: int) -> Tensor:
    key = f"{OBS_IMAGES}.{name}"
    if key in batch:
        return batch[key]
    if cameras == 1 and OBS_IMAGE in batch:
        return batch[OBS_IMAGE]
    have = sorted(each for each in batch if str(each).startswith(OBS_IMAGE))
    raise ValueError(f"the batch has no {key}, but {have}; --rename_map names cameras")


def _pixels(images: Tensor) -> np.ndarray:
    """uint8 (B, h, w, 3) of float (B, 3, h, w) within [0, 1]."""
    if images.is_floating_point():
        images = (images * 255).round().clamp(0, 255).to(torch.uint8)
    return images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
