"""What a process that serves does with its memory."""

from __future__ import annotations

import ctypes
from contextlib import suppress

# Of glibc: https://man7.org/linux/man-pages/man3/mallopt.3.html
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MMAP_BYTES = 32 * 1024 * 1024
_KEPT_BYTES = 64 * 1024 * 1024


def keep_large_blocks() -> None:
    """Have large blocks of memory used again, not given back each time: a frame of 64 rows is one.

    To get one from the system and touch it takes longer than to send what is in it. Elsewhere than with glibc nothing
    is done.
    """
    with suppress(OSError, AttributeError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
