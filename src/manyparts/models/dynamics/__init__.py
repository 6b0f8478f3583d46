"""Models that predict what follows an action, and that planners imagine in."""
