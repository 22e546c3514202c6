"""How many exemplars a class may have in the memory released with SATS (ciss_methods.md 2.7)."""

from __future__ import annotations


def exemplar_quota(budget: int, n_old_foreground: int) -> int:
    """Return images per old foreground class: ceil(budget / classes), so that a full memory may exceed the budget.

    Raises ValueError for a negative budget or without an old class.
    """
    if budget < 0:
        raise ValueError(f"the exemplar budget is {budget} images; it must not be negative")
    if n_old_foreground < 1:
        raise ValueError(f"there are {n_old_foreground} old foreground classes; exemplars need a step after the first")
    return -(-budget // n_old_foreground)
