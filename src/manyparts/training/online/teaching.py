"""Teachers and sources of an online run: from the folders that a user names to its model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.agents.noted import Reader, noted, shapes_of
from manyparts.core.arguments import expect
from manyparts.core.errors import UserError
from manyparts.core.printing import counted, say
from manyparts.core.progress import progress_bar
from manyparts.core.serialisation import from_jsonable
from manyparts.core.spec import Spec
from manyparts.data.dataset import EpisodeDataset
from manyparts.data.sampling.mixture import numbered
from manyparts.data.sampling.replay import Replay
from manyparts.embodiment.codec import Codec
from manyparts.embodiment.statistics import Statistics
from manyparts.models.checkpoint import CheckpointInfo, load_info, read_weights
from manyparts.models.configs import ModelConfig
from manyparts.models.dynamics.configs import LatentWorldConfig, TaughtWorldConfig, TeacherConfig
from manyparts.models.dynamics.taught_world import TaughtWorld
from manyparts.models.run_files import WEIGHTS

_UNBOUNDED = 10**12  # frames of a source, all of which are kept


@dataclass(frozen=True)
class TeacherRun:
    """A checkpoint of a world model that teaches."""

    folder: Path
    """The checkpoint."""

    info: CheckpointInfo
    """Its description."""

    world: LatentWorldConfig
    """Its sizes."""

    names: tuple[str, ...]
    """Names of its sources: those of its datasets' folders."""

    @classmethod
    def open(cls, folder: Path) -> TeacherRun:
        """Read what a checkpoint is.

        Raises:
            UserError: It is no world model.
        """
        info = load_info(folder)
        model = from_jsonable(ModelConfig, dict(info.model))
        if not isinstance(model, LatentWorldConfig):
            raise UserError(
                f"{folder} is a {type(model).__name__.removesuffix('Config')}, which cannot teach; "
                "train teachers with vid2act/teachers-laptop"
            )
        data = [Path(location).name for location in info.provenance.get("data", ())]
        count = max(1, model.sources)
        names = tuple(data) if len(data) == count else tuple(map(str, range(count)))
        return cls(folder, info, model, names)

    def statistics(self, spec: Spec, environment: str) -> Statistics:
        """The scales by which this teacher sees the states of an environment.

        Args:
            spec: The environment's embodiment.
            environment: Its name, for the error.

        Raises:
            UserError: It learned from states of another embodiment.
        """
        complaint = f"{environment} has states of another embodiment than the teacher {self.folder}"
        return self.info.embodiment_of(spec, complaint).statistics

    def config(
        self, spec: Spec, environment: str, scales: Statistics, student: LatentWorldConfig
    ) -> TeacherConfig:
        """The config of the teacher in its student's model.

        Args:
            spec: The student's embodiment.
            environment: Its environment's name, for errors.
            scales: By which the student's states are normalised.
            student: The student's model.

        Raises:
            UserError: It cannot see what the environment shows, or what its student sees.
        """
        for kind, other in (("images", "state"), ("state", "images")):
            if self.world.sees in (kind, "both") and student.sees == other:
                raise UserError(
                    f"the teacher {self.folder} sees {self.world.sees}, and its student only "
                    f"{student.sees}; set --model.sees {self.world.sees}"
                )
        embodiments = self.info.embodiment_set
        seen = {} if self.world.sees == "state" else embodiments.slots
        own = list(spec.cameras.values())[: len(seen)]
        if list(seen.values()) != own:
            raise UserError(
                f"{environment} shows images of {_sizes(own)}, the teacher {self.folder} sees "
                f"{_sizes(list(seen.values()))}; choose --cameras and --image-size accordingly"
            )
        if seen:
            self._require_order(spec, environment)
        scale: tuple[float, ...] = ()
        shift: tuple[float, ...] = ()
        state = 0 if self.world.sees == "images" else embodiments.state_dimension
        if state:
            seen_as = Codec.of(spec, scales).normaliser
            taught_as = Codec.of(spec, self.statistics(spec, environment)).normaliser
            if seen_as != taught_as:
                factor = seen_as.scale / taught_as.scale
                offset = (np.asarray(seen_as.mean) - np.asarray(taught_as.mean)) / taught_as.scale
                if taught_as.low:
                    # What never moved in its data was always its mean there: 0.
                    moves = ~np.isfinite(taught_as.low)
                    factor, offset = factor * moves, offset * moves
                scale, shift = tuple(factor.tolist()), tuple(offset.tolist())
        return TeacherConfig(
            world=self.world,
            names=self.names,
            cameras=seen,
            state=state,
            action=embodiments.action_dimension,
            scale=scale,
            shift=shift,
            actions=self._own_actions(),
        )

    def _own_actions(self) -> tuple[int, ...]:
        """Numbers of the actions of each source; empty where they are equal or not recorded."""
        sizes = {each.spec.embodiment: each.spec.action.dimension for each in self.info.embodiments}
        named = self.info.provenance.get("data_embodiments", ())
        own = tuple(sizes.get(name, 0) for name in named)
        return own if len(own) == len(self.names) and all(own) and len(set(own)) > 1 else ()

    def _require_order(self, spec: Spec, environment: str) -> None:
        """Compare the names of cameras with those that the teacher saw. It reads them by position.

        Raises:
            UserError: The environment shows the same cameras, in other places.
        """
        for each in self.info.embodiments:
            seen, own = tuple(each.spec.cameras), tuple(spec.cameras)
            if own[: len(seen)] == seen:
                continue
            if set(seen) <= set(own):
                raise UserError(
                    f"{environment} shows the cameras {', '.join(own)}, and the teacher "
                    f"{self.folder} reads {', '.join(seen)} in this order; choose --cameras "
                    f"{' '.join([*seen, *(name for name in own if name not in seen)])}"
                )
            say(
                f"the teacher {self.folder} learned from the cameras {', '.join(seen)} of "
                f"{each.spec.embodiment}, and now reads {', '.join(own[: len(seen)])} of "
                f"{environment}",
                error=True,
            )


def with_teachers(
    model: ModelConfig, teachers: Sequence[TeacherRun], spec: Spec, environment: str, *, scales: Any
) -> ModelConfig:
    """The model's config with its teachers.

    Args:
        model: A preset's.
        teachers: Their runs.
        spec: The student's embodiment.
        environment: Its environment's name, for errors.
        scales: By which the student's states are normalised.

    Raises:
        UserError: The model takes no teachers and has some, or the other way round; or one cannot
            see what the environment shows.
    """
    if not isinstance(model, TaughtWorldConfig):
        if teachers:
            raise UserError("this preset takes no teachers; use one such as vid2act/laptop")
        return model
    if model.teachers and not teachers:
        return model
    if not teachers:
        raise UserError(
            "missing --teachers, runs of vid2act/teachers-laptop on the sources' datasets"
        )
    configs = [each.config(spec, environment, scales, model) for each in teachers]
    # Metrics and `relevance` name teachers, so two folders of one name must not be one teacher.
    names = iter(numbered([name for each in configs for name in each.names]))
    configs = [replace(each, names=tuple(next(names) for _ in each.names)) for each in configs]
    return replace(model, teachers=tuple(configs))


def load_teachers(model: object, teachers: Sequence[TeacherRun]) -> None:
    """Copy the teachers' weights into a student's model, unless its teachers are to be random; of
    one without teachers, do nothing."""
    if not isinstance(model, TaughtWorld) or model.config.random_teachers:
        return
    for run, module in zip(teachers, model.teachers.filters, strict=True):
        weights = read_weights(run.folder / WEIGHTS)
        module.load_state_dict({name: weights[f"model.{name}"] for name in module.state_dict()})


def open_sources(
    folder: Path, datasets: Sequence[EpisodeDataset], model: object, codecs: Sequence[Codec]
) -> list[Replay]:
    """The sources' episodes as replays, with what the teachers make of each step.

    They are written once; an interrupted call begins the unfinished one again.

    Args:
        folder: Where they lie, in the run.
        datasets: Of the sources.
        model: The student's model, on any device.
        codecs: Of each source, as the student sees it.

    Raises:
        UserError: The disk is full, or a dataset is torn.
    """
    shapes = shapes_of(model) if isinstance(model, TaughtWorld) else {}
    replays = []
    total = sum(dataset.num_episodes for dataset in datasets)
    with progress_bar("reading the sources", total) as bar:
        done = 0
        for number, (dataset, codec) in enumerate(zip(datasets, codecs, strict=True)):
            replay = Replay(
                folder / str(number), codec.spec, max_frames=_UNBOUNDED, recorded=shapes
            )
            if replay.num_added != dataset.num_episodes:
                replay.truncate(0)
                for episode in dataset:
                    replay.add(episode, recorded=_notes(model, episode, codec))
                    done += 1
                    bar.show(done, "")
            replays.append(replay)
    return replays


def require_matching(
    teachers: Sequence[TeacherRun],
    datasets: Sequence[EpisodeDataset],
    *,
    replays: bool,
    windows: int,
) -> None:
    """Require that the i-th source is what the i-th teacher learned from.

    Args:
        teachers: In the order in which they were named.
        datasets: The sources, likewise.
        replays: Whether sources' actions are learned, which needs sources.
        windows: How many windows of sources each batch has, which needs sources, too.

    Raises:
        UserError: They do not match.
    """
    names = sum((each.names for each in teachers), ())
    learned_from = "at least 1: the sources' actions are learned from these windows"
    expect("online.source_windows", windows, windows > 0 or not replays, learned_from)
    if replays and not datasets:
        raise UserError(
            f"missing --sources, the datasets of the teachers in their order: {', '.join(names)}"
        )
    if windows and not datasets:
        raise UserError(
            f"missing --sources, datasets of other tasks: {counted(windows, 'window')} of each "
            "batch are theirs; name some, or set online.source_windows to 0"
        )
    if not teachers or not datasets:
        return
    if len(datasets) != len(names):
        raise UserError(
            f"{len(datasets)} sources for {len(names)} teachers; name the teachers' datasets in "
            f"their order: {', '.join(names)}"
        )
    learned: list[str] = []
    for each in teachers:
        learned += each.info.provenance.get("dataset_fingerprints", ())
    for dataset, fingerprint, name in zip(datasets, learned, names, strict=False):
        if dataset.content != fingerprint:
            raise UserError(
                f"{dataset.location} is not what the teacher {name} learned from; name the "
                f"teachers' datasets in their order: {', '.join(names)}"
            )


def _notes(model: object, episode: Any, codec: Codec) -> Mapping[str, np.ndarray]:
    if not isinstance(model, TaughtWorld):
        return {}
    return noted(episode, model, Reader(model, codec, next(model.parameters()).device))


def _sizes(sizes: Sequence[tuple[int, int]]) -> str:
    return ", ".join(f"{height}x{width}" for height, width in sizes) or "no images"
