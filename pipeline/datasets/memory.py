"""Which images of earlier steps are kept as exemplars (the `-M` variants, ciss_methods.md 2.7 and 4.10.5)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np


def select_memory(
    candidates: Sequence[Collection[int]], classes: Sequence[int], budget: int, seed: int = 1
) -> list[int]:
    """Return the positions of at most `budget` candidates, in the order taken (SSUL, NeurIPS 2021).

    `candidates[i]` are the foreground classes of image i. Candidates and classes are shuffled, then the classes
    take turns: each takes the first remaining image that shows it. Ends early when no class finds an image.
    """
    rng = np.random.RandomState(seed)
    pool, order = list(range(len(candidates))), list(classes)
    rng.shuffle(pool)
    rng.shuffle(order)
    chosen: list[int] = []
    while len(chosen) < budget:
        before = len(chosen)
        for c in order:
            found = next((i for i in pool if c in candidates[i]), None)
            if found is not None and len(chosen) < budget:
                pool.remove(found)
                chosen.append(found)
        if len(chosen) == before:
            break
    return chosen


def exemplar_quota(budget: int, n_old_foreground: int) -> int:
    """Return images per old foreground class: ceil(budget / classes), so that a full memory may exceed the budget.

    Raises ValueError for a negative budget or without an old class.
    """
    if budget < 0:
        raise ValueError(f"the exemplar budget is {budget} images; it must not be negative")
    if n_old_foreground < 1:
        raise ValueError(f"there are {n_old_foreground} old foreground classes; exemplars need a step after the first")
    return -(-budget // n_old_foreground)
