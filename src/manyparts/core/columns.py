"""Names of a dataset's columns, which are LeRobot's where it has one.

They are data: files hold them.
"""

STATE = "observation.state"
IMAGES = "observation.images."  # a prefix; the camera's name follows
ACTION = "action"
EXPERT_ACTION = "expert_action"  # not "action.expert": LeRobot trains on all that start with action
REWARD = "next.reward"
DONE = "next.done"
SUCCESS = "next.success"
TERMINATED = "next.terminated"  # only in datasets of environments that can terminate
