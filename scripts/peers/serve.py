"""Draw windows with another project's loader, for `manyparts bench windows-peers`.

Usage: serve.py lerobot|robomimic|robomimic-in-memory|minari|hdf5 DATASET. Windows have six steps,
batches 32 windows in shuffled order. For each line on standard input, a number of seconds, it draws
for so long and prints windows per second.
"""

import itertools
import os
import sys
import time

os.environ["HF_HUB_OFFLINE"] = "1"

import h5py
import numpy as np
import operators  # noqa: F401
from torch.utils.data import DataLoader, Dataset

STEPS, BATCH, WORKERS = 6, 32, 2
kind, path = sys.argv[1:]
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # some loaders print


def lerobot():
    from lerobot.datasets.lerobot_dataset import LeRobotDataset, LeRobotDatasetMetadata

    metadata = LeRobotDatasetMetadata("local/set", root=path)
    features = ["observation.state", "action", *metadata.camera_keys]
    offsets = [step / metadata.fps for step in range(STEPS)]  # seconds
    return LeRobotDataset(
        "local/set",
        root=path,
        delta_timestamps=dict.fromkeys(features, offsets),
        video_backend="torchcodec",
    )


def cameras():
    """Return the cameras of a robomimic file."""
    with h5py.File(path) as file:
        return [name for name in file["data/demo_0/obs"] if name.endswith("_image")]


def robomimic(cache="low_dim"):
    import robomimic.utils.obs_utils as obs_utils
    from robomimic.utils.dataset import SequenceDataset

    obs_utils.initialize_obs_utils_with_obs_specs({"obs": {"low_dim": ["state"], "rgb": cameras()}})
    return SequenceDataset(
        hdf5_path=path,
        obs_keys=("state", *cameras()),
        dataset_keys=("actions",),
        seq_length=STEPS,
        hdf5_cache_mode=cache,
        load_next_obs=False,
    )


class Windows(Dataset):
    """Windows that start at every frame; beyond the end of an episode its last row is repeated."""

    def __init__(self, lengths):
        self.starts = np.concatenate([[0], np.cumsum(lengths)])

    def __len__(self):
        return int(self.starts[-1])

    def __getitem__(self, index):
        episode = int(np.searchsorted(self.starts, index, side="right")) - 1
        first = index - int(self.starts[episode])
        rows = slice(
            first, min(first + STEPS, int(self.starts[episode + 1] - self.starts[episode]))
        )
        missing = STEPS - (rows.stop - rows.start)
        return {
            key: np.concatenate([value, value[-1:].repeat(missing, 0)])
            for key, value in self.read(episode, rows).items()
        }


class Minari(Windows):
    """Windows of Minari, which reads whole episodes."""

    def __init__(self):
        from pathlib import Path

        import minari

        self.data = minari.MinariDataset(Path(path) / "data")
        episodes = self.data.storage.get_episode_metadata(range(self.data.total_episodes))
        super().__init__([int(episode["total_steps"]) for episode in episodes])

    def read(self, episode, rows):
        whole = self.data[episode]
        arrays = {"action": whole.actions} | whole.observations
        return {key: value[rows] for key, value in arrays.items()}


class HDF5(Windows):
    """Windows read by hand from a robomimic file: each worker opens it, each window reads rows."""

    def __init__(self):
        with h5py.File(path) as file:
            demos = sorted(file["data"], key=lambda name: int(name.split("_")[1]))
            super().__init__([file["data"][name]["actions"].shape[0] for name in demos])
        self.names, self.keys, self.file = demos, ("state", *cameras()), None

    def read(self, episode, rows):
        if self.file is None:
            self.file = h5py.File(path)["data"]
        demo = self.file[self.names[episode]]
        arrays = {key: demo["obs"][key][rows] for key in self.keys}
        return arrays | {"action": demo["actions"][rows]}


dataset = {
    "lerobot": lerobot,
    "robomimic": robomimic,
    "robomimic-in-memory": lambda: robomimic("all"),
    "minari": Minari,
    "hdf5": HDF5,
}[kind]()
workers = 0 if kind == "robomimic-in-memory" else WORKERS
loader = DataLoader(
    dataset, batch_size=BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
)
batches = itertools.chain.from_iterable(itertools.repeat(loader))
next(batches)
print("ready", file=answers)
for line in sys.stdin:
    start, seconds, drawn = time.perf_counter(), float(line), 0
    while time.perf_counter() - start < seconds:
        next(batches)
        drawn += BATCH
    print(drawn / (time.perf_counter() - start), file=answers)
