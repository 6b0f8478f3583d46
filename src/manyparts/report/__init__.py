"""What people look at: one self-contained HTML page of a run."""
