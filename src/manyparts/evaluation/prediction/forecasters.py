"""Models that predict with their own predictions: loaded for a dataset, and asked about windows."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from manyparts.agents.loading import load_system
from manyparts.agents.noted import Reader
from manyparts.core.columns import STATE
from manyparts.core.errors import DatasetWarning, UserError
from manyparts.core.records import Observation
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.splits import seen_episodes
from manyparts.embodiment.codec import Codec, padded
from manyparts.evaluation.prediction.windows import Window
from manyparts.models.checkpoint import CheckpointInfo
from manyparts.models.dynamics.latent_world import LatentWorld
from manyparts.models.dynamics.state_space import WorldState
from manyparts.models.dynamics.world_model import WorldModel, step_by_step

SEEN_BY_WORLDS = 5
"""Observations that a latent world usually gets before it imagines, as in its papers' films."""


@dataclass(frozen=True)
class Foreseen:
    """What a model predicts of a window of which it saw a beginning; h predicted steps."""

    state: Float[np.ndarray, "h s"]
    """Normalised states; s is 0 if the model predicts none."""

    reward: Float[np.ndarray, "h"]
    """Rewards of the actions, in the environment's units."""

    images: dict[str, np.ndarray]
    """Camera to uint8 (t, h, w, 3): what the model drew of every step of the window, also of those
    that it saw. Empty if it predicts no images."""


@dataclass(frozen=True)
class Forecaster:
    """A run's model and embodiment."""

    run: str
    """The run's folder."""

    model: Any
    """A dynamics model, or a latent world."""

    codec: Codec
    """Between states and actions and the model's."""

    seen: np.ndarray | None
    """See `seen_episodes`."""

    learned_by_acting: bool
    """Whether the model learned from what its own agent did."""

    source: int | None
    """The dataset among those of a latent world that tells them apart."""

    @classmethod
    def load(cls, run: Any, dataset: EpisodeDataset, changes: Mapping[str, Any]) -> Forecaster:
        """The model of a run, which must fit the dataset.

        Args:
            run: a run or checkpoint folder.
            dataset: what is to be predicted.
            changes: of the model's settings.

        Raises:
            UserError: the run is of no dynamics model, or the dataset does not fit it.
        """
        system, info = load_system(run, changes)
        model = system.eval().model
        if not isinstance(model, WorldModel | LatentWorld):
            raise UserError(f"{run} is of a {type(model).__name__}, which predicts no dynamics")
        embodiment = info.embodiment_of(
            dataset.spec, f"{dataset.path} is of another embodiment than {run}"
        )
        forecaster = cls(
            str(run),
            model,
            embodiment.codec,
            seen_episodes(info.provenance, dataset),
            learned_by_acting="environment" in info.provenance,
            source=_source(run, model, info, dataset),
        )
        if forecaster.predicts_states:
            _warn_of_constants(forecaster, dataset)
        return forecaster

    @property
    def predicts_states(self) -> bool:
        """Whether the model predicts numbers of the state."""
        return not isinstance(self.model, LatentWorld) or self.model.state_head is not None

    @property
    def cameras(self) -> tuple[str, ...]:
        """Cameras that the model reads images of, and predicts them."""
        if not isinstance(self.model, LatentWorld):
            return ()
        slots = self.model.embodiments.slot_of(self.codec.spec)
        return tuple(name for name, slot in slots.items() if slot in self.model.cameras)

    @property
    def usually_seen(self) -> int:
        """Observations that the model usually gets before it predicts."""
        return SEEN_BY_WORLDS if isinstance(self.model, LatentWorld) else self.model.steps

    def foresee(self, window: Window, context: int) -> Foreseen:
        """What the model predicts after `context` actions of a window, under the real actions."""
        action = torch.from_numpy(self.codec.encode_action(window.action))
        if isinstance(self.model, LatentWorld):
            return self._imagined(self.model, window, context, action)
        state = torch.from_numpy(self.codec.encode_state(window.state[: context + 1]))
        encoded = self.model.encode(state, action[:context], window.reward[:context])
        imagination = encoded.imagine(1, torch.Generator().manual_seed(window.seed))
        observation, reward = step_by_step(imagination, action[None, context:])
        return Foreseen(observation[0].numpy(), reward[0].numpy(), {})

    @torch.inference_mode()
    def _imagined(
        self, model: LatentWorld, window: Window, context: int, action: Float[Tensor, "u a"]
    ) -> Foreseen:
        """See `foresee`. The most likely variables are taken at each step; nothing is drawn."""
        reader = Reader(model, self.codec, torch.device("cpu"))
        source = None if self.source is None else torch.tensor([self.source])
        actions = model.conditioned(padded(action, model.action_dimension), source)
        states: list[WorldState] = []
        for step in range(len(window.action) + 1):
            if step > context:
                states.append(model.imagined(states[-1], actions[step - 1 : step]))
                continue
            observation: Observation = {
                "images": {name: frames[step] for name, frames in window.images.items()},
                "state": window.state[step],
            }
            embedding = model.embed(reader.images(observation), reader.state(observation), source)
            recurrent = model.initial(embedding).recurrent
            if states:
                recurrent = model.advance(
                    states[-1].recurrent, states[-1].drawn, actions[step - 1 : step]
                )
            states.append(model.observed(recurrent, embedding))
        features = torch.cat([each.features for each in states])
        read = model.conditioned(features, source)
        ahead = read[context + 1 :]
        numbers = ahead[:, :0] if model.state_head is None else model.state_head(ahead)
        slots = model.embodiments.slot_of(self.codec.spec)
        images = {name: _pixels(model.image_heads[slots[name]](read)) for name in self.cameras}
        return Foreseen(numbers.numpy(), model.reward(ahead).numpy(), images)


def _pixels(drawn: Float[Tensor, "t c h w"]) -> np.ndarray:
    """Images as a decoder makes them, as uint8 (t, h, w, 3)."""
    return ((drawn + 0.5) * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def _source(run: Any, model: Any, info: CheckpointInfo, dataset: EpisodeDataset) -> int | None:
    """Which source of a latent world of several a dataset is; None for a model of one."""
    if not isinstance(model, LatentWorld) or not model.config.sources:
        return None
    learned = list(info.provenance.get("dataset_fingerprints", ()))
    if dataset.content not in learned:
        names = ", ".join(map(str, info.provenance.get("data", ())))
        raise UserError(
            f"{run} tells its sources apart, and {dataset.path} is none of them; predict one of "
            f"{names}"
        )
    return learned.index(dataset.content)


def _warn_of_constants(forecaster: Forecaster, dataset: EpisodeDataset) -> None:
    """Warn of each number that was constant in the model's data and moves in the dataset."""
    normaliser, here = forecaster.codec.normaliser, dataset.statistics[STATE]
    moves = normaliser.held(np.asarray(here.min)) | normaliser.held(np.asarray(here.max))
    for number in np.flatnonzero(moves):
        warnings.warn(
            f"state {dataset.spec.state_names[number]} moves here, but was always "
            f"{normaliser.mean[number]:g} in the data of {forecaster.run}, which predicts nothing "
            "of it",
            DatasetWarning,
            stacklevel=2,
        )
