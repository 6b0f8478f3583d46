"""Losses, one a file: a config and an `Objective` that declares it. Nothing else has to be told."""
