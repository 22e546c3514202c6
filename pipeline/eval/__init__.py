"""Evaluation, summary table and report. `python -m pipeline.eval --help`."""

from pipeline.lazy import lazy_names

STAGE_VERSION = 1

__getattr__ = lazy_names(
    __name__,
    {
        "ConfusionMatrix": "confusion",
        "evaluate": "evaluation",
        "write_summary": "summary",
        "write_report": "report",
    },
)
