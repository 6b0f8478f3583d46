"""All that Minari's own loader gives of a dataset: minari_read.py DATASET OUT.npz"""

import sys
from pathlib import Path

import minari
import numpy as np

columns = {}
dataset = minari.MinariDataset(Path(sys.argv[1]) / "data")
for episode in dataset.iterate_episodes():
    columns |= {f"{episode.id}/{name}": value for name, value in episode.observations.items()}
    for name in ("actions", "rewards", "terminations", "truncations"):
        columns[f"{episode.id}/{name}"] = getattr(episode, name)
assert dataset.total_steps == sum(
    len(value) for name, value in columns.items() if name.endswith("/actions")
)
np.savez(sys.argv[2], **columns)
