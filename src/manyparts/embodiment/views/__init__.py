"""A view: what a model sees of a robot's cameras, state and actions, on reading and on acting."""
