"""The engine of studies: declared stages are run, resumed and summarised in tables."""
