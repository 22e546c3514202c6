"""Joint training: images and true labels of every step so far. The upper bound, not a continual method."""

from __future__ import annotations

from pipeline.train.methods import Method, register


@register
class Joint(Method):
    """Cross-entropy with all classes labelled, from the same base and for the same budget as the others."""

    name = "joint"
    title = "joint"
    sees = "all"
    needs_teacher = False
