"""Losses that learn one vector per frame, or a policy that reads it (Brandfonbrener et al. 2023,
arXiv 2305.16985)."""
