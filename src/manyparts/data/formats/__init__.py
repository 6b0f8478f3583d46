"""Datasets of every format that can be read: a package for LeRobot's, a file for each other one."""
