"""ROS recordings: rosbag2 in SQLite or MCAP, MCAP files, and bags of ROS 1."""
