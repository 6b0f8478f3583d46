"""What all layers pass on: records, specs, errors, storage, seeds. It imports no other layer."""
