"""Keep the memory that one batch frees for the next: glibc hands large tensors back to the kernel at once.

Every activation of a training step is then mapped, zeroed and unmapped anew by the kernel, a sixth of the CPU time of
MiniVOC's small network. Only the process's own allocator is tuned; no number changes.
"""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
_MIB = 1 << 20


def keep_freed_memory() -> bool:
    """Let freed memory stay with the process; return whether the allocator could be told (glibc only)."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((M_TRIM_THRESHOLD, 2047 * _MIB), (M_TOP_PAD, 64 * _MIB), (M_MMAP_THRESHOLD, 1024 * _MIB))
    return all([mallopt(name, value) == 1 for name, value in settings])
