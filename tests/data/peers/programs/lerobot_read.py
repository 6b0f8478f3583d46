"""All frames, tasks and statistics that LeRobot's own loader gives of datasets: lerobot_read.py
DATASET OUT.npz [DATASET OUT.npz ...]"""

import sys

import numpy as np
import operators  # noqa: F401
from lerobot.datasets.lerobot_dataset import LeRobotDataset


def read(path: str, output: str) -> None:
    dataset = LeRobotDataset("local/set", root=path, video_backend="torchcodec")
    frames = [dataset[index] for index in range(len(dataset))]
    columns = {
        key: np.stack([np.asarray(frame[key]) for frame in frames])
        for key in frames[0]
        if key != "task"
    }
    columns["task"] = np.asarray([frame["task"] for frame in frames])
    columns |= {
        f"stats/{key}/{name}": value
        for key, of in dataset.meta.stats.items()
        for name, value in of.items()
    }
    rate = dataset.fps
    windows = LeRobotDataset(
        "local/set",
        root=path,
        video_backend="torchcodec",
        delta_timestamps={"action": [step / rate for step in range(4)]},
    )
    columns["window"] = np.stack(
        [np.asarray(windows[index]["action"]) for index in range(len(windows))]
    )
    columns["window_pad"] = np.stack(
        [np.asarray(windows[index]["action_is_pad"]) for index in range(len(windows))]
    )
    np.savez(output, **columns)


for path, output in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
    read(path, output)
