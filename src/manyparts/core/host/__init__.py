"""The machine around a process: cores and quotas, launchers, other processes, renderers. `doctor`
and all commands ask here, so that both say the same."""
