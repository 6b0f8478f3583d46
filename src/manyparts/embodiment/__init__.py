"""One robot as a model sees it: its spec, statistics, scales; and several in one batch."""
