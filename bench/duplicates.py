"""What the near-duplicate index costs: `python -m bench.duplicates [SIZE ...]`.

For each size: hashes of drawn, cropped noise images fill the index in one go; then look-ups and additions one by one
are timed, half of the hashes asked for being stored ones with up to `bits` bits flipped, which must be found.
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np

from pipeline.crawl_ingest.pool.duplicates import HashIndex

BITS, ASKED = 4, 4000


def hashes(n: int, rng: np.random.Generator) -> np.ndarray:
    """Return n hashes that, like a pHash, have 32 ones each and correlated neighbours (thresholds at the median)."""
    out = np.empty(n, np.uint64)
    weights = np.uint64(1) << np.arange(64, dtype=np.uint64)
    mixing = np.eye(64) + 0.35 * (np.eye(64, k=1) + np.eye(64, k=8))
    for start in range(0, n, 100_000):
        size = min(100_000, n - start)
        drawn = rng.standard_normal((size, 64), dtype=np.float32) @ mixing.astype(np.float32)
        ones = drawn > np.median(drawn, axis=1, keepdims=True)
        out[start : start + size] = (ones * weights).sum(axis=1, dtype=np.uint64)
    return out


def measure(size: int) -> None:
    """Print one line for an index of `size` hashes."""
    rng = np.random.default_rng(0)
    stored, fresh = hashes(size, rng), hashes(ASKED, rng)
    index = HashIndex(BITS)
    began = time.perf_counter()
    index.extend(stored)
    filled = time.perf_counter() - began
    near = stored[rng.integers(0, size, ASKED)]
    for _ in range(BITS):
        near ^= np.uint64(1) << rng.integers(0, 64, ASKED).astype(np.uint64)
    texts = [[f"{int(value):016x}" for value in values] for values in (near, fresh)]
    seconds = []
    for values in texts:
        began = time.perf_counter()
        found = sum(index.near(value) for value in values)
        seconds.append(time.perf_counter() - began)
        print(f"  found {found} of {ASKED}", end="")
    began = time.perf_counter()
    for value in texts[1]:
        index.add(value)
    seconds.append(time.perf_counter() - began)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    known, unknown, added = (1e6 * s / ASKED for s in seconds)
    print(
        f"\n{size:>10,} stored: filled in {filled:.1f} s; a look-up takes {known:.0f} us if near, "
        f"{unknown:.0f} us if not; an addition {added:.1f} us; peak memory {memory:.0f} MB"
    )


if __name__ == "__main__":
    for size in [int(word.replace("_", "")) for word in sys.argv[1:]] or [10_000, 100_000, 1_000_000]:
        measure(size)
