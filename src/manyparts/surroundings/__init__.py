"""What a process finds around itself: cores, caches, locks, other processes, a renderer. `doctor` and all commands ask
here, so that both say the same."""
