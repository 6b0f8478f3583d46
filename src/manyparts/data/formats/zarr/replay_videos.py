"""The videos that were recorded next to a replay buffer: which frame a row has, by its time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.printing import counted
from manyparts.data.video import Timelines, read_frames

VIDEOS = "videos"
_SLACK_SECONDS = 1e-3  # between a row's time and that of its frame


class ReplayVideos:
    """Videos of each episode, videos/EPISODE/CAMERA.mp4, which begin with its first row.

    They have a rate of their own: a row has the first frame that is not before its time.

    Attributes:
        cameras: the names of the cameras.
    """

    def __init__(self, folder: Path) -> None:
        """Find the videos.

        Args:
            folder: the folder `videos`.
        """
        self.folder = folder
        folders = [child for child in folder.iterdir() if child.is_dir()]
        self._folders = {int(each.name): each for each in folders if each.name.isdecimal()}
        files = [file for each in self._folders.values() for file in each.glob("[!.]*.mp4")]
        self.cameras = sorted({file.stem for file in files})
        self._timelines = Timelines()

    def size(self, camera: str) -> tuple[int, int]:
        """(height, width) of a camera's first video. Raises UserError if it is torn."""
        files = (self._file(episode, camera) for episode in sorted(self._folders))
        return self._timelines[next(file for file in files if file.is_file())].pixels.size

    def files(self, episode: int) -> list[Path]:
        """The videos of an episode. Raises UserError if one is missing."""
        files = [self._file(episode, camera) for camera in self.cameras]
        for file in files:
            if not file.is_file():
                raise UserError(f"{file} is missing")
        return files

    def notes(self, episodes: int) -> list[str]:
        """Notes for users on videos that are not read.

        Args:
            episodes: the number of episodes.
        """
        more = sum(number >= episodes for number in self._folders)
        return [f"{VIDEOS} has {counted(more, 'episode')} more than the rows"] if more else []

    def require(self, episode: int, stamps: np.ndarray) -> None:
        """Raise UserError if an episode's videos do not reach over all of its rows."""
        for file in self.files(episode):
            self._frame_numbers(file, stamps, np.arange(len(stamps)))

    def frames(self, episode: int, camera: str, stamps: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Decode the frames of some rows.

        Args:
            episode: the episode.
            camera: the camera's name.
            stamps: the times of all of its rows in seconds, (T,).
            rows: (n,), ascending.

        Returns:
            uint8 (n, h, w, 3).

        Raises:
            UserError: naming the video that is torn, or too short.
        """
        file = self._file(episode, camera)
        numbers = self._frame_numbers(file, stamps, rows)
        different, again = np.unique(numbers, return_inverse=True)
        return read_frames(file, self._timelines[file].ticks[different])[again]

    def _frame_numbers(self, file: Path, stamps: np.ndarray, rows: np.ndarray) -> np.ndarray:
        seconds = self._timelines[file].seconds
        if not len(seconds):
            raise UserError(f"{file} has no frames")
        if (np.diff(stamps) <= 0).any():
            row = int(np.flatnonzero(np.diff(stamps) <= 0)[0])
            raise UserError(
                f"{file}: the rows' times do not grow from row {row} to {row + 1}, so that no "
                "frame belongs to them"
            )
        times = stamps[rows] - stamps[0]
        numbers = np.searchsorted(seconds, times - _SLACK_SECONDS)
        frame = (seconds[-1] - seconds[0]) / max(1, len(seconds) - 1)
        if len(late := np.flatnonzero(times > seconds[-1] + frame + _SLACK_SECONDS)):
            raise UserError(
                f"{file} ends after {seconds[-1]:.2f} s; row {rows[late[0]]} is "
                f"{times[late[0]]:.2f} s after the first one"
            )
        return np.minimum(numbers, len(seconds) - 1)

    def _file(self, episode: int, camera: str) -> Path:
        folder = self._folders.get(episode, self.folder / str(episode))
        return folder / f"{camera}.mp4"
