"""Losses, one per file: a config and the `Objective` that declares it, registered nowhere else."""
