"""Near duplicates by perceptual hash without comparing every pair, and exact ones in little memory.

Multi-index hashing (Norouzi, Punjani, Fleet, CVPR 2012): a hash is cut into a few bands; of two hashes within r bits,
one band at least differs by no more than r / bands. So a look-up tries all keys that close to each of its bands.
The number of keys is fixed, and with wide bands hardly a stored hash shares a key: the cost of a look-up grows with
the logarithm of what is stored. `python -m bench.duplicates` measures it.
"""

from __future__ import annotations

import hashlib
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
BITS = 64
MIN_RECENT = 4096


class HashIndex:
    """Finds a stored 64-bit hash within `bits` of another. Stores 8 bytes per band and hash."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        # Three bands keep the look-up's keys few and the bands wide; more bits need more bands.
        n_bands = max(1, min(bits + 1, 3 + bits // 6))
        edges = [round(BITS * i / n_bands) for i in range(n_bands + 1)]
        self._bands = [_Band(low, high - low, bits // n_bands) for low, high in pairwise(edges)]
        self._recent: Hashes = np.empty(MIN_RECENT, np.uint64)
        self._n_recent = self._n_sorted = 0

    def __len__(self) -> int:
        return self._n_sorted + self._n_recent

    def add(self, phash: str) -> None:
        """Store a hash given in hex."""
        self._recent[self._n_recent] = int(phash, 16)
        self._n_recent += 1
        if self._n_recent == len(self._recent):
            self.extend(np.empty(0, np.uint64))

    def extend(self, values: Hashes) -> None:
        """Store many hashes."""
        fresh = np.concatenate([self._recent[: self._n_recent], values])
        for band in self._bands:
            band.merge(fresh)
        self._n_sorted, self._n_recent = self._n_sorted + len(fresh), 0
        # Fewer merges as the index grows: each one copies it.
        self._recent = np.empty(max(MIN_RECENT, self._n_sorted // 128), np.uint64)

    def near(self, phash: str) -> bool:
        """Return whether a stored hash differs in at most `bits` bits."""
        value = np.uint64(int(phash, 16))
        recent = self._recent[: self._n_recent]
        if (np.bitwise_count(recent ^ value) <= self.bits).any():
            return True
        return self._n_sorted > 0 and any(band.near(value, self.bits) for band in self._bands)


class _Band:
    """Hashes rotated so that the band comes first, and sorted: those that share a key lie side by side."""

    def __init__(self, low: int, width: int, radius: int) -> None:
        self._turn, self._rest = np.uint64((low + width) % BITS), np.uint64(BITS - width)
        flips = [sum(1 << bit for bit in some) for n in range(radius + 1) for some in combinations(range(width), n)]
        self._flips = np.array(flips, np.uint64) << self._rest
        self._last = (np.uint64(1) << self._rest) - np.uint64(1) if width < BITS else np.uint64(0)
        self._sorted: Hashes = np.empty(0, np.uint64)

    def merge(self, values: Hashes) -> None:
        self._sorted = _merged(self._sorted, self._rotated(values))

    def near(self, value: np.uint64, bits: int) -> bool:
        turned = self._rotated(value)
        first = (turned & ~self._last) ^ self._flips
        begins = np.searchsorted(self._sorted, first)
        ends = np.searchsorted(self._sorted, first | self._last, side="right")
        lengths = ends - begins
        if not lengths.any():
            return False
        # All ranges in one array: position k of a range that begins at b stands for b + k.
        offsets = begins - np.cumsum(lengths) + lengths
        close = self._sorted[np.repeat(offsets, lengths) + np.arange(lengths.sum())]
        return bool((np.bitwise_count(close ^ turned) <= bits).any())

    def _rotated(self, values: Hashes | np.uint64) -> Hashes:
        if not self._turn:
            return np.asarray(values)
        return np.asarray((values >> self._turn) | (values << (np.uint64(BITS) - self._turn)))


class SeenTexts:
    """A set of texts that keeps 8 bytes of each; the chance that two of ten million are confused is 3 in a million."""

    def __init__(self) -> None:
        self._recent: set[int] = set()
        self._sorted: Hashes = np.empty(0, np.uint64)

    def add(self, text: str) -> None:
        """Remember a text."""
        self._recent.add(_digest(text))
        # Fewer merges as the set grows, as above.
        if len(self._recent) >= max(MIN_RECENT, len(self._sorted) // 128):
            self._sorted = _merged(self._sorted, np.fromiter(self._recent, np.uint64))
            self._recent.clear()

    def __contains__(self, text: str) -> bool:
        digest = _digest(text)
        if digest in self._recent:
            return True
        place = self._sorted.searchsorted(np.uint64(digest))
        return bool(place < len(self._sorted) and self._sorted[place] == digest)


def _merged(held: Hashes, values: Hashes) -> Hashes:
    fresh = np.sort(values)
    return np.insert(held, np.searchsorted(held, fresh), fresh)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
