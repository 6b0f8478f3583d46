"""What becomes of memory that this process frees."""

from __future__ import annotations

import contextlib
import ctypes

# Of glibc's mallopt. Larger blocks than this, its largest, come from the system and go back to it.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_KEPT, _NEVER = 32 * 2**20, 2**31 - 1


def keep_freed_memory() -> None:
    """Let the C library keep freed blocks of up to 32 MB for the next ones of this process.

    By default glibc gives them back to the system, which hands out pages of zeros again at the next
    optimiser step: 18,000 of them, a tenth of the time of a small model
    (docs/log/speed-and-scale.md, 2026-12-01). Other C libraries are left as they are.
    """
    with contextlib.suppress(OSError, AttributeError):  # macOS, musl, Windows
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
        mallopt(_TRIM_THRESHOLD, _NEVER)
