"""Edit LeRobotDatasets v3.0: delete and relabel episodes, split and merge datasets."""
