"""One robot as a model sees it: its spec, statistics, scales, and the room that several share."""
