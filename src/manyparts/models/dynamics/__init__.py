"""Dynamics models: they predict what follows an action, and planners imagine with them."""
