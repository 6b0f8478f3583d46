"""Losses, one per file: an `Objective` that declares its config, registered nowhere else."""
