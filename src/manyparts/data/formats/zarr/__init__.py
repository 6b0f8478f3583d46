"""Zarr stores, and the replay buffers in them that Diffusion Policy and UMI write."""
