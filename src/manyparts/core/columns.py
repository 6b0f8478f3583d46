"""Names of columns of a dataset, which are LeRobot's where it has one. They are data: files hold
them."""

STATE = "observation.state"
IMAGES = "observation.images."
ACTION = "action"
EXPERT_ACTION = "expert_action"  # LeRobot trains on every name that begins with "action"
REWARD = "next.reward"
DONE = "next.done"
SUCCESS = "next.success"
