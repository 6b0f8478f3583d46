"""A dataset by LeRobot's own writer: lerobot_write.py EPISODES.npz DATASET image|video

A dataset that exists gets the episodes in addition. EPISODES.npz: state (n, d), action (n, a),
images (n, h, w, 3), episode (n,), and an instruction for each episode in `task`.
"""

import inspect
import sys
from pathlib import Path

import numpy as np
import operators  # noqa: F401
from lerobot.datasets.lerobot_dataset import LeRobotDataset

episodes = np.load(sys.argv[1])
kind, names = sys.argv[3], ["height", "width", "channels"]
features = {
    "observation.state": {
        "dtype": "float32",
        "shape": episodes["state"].shape[1:],
        "names": ["a", "b", "c"],
    },
    "action": {"dtype": "float32", "shape": episodes["action"].shape[1:], "names": ["x", "y"]},
    "observation.images.front": {
        "dtype": kind,
        "shape": episodes["images"].shape[1:],
        "names": names,
    },
}
if Path(sys.argv[2]).exists():
    dataset = LeRobotDataset("local/set", root=sys.argv[2], video_backend="torchcodec")
else:
    dataset = LeRobotDataset.create(
        "local/set",
        fps=20,
        root=sys.argv[2],
        features=features,
        use_videos=kind == "video",
        video_backend="torchcodec",
    )
separate_task = "task" in inspect.signature(LeRobotDataset.add_frame).parameters  # as before v3.0
for number, instruction in enumerate(episodes["task"].tolist()):
    for row in np.flatnonzero(episodes["episode"] == number):
        frame = {
            "observation.state": episodes["state"][row],
            "action": episodes["action"][row],
            "observation.images.front": episodes["images"][row],
        }
        if separate_task:
            dataset.add_frame(frame, task=instruction)
        else:
            dataset.add_frame(frame | {"task": instruction})
    dataset.save_episode()
if hasattr(dataset, "finalize"):
    dataset.finalize()
