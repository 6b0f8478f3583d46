"""A dataset through a view: its reader, which shows each episode as a model sees it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np

from manyparts.core.columns import ACTION, DONE, EXPERT_ACTION, REWARD, STATE, SUCCESS, TERMINATED
from manyparts.core.errors import UserError
from manyparts.data.formats.reader import Contents, Reader, Remote, TextReader
from manyparts.data.view_instructions import Cut, worded
from manyparts.embodiment.statistics import RunningStatistics, Statistics
from manyparts.embodiment.views.source import Source
from manyparts.embodiment.views.view import View


class ViewedReader:
    """See `formats.reader.Reader`. Nothing is written; images are resized when they are read.

    Attributes:
        path: of the dataset.
        contents: the dataset's description, as a model sees it.
        inner: the reader of the files.
        source: the robot, and the view of it.
        source_episodes: int64 (n,), the episode in the files that each episode is of.
    """

    def __init__(self, inner: Reader, view: View) -> None:
        """Describe the dataset. All numbers are read for their statistics, but no images; of a
        remote dataset nothing is read.

        Args:
            inner: the reader of the files.
            view: what to show of them.

        Raises:
            UserError: the view does not fit the data, or contradicts them.
        """
        if view.touches_numbers and isinstance(inner, Remote):
            raise UserError(
                f"{inner.url} is read as a stream, for which a view can change images and "
                "instructions, but no numbers; download it, or convert it with `manyparts data "
                "convert`"
            )
        self.inner, self.path = inner, inner.path
        try:
            self.source = Source(inner.contents.spec, view)
            self._worded = worded(inner, view)
            self.source_episodes = np.array([cut.episode for cut in self._worded.cuts], np.int64)
            self.contents = self._described(inner.contents)
            if not isinstance(inner, Remote):
                self.contents = self._measured(self.contents)
        except UserError as error:
            raise UserError(f"{inner.path}: {error}") from None

    def columns(self, index: int) -> dict[str, np.ndarray]:
        """One episode's numbers; see `Reader`."""
        cut = self._worded.cuts[index]
        return self._seen(cut, self.inner.columns(cut.episode))

    def _seen(self, cut: Cut, whole: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The numbers of a cut, of those of its whole episode."""
        length = int(self.inner.contents.lengths[cut.episode])
        own = {name: values[cut.start : cut.stop] for name, values in whole.items()}
        shown = {name: values[:: self.source.view.every] for name, values in own.items()}
        rows = cut.stop - cut.start
        state = _rows(own.get(STATE), rows)
        if STATE in own:
            shown[STATE] = self.source.states(state[:: self.source.view.every])
        for name in (ACTION, EXPERT_ACTION):
            if name in own:
                shown[name] = self.source.actions(_rows(own[name], rows), state)
        starts = np.arange(0, rows, self.source.view.every)
        if REWARD in own and rows:
            shown[REWARD] = np.add.reduceat(own[REWARD].reshape(-1), starts)
        for name in (SUCCESS, TERMINATED, DONE):
            if name in own and rows:
                any_of = np.maximum.reduceat(own[name].reshape(-1).astype(np.uint8), starts)
                shown[name] = any_of.astype(bool)
        if TERMINATED in shown and cut.stop < length:
            shown[TERMINATED] = np.zeros_like(shown[TERMINATED])
        return shown

    def frames(self, index: int, camera: str, rows: np.ndarray) -> np.ndarray:
        """Some images; see `Reader`."""
        cut = self._worded.cuts[index]
        chosen = cut.start + np.asarray(rows) * self.source.view.every
        theirs = self.source.cameras[camera]
        return self.source.images(camera, self.inner.frames(cut.episode, theirs, chosen))

    def texts(self, index: int, column: str) -> list[str | None]:
        """One episode's texts of a text column; see `TextReader`."""
        cut = self._worded.cuts[index]
        assert isinstance(self.inner, TextReader)
        return self.inner.texts(cut.episode, column)[cut.start : cut.stop : self.source.view.every]

    def files(self) -> Iterator[Path] | Sequence[Path]:
        """All files; see `Reader`."""
        return self.inner.files()

    def _described(self, inner: Contents) -> Contents:
        """The description, with the dataset's own statistics."""
        cuts, every = self._worded.cuts, self.source.view.every
        whole = np.array([cut.is_whole(inner.lengths) for cut in cuts], bool)
        ends = np.array([cut.stop == inner.lengths[cut.episode] for cut in cuts], bool)
        of = self.source_episodes
        names = [self._name_of(inner, cut) for cut in cuts] if not whole.all() else ()
        if whole.all() and len(inner.episode_names):
            names = [inner.episode_names[episode] for episode in of]
        return replace(
            inner,
            spec=self.source.viewed(),
            fps=inner.fps / every,
            tasks=self._worded.tasks,
            lengths=np.array([-(-(cut.stop - cut.start) // every) for cut in cuts], np.int64),
            episode_task=self._worded.episode_task,
            seeds=None if inner.seeds is None else np.where(whole, inner.seeds[of], -1),
            noisy=None if inner.noisy is None else inner.noisy[of],
            succeeded=None if inner.succeeded is None else inner.succeeded[of] & ends,
            terminated=None if inner.terminated is None else inner.terminated[of] & ends,
            episode_names=tuple(names),
            episodes_left_out={**inner.episodes_left_out, **self._worded.left_out},
            notes=(*inner.notes, *self._worded.notes, *self._guesses()),
        )

    def _guesses(self) -> list[str]:
        """What the view takes for granted."""
        pairs = self.source.paired_by_number
        if not pairs:
            return []
        action, index = next(iter(pairs.items()))
        state = self.source.spec.state_names[index]
        return [f"{action} and so on are taken for targets of {state} and so on, by their numbers"]

    def _name_of(self, inner: Contents, cut: Cut) -> str:
        name = inner.name_of(cut.episode)
        return name if cut.is_whole(inner.lengths) else f"{name}[{cut.start}:{cut.stop}]"

    def _measured(self, contents: Contents) -> Contents:
        """The description with statistics of the numbers, and the bounds of actions, that the model
        sees."""
        running: dict[str, RunningStatistics] = {}
        wanted = {*contents.statistics.features, STATE, ACTION, EXPERT_ACTION}
        for episode, cuts in groupby(self._worded.cuts, key=lambda cut: cut.episode):
            whole = self.inner.columns(episode)
            self._require_sound(episode, whole)
            for cut in cuts:
                for name, values in self._seen(cut, whole).items():
                    if name in wanted:
                        rows = values.reshape(len(values), -1)
                        running.setdefault(name, RunningStatistics(rows.shape[1])).update(rows)
        measured = {name: each.finish() for name, each in running.items() if each.count}
        actions = [measured[name] for name in (ACTION, EXPERT_ACTION) if name in measured]
        spec = self.source.viewed(actions)
        return replace(contents, spec=spec, statistics=Statistics(measured))

    def _require_sound(self, episode: int, columns: Mapping[str, np.ndarray]) -> None:
        length = int(self.inner.contents.lengths[episode])
        try:
            self.source.require_sound(_rows(columns.get(STATE), length), columns[ACTION])
        except UserError as error:
            name = self.inner.contents.name_of(episode)
            raise UserError(f"episode {name}: {error}") from None


class RemoteViewedReader(ViewedReader):
    """A view of a dataset that is read as a stream; see `formats.reader.Remote`.

    Attributes:
        url: the dataset's address.
    """

    def __init__(self, inner: Reader, view: View, url: str) -> None:
        super().__init__(inner, view)
        self.url = url


def through(inner: Reader, view: View) -> ViewedReader:
    """Look at a dataset through a view; see `ViewedReader`."""
    if isinstance(inner, ViewedReader):
        raise UserError(f"{inner.path} is already seen through a view; make one view of both")
    if isinstance(inner, Remote):
        return RemoteViewedReader(inner, view, inner.url)
    return ViewedReader(inner, view)


def _rows(values: np.ndarray | None, length: int) -> np.ndarray:
    """Numbers as (T, d); (T, 0) where there are none."""
    return np.zeros((length, 0)) if values is None else values.reshape(length, -1)
