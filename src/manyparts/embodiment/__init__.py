"""One robot as a model sees it: its spec, statistics and scales; and several robots in one batch."""
