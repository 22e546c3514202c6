"""Prints, after every run of golden tests, which check of the specifications passed."""

from pathlib import Path

import pytest

from tests.golden.check_table import assembled, assembled_lines, lines, rows

FOLDER = Path(__file__).parent
_RESULTS = {
    "passed": "pass",
    "failed": "fail",
    "error": "fail",
    "xpassed": "fail",
    "xfailed": "xfail",
    "skipped": "skip",
}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table if a test of this folder ran."""
    results = [
        (report.nodeid, result, _reason(report))
        for outcome, result in _RESULTS.items()
        for report in terminalreporter.stats.get(outcome, [])
        if (config.rootpath / report.nodeid.split("::")[0]).parent == FOLDER
    ]
    if results:
        terminalreporter.section("checks of the specifications")
        for line in [*lines(rows(FOLDER, results)), *assembled_lines(assembled(results))]:
            terminalreporter.write_line(line)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    if report.outcome == "skipped":
        # A skip's representation is (file, line, reason), an expected failure's reason is its own attribute.
        told = report.longrepr[2] if isinstance(report.longrepr, tuple) else getattr(report, "wasxfail", "")
        return told.removeprefix("Skipped: ")
    return ""
