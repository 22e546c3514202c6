"""Evaluation, summary table and report. `python -m pipeline.eval --help`."""

from pipeline.confusion import ConfusionMatrix as ConfusionMatrix
from pipeline.lazy import lazy_names

STAGE_VERSION = 1

__getattr__ = lazy_names(
    __name__,
    {
        "evaluate": "evaluation",
        "write_summary": "summary",
        "write_report": "report",
    },
)
