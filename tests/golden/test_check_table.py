"""The table of checks that every run of golden tests prints."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.golden.assembled_table import entries, parse
from tests.golden.check_table import (
    CHECKS,
    WHY_MISSING,
    Row,
    assembled,
    assembled_lines,
    functions,
    ids,
    lines,
    ranges,
    rows,
    title,
    unknown,
)

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SPECIFICATIONS = Path("/work/shared/specs")


def printed(*arguments: str, cwd: Path) -> dict[str, str]:
    """The table that pytest prints, by the first word of each line."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    output = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120).stdout
    assert "checks of the specifications" in output, output
    table = output.split("checks of the specifications", 1)[1].splitlines()
    return {line.split()[0].rstrip(":"): line for line in table if line.strip()}


TOY = """
    import pytest

    def test_A1_A2_two_at_once(): pass
    @pytest.mark.parametrize("x", [1, 2])
    def test_B1_one_case_fails(x): assert x == 1
    def test_B2_right(): pass
    def test_B2_skipped(): pytest.skip("no masks here")
    def test_C1_skipped(): pytest.skip("no captions here")
    @pytest.mark.xfail(reason="the value is wrong", strict=True)
    def test_C2_expected(): assert False
    @pytest.fixture
    def broken(): raise OSError("no disk")
    def test_D1_with_fixture(broken): pass
    def test_E1_left_out(): pass
    def test_E2_T5_of_two(): pass
    def test_E2_left_out(): pass
    def test_without_an_id(): pass
"""


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The table of a folder with every kind of result."""
    folder = tmp_path_factory.mktemp("toy") / "golden"
    folder.mkdir()
    shutil.copy(HERE / "conftest.py", folder)
    (folder / "test_toy.py").write_text(textwrap.dedent(TOY))
    (folder / "test_broken.py").write_text("import nowhere\ndef test_F1_cannot_be_imported(): pass\n")
    chosen = ("-k", "not left_out", "--continue-on-collection-errors")
    return printed(*chosen, "--rootdir", str(folder.parent), "golden", cwd=folder.parent)


@pytest.mark.parametrize(
    ("check", "line"),
    [
        ("A1", "A1   pass  two at once"),
        ("A2", "A2   pass  two at once"),
        ("B1", "B1   fail  one case fails"),
        ("B2", "B2   part  [no masks here] right; skipped"),
        ("C1", "C1   skip  [no captions here] skipped"),
        ("C2", "C2   xfail [the value is wrong] expected"),
        ("D1", "D1   fail  with fixture"),
        ("E2", "E2   part  [1 of 2 tests ran] T5 of two; left out"),
        ("F1", "F1   fail  cannot be imported"),
        ("not", "not run: E1"),
        ("W51", "W51  missing: no test names it"),
    ],
)
def test_every_result_is_told(toy: dict[str, str], check: str, line: str) -> None:
    assert toy[check] == line


def test_results_add_up_to_the_checks(toy: dict[str, str]) -> None:
    counts = [int(n) for n in re.findall(r"(\d+) ", toy["checks"])]
    assert sum(counts) == len(CHECKS) == 171
    assert {check for check in toy if check in CHECKS} | {"E1"} == set(CHECKS)


def test_one_file_alone_prints_its_own_checks() -> None:
    table = printed("tests/golden/test_schedules.py", cwd=ROOT)
    assert table["J1"] == "J1   pass  poly" and table["W46"].startswith("W46  pass")
    assert " G1-G10 " in table["not"] and "J1" not in table["not"]


def test_names_of_the_tests_here_are_known_checks() -> None:
    assert unknown(HERE) == []
    named = {check for tests in functions(HERE).values() for test in tests for check in ids(test)}
    assert not named & WHY_MISSING.keys(), "a check has a test: take its reason out of WHY_MISSING"
    assert set(WHY_MISSING) <= set(CHECKS)


def test_a_reason_for_what_is_missing_is_told() -> None:
    text = lines({"A1": Row(), "A2": Row()}, reasons={"A2": "saliency is built later"})
    assert text == ["A1   missing: no test names it", "A2   missing: saliency is built later", "checks: 2 missing"]


def test_ids_and_titles() -> None:
    assert ids("test_A11_W47_golden_crops") == ["A11", "W47"]
    assert ids("test_W42_T1_shifts") == ["W42"] and title("test_W42_T1_shifts") == "T1 shifts"
    assert ids("test_aliases") == [] and ids("test_A8") == ["A8"]
    assert rows(HERE, [])["A1"].result == "not run"
    assert ranges(["A11", "A12", "B1", "B3", "B4", "W9"]) == "A11-A12 B1 B3-B4 W9"


@pytest.mark.skipif(not SPECIFICATIONS.exists(), reason="the specifications are not beside this checkout")
def test_the_list_of_checks_is_the_specifications_own() -> None:
    letters = re.findall(r"^\| ([A-J]\d+) \|", (SPECIFICATIONS / "ciss_methods.md").read_text(), re.MULTILINE)
    acceptance = (SPECIFICATIONS / "web_wilss.md").read_text().split("## 11.", 1)[1].split("## 12.", 1)[0]
    numbers = re.findall(r"^(\d+)\. ", acceptance, re.MULTILINE)
    recent = (SPECIFICATIONS / "recent_methods.md").read_text()
    methods = re.findall(r"^\| ([RFNSC]\d+) \|", recent, re.MULTILINE)
    assert (*letters, *(f"W{number}" for number in numbers), *(f"X{check}" for check in methods)) == CHECKS


@pytest.mark.skipif(not SPECIFICATIONS.exists(), reason="the specifications are not beside this checkout")
def test_the_table_of_assembled_methods_is_the_specification_s_own() -> None:
    assert entries() == parse((SPECIFICATIONS / "assembled_methods.md").read_text())


def test_every_id_of_assembled_methods_has_a_test() -> None:
    written = "".join(path.read_text() for path in HERE.glob("test_assembled_*.py"))
    kinds = {entry.kind for entry in entries()}
    assert all(f'("{kind}")' in written for kind in kinds)
    names = [entry.id for entry in entries()]
    assert len(names) == len(set(names)) == 145


def test_ids_of_assembled_methods_are_told_by_result() -> None:
    results = [("a.py::t[M-ft-1]", "pass", ""), ("a.py::u[M-ft-1]", "fail", ""), ("a.py::t[M-lwf-1]", "pass", "")]
    found = assembled(results)
    assert (found["M-ft-1"], found["M-lwf-1"], found["M-lwf-2"]) == ("fail", "pass", "not run")
    assert assembled_lines(found) == [
        "assembled fail: M-ft-1",
        "assembled pass: M-lwf-1",
        "assembled methods: 1 fail, 1 pass, 143 not run",
    ]
