"""Record episodes of an environment of your own, and open them as a dataset.

The environment is Gymnasium's Pendulum-v1, which this package does not know. You say what the robot
observes and does (`Spec`) and what you ask of it (`TaskEntry`). Then you add your episodes.

Takes a few seconds. You see the dataset in one line, and two commands: one checks it, one shows it
in your browser. The output folder must be new.
"""

from pathlib import Path

import gymnasium
import numpy as np

from manyparts import ActionContract, DatasetWriter, Episode, EpisodeDataset, Spec, TaskEntry

OUTPUT = Path("runs/04/pendulum")
TORQUE = ActionContract("torque", "joint", ("torque",), (-2.0,), (2.0,), control_rate_hz=20.0)
SPEC = Spec("pendulum", {"front": (64, 64)}, ("cos", "sin", "velocity"), TORQUE)
NAME, INSTRUCTION = "mine/swing-up", "swing the pole up"
TASK = TaskEntry(NAME, INSTRUCTION, paraphrases=("bring the pole to the top",))


def controller(cos: float, sin: float, velocity: float) -> float:
    """Pump energy while the pole hangs, balance it near the top."""
    if cos > 0.9:
        return float(np.clip(-12 * sin - 3 * velocity, -2, 2))
    return 2.0 if velocity * (15 - 15 * cos - velocity**2 / 2) >= 0 else -2.0


def image_of(cos: float, sin: float) -> np.ndarray:
    """The tip as a disc, where your robot would have a camera: uint8 (h, w, 3)."""
    y, x = np.mgrid[:64, :64] / 32 - 1
    disc = np.hypot(x - 0.7 * sin, y + 0.7 * cos) < 0.15
    return np.where(disc[..., None], (200, 40, 40), (240, 240, 240)).astype(np.uint8)


def record(env: gymnasium.Env, seed: int, steps: int = 200) -> Episode:
    """Row t of every array belongs together: the observation, then the action, then its reward."""
    rows, (state, _) = [], env.reset(seed=seed)
    for _ in range(steps):
        action = np.array([controller(*state)], np.float32)
        following, reward, *_ = env.step(action)
        row = {"image": image_of(*state[:2]), "state": state, "action": action}
        rows.append(row | {"reward": reward, "success": following[0] > 0.95})
        state = following
    columns = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    images = {"front": columns.pop("image")}
    expert = columns["action"]  # what imitation learns, without any noise that you add
    return Episode(NAME, INSTRUCTION, seed, images, expert_action=expert, **columns)


if __name__ == "__main__":
    env = gymnasium.make("Pendulum-v1")
    with DatasetWriter(OUTPUT, SPEC, fps=20, tasks=[TASK], environment={}) as writer:
        for seed in range(20):
            writer.add(record(env, seed))
    print(EpisodeDataset.open(OUTPUT))
    print(f"manyparts data check {OUTPUT}\nmanyparts data view {OUTPUT}")
