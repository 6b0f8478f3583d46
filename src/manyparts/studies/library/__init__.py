"""The studies that the package declares."""
