"""DFT*: frozen body, head and old classifiers; only the new classifier learns (arXiv 2508.04267).

The baseline a reviewer asks for: whatever a method adds must beat not touching the network at all. The
original allocates the classifiers of future classes in advance; here each is added when its step comes.
"""

from __future__ import annotations

from pipeline.methods import Method, register
from pipeline.models.initialise import balanced
from pipeline.models.network import SegmentationModel


@register
class FrozenTuning(Method):
    """Cross-entropy of the newest classifier over fixed features.

    Source: arXiv 2508.04267.
    """

    name = "dft"
    title = "DFT*"
    needs_teacher = False

    def init_classifier(self, model: SegmentationModel) -> None:
        """Start from the background's weights, and freeze everything but the newest classifier."""
        balanced(model.classifiers)
        model.requires_grad_(False)
        model.classifiers[-1].requires_grad_(True)

    def train_mode(self, model: SegmentationModel) -> None:
        """Keep every norm's statistics."""
        model.eval()
