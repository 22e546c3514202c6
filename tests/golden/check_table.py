"""Which check of the specifications was met by which test: the table printed after golden tests.

ciss_methods.md section 9 numbers its checks A1..J4, web_wilss.md section 11 numbers them 1..51 (here W1..W51),
recent_methods.md R1..C11 by method (here XR1..XC11: C and F are letters of ciss_methods.md too); their tests carry them
in their names. Ids of assembled_methods.md (M-ft-1) are the parameters of tests.
"""

from __future__ import annotations

import re
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.golden.assembled_table import entries

_GROUPS = {"A": 12, "B": 10, "C": 4, "D": 6, "E": 7, "F": 8, "G": 10, "H": 5, "I": 6, "J": 4, "W": 51}
_GROUPS |= {"XR": 10, "XF": 7, "XN": 9, "XS": 11, "XC": 11}
CHECKS = tuple(f"{letter}{number}" for letter, count in _GROUPS.items() for number in range(1, count + 1))
"""Every check's id, in the specifications' order."""

WHY_MISSING: dict[str, str] = {}
"""Why a check has no test yet. A check that is in neither place shows as missing without a reason."""

_ID = re.compile(r"(?:[A-JW]|X[RFNSC])\d+$")
_FUNCTION = re.compile(r"^(?:async )?def (test_\w+)\(", re.MULTILINE)
_WORST_FIRST = ("fail", "xfail", "skip", "pass")


@dataclass
class Row:
    """What is known of one check."""

    tests: list[str] = field(default_factory=list)
    """Names of the functions that carry the check's id."""
    outcomes: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))
    """Results and reasons of the functions that ran."""

    @property
    def result(self) -> str:
        """`missing`, `not run`, the worst result, or `part`: what ran passed, but some tests did not run."""
        if not self.tests:
            return "missing"
        results = {result for cases in self.outcomes.values() for result, _ in cases}
        if not results:
            return "not run"
        if results == {"pass", "skip"} or (results == {"pass"} and len(self.outcomes) < len(self.tests)):
            return "part"
        return min(results, key=_WORST_FIRST.index)

    @property
    def title(self) -> str:
        """Why tests were skipped, how many ran if not all, and the tests' names as words."""
        reasons = dict.fromkeys(f"[{reason}]" for cases in self.outcomes.values() for _, reason in cases if reason)
        ran = [f"[{len(self.outcomes)} of {len(self.tests)} tests ran]"] if len(self.outcomes) < len(self.tests) else []
        return " ".join([*reasons, *ran, "; ".join(title(test) for test in self.tests)])


def ids(test: str) -> list[str]:
    """Return the checks that a test function names: `test_A11_W47_golden_crops` names A11 and W47."""
    found = []
    for word in test.removeprefix("test_").split("_"):
        if not _ID.match(word):
            break
        found.append(word)
    return found


def title(test: str) -> str:
    """Return the rest of a test function's name as words."""
    return " ".join(test.removeprefix("test_").split("_")[len(ids(test)) :])


def functions(folder: Path) -> dict[str, list[str]]:
    """Return the test functions of every file of a folder, by file name."""
    return {path.name: _FUNCTION.findall(path.read_text()) for path in sorted(folder.glob("test_*.py"))}


def unknown(folder: Path) -> list[str]:
    """Return the test functions that name a check which no specification lists."""
    return [test for tests in functions(folder).values() for test in tests if set(ids(test)) - set(CHECKS)]


def rows(folder: Path, results: Iterable[tuple[str, str, str]]) -> dict[str, Row]:
    """Return what is known of every check.

    `results` are (node id, pass | fail | xfail | skip, reason). A node without a function is a file that could not
    be imported: every check it names has failed.
    """
    written = functions(folder)
    table = {check: Row() for check in CHECKS}
    for tests in written.values():
        for test in tests:
            for check in set(ids(test)) & table.keys():
                table[check].tests.append(test)
    for node, result, reason in results:
        file, _, rest = node.partition("::")
        test = rest.split("::")[-1].split("[")[0]
        for name in [test] if test else written.get(Path(file).name, []):
            for check in set(ids(name)) & table.keys():
                table[check].outcomes[name].append((result, reason))
    return table


def _group(check: str) -> str:
    return check.rstrip("0123456789")


def ranges(checks: Iterable[str]) -> str:
    """Return ids with neighbours drawn together: `A1-A3 A5`."""
    runs: list[list[str]] = []
    for check in checks:
        before = runs[-1][-1] if runs else ""
        if before and CHECKS.index(check) == CHECKS.index(before) + 1 and _group(check) == _group(before):
            runs[-1].append(check)
        else:
            runs.append([check])
    return " ".join(run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def lines(table: Mapping[str, Row], width: int = 120, reasons: Mapping[str, str] = WHY_MISSING) -> list[str]:
    """Return the table as text: a line per check that ran or is missing, those that did not run in one."""
    by_result: dict[str, list[str]] = defaultdict(list)
    text = []
    for check, row in table.items():
        by_result[row.result].append(check)
        if row.result not in ("missing", "not run"):
            text.append(f"{check:4s} {row.result:5s} {textwrap.shorten(row.title, width - 11, placeholder=' ...')}")
    if by_result["not run"]:
        text += textwrap.wrap("not run: " + ranges(by_result["not run"]), width, subsequent_indent="         ")
    text += [f"{check:4s} missing: {reasons.get(check, 'no test names it')}" for check in by_result["missing"]]
    text.append("checks: " + ", ".join(f"{len(checks)} {result}" for result, checks in by_result.items() if checks))
    return text


def assembled(results: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """Return the worst result of every id of assembled_methods.md, `not run` where no test ran."""
    found = {entry.id: "not run" for entry in entries()}
    for node, result, _ in results:
        name = node.rpartition("[")[2].rstrip("]")
        if name in found:
            known = [result, *([found[name]] if found[name] != "not run" else [])]
            found[name] = min(known, key=_WORST_FIRST.index)
    return found


def assembled_lines(table: Mapping[str, str], width: int = 120) -> list[str]:
    """Return the ids by result, worst first, as text; those that did not run are only counted."""
    by_result = {result: [name for name, found in table.items() if found == result] for result in _WORST_FIRST}
    text = []
    for result, names in by_result.items():
        if names:
            told = f"assembled {result}: {' '.join(names)}"
            text += textwrap.wrap(told, width, subsequent_indent="         ", break_on_hyphens=False)
    waiting = len(table) - sum(map(len, by_result.values()))
    counts = [f"{len(names)} {result}" for result, names in by_result.items() if names]
    return [*text, "assembled methods: " + ", ".join([*counts, *([f"{waiting} not run"] if waiting else [])])]
