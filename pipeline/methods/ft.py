"""FT: plain fine-tuning on the new classes' masks. The lower bound: nothing protects the old classes."""

from __future__ import annotations

from pipeline.methods import Method, register


@register
class FineTuning(Method):
    """Cross-entropy on the step's masks (ciss_methods.md 4.1).

    Source: lower bound of MiB (CVPR 2020); ciss_methods.md 4.1.
    """

    name = "ft"
    title = "FT"
    needs_teacher = False
