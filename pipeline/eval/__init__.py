"""Evaluation, summary table and report. `python -m pipeline.eval --help`."""

from pipeline.metrics.confusion import ConfusionMatrix  # noqa: F401  (a public name of this stage)
from pipeline.runtime.lazy import lazy_names

STAGE_VERSION = 1

__getattr__ = lazy_names(
    __name__,
    {
        "evaluate": "evaluation",
        "write_summary": "summary",
        "write_report": "report",
    },
)
