"""A dataset by Minari's own storage: minari_write.py EPISODES.npz DATASET hdf5|arrow|parquet
jpeg|raw

EPISODES.npz: for each episode k the arrays k/hand, k/pixels, k/count (T + 1), k/actions and
k/rewards (T).
"""

import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage

episodes = np.load(sys.argv[1])
count = 1 + max(int(name.split("/")[0]) for name in episodes.files)
folder = Path(sys.argv[2])
folder.mkdir()
spaces = {
    "hand": gym.spaces.Box(-9, 9, (3,), np.float64),
    "pixels": gym.spaces.Box(0, 255, episodes["0/pixels"].shape[1:], np.uint8),
    "count": gym.spaces.Discrete(5),
}
storage = MinariStorage.new(
    folder,
    gym.spaces.Dict(spaces),
    gym.spaces.Box(-1, 1, (2,), np.float32),
    data_format=sys.argv[3],
    jpeg_encoding=sys.argv[4] == "jpeg",
)
buffers = []
for number in range(count):
    own = {name: episodes[f"{number}/{name}"] for name in (*spaces, "actions", "rewards")}
    steps = len(own["actions"])
    buffers.append(
        EpisodeBuffer(
            id=number,
            seed=number + 7,
            options=None,
            observations={name: own[name] for name in spaces},
            actions=own["actions"],
            rewards=own["rewards"].tolist(),
            terminations=[*[False] * (steps - 1), True],
            truncations=[False] * steps,
            infos={"success": np.arange(steps + 1) == steps},
        )
    )
storage.update_episodes(buffers)
storage.update_metadata({"dataset_id": "a/b-v0", "minari_version": "0.5.4"})
