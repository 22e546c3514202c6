"""Evaluation, summary table and report. `python -m pipeline.eval --help`."""

from __future__ import annotations

from typing import Any

from pipeline.eval.confusion import ConfusionMatrix

__all__ = ["STAGE_VERSION", "ConfusionMatrix", "evaluate", "write_report", "write_summary"]

STAGE_VERSION = 1


def __getattr__(name: str) -> Any:
    if name == "evaluate":
        from pipeline.eval.evaluation import evaluate

        return evaluate
    if name == "write_summary":
        from pipeline.eval.summary import write_summary

        return write_summary
    if name == "write_report":
        from pipeline.eval.report import write_report

        return write_report
    raise AttributeError(name)
