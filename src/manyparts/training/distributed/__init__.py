"""Several processes that train together: ranks, shards of weights, workers."""
