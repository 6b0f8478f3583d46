"""The machine around a process: cores and quotas, launchers, other processes, renderers.

`manyparts doctor` and all other commands ask here, so that they say the same.
"""
