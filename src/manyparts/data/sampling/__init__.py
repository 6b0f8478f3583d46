"""Windows of a dataset, of several, or of a stream, drawn in an order that is a pure function of
seed and step."""
