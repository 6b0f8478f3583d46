"""LeRobot's datasets: versions 2.0, 2.1 and 3.0 are read, 3.0 is written."""
