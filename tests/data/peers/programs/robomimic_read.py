"""All that robomimic's own SequenceDataset gives of a file, windows of two: robomimic_read.py FILE
OUT.npz"""

import sys

import numpy as np
import operators  # noqa: F401
import robomimic.utils.obs_utils as obs_utils
from robomimic.utils.dataset import SequenceDataset

obs_utils.initialize_obs_utils_with_obs_specs(
    {"obs": {"low_dim": ["state"], "rgb": ["front_image"]}}
)
dataset = SequenceDataset(
    hdf5_path=sys.argv[1],
    obs_keys=("state", "front_image"),
    dataset_keys=("actions", "rewards", "dones"),
    seq_length=2,
    hdf5_cache_mode=None,
)
items = [dataset.get_item(index) for index in range(len(dataset))]
columns = {key: np.stack([item[key] for item in items]) for key in ("actions", "rewards", "dones")}
for part in ("obs", "next_obs"):
    columns |= {
        f"{part}/{key}": np.stack([item[part][key] for item in items])
        for key in ("state", "front_image")
    }
columns["lengths"] = np.asarray([dataset._demo_id_to_demo_length[demo] for demo in dataset.demos])
np.savez(sys.argv[2], **columns)
