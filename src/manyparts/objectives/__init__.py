"""Losses, one a file. To add one: a config, a class, and a line in
`objectives.system.OBJECTIVES`."""
