"""Near duplicates by perceptual hash, without comparing every pair."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise


class HashIndex:
    """Finds a stored 64-bit hash within `bits` of another.

    The hash is cut into bits + 1 bands; two hashes that differ in at most `bits` bits agree in one band at
    least, so only hashes that share a band are compared.
    """

    def __init__(self, bits: int) -> None:
        self.bits = bits
        n_bands = bits + 1
        edges = [round(64 * i / n_bands) for i in range(n_bands + 1)]
        self._bands = [(low, (1 << (high - low)) - 1) for low, high in pairwise(edges)]
        self._tables: list[dict[int, list[int]]] = [defaultdict(list) for _ in self._bands]

    def add(self, phash: str) -> None:
        """Store a hash given in hex."""
        value = int(phash, 16)
        for table, (shift, mask) in zip(self._tables, self._bands, strict=True):
            table[value >> shift & mask].append(value)

    def near(self, phash: str) -> bool:
        """Return whether a stored hash differs in at most `bits` bits."""
        value = int(phash, 16)
        for table, (shift, mask) in zip(self._tables, self._bands, strict=True):
            for other in table.get(value >> shift & mask, ()):
                if (value ^ other).bit_count() <= self.bits:
                    return True
        return False
