"""Memory freed by one batch serves the next without the kernel."""

import platform
import subprocess
import sys

import pytest

LOOP = """
import ctypes, resource, numpy
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: a huge page is one fault for 512 small ones
from pipeline.runtime.allocator import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    numpy.empty(64 << 20, dtype="u1").fill(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is tuned")
def test_freed_memory_is_not_mapped_again():
    faults = [
        int(
            subprocess.run(
                [sys.executable, "-c", LOOP.format(keep=keep)], capture_output=True, check=True, text=True
            ).stdout
        )
        for keep in (False, True)
    ]
    assert faults[1] < faults[0] / 5, faults


def test_another_allocator_is_left_alone(monkeypatch):
    from pipeline.runtime.allocator import keep_freed_memory

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()
