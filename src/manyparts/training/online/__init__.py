"""Training in an environment: a replay that grows while the system acts and learns."""
