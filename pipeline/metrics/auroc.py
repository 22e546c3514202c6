"""Area under the ROC curve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def auroc(positive: NDArray[np.floating], negative: NDArray[np.floating]) -> float:
    """Return the chance that a positive scores higher than a negative, ties counted half."""
    from sklearn.metrics import roc_auc_score

    if not len(positive) or not len(negative):
        return float("nan")
    truth = np.r_[np.ones(len(positive)), np.zeros(len(negative))]
    return float(roc_auc_score(truth, np.r_[positive, negative]))
