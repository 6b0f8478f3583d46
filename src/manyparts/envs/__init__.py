"""Environments by name, "suite/task": see `registry`."""
