"""Every section of docs/specs that the code cites exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SPECS = {path.name: path.read_text() for path in sorted((ROOT / "docs" / "specs").glob("*_*.md"))}
_NUMBER = r"\d+(?:\.\d+){0,2}"
_CITED = re.compile(rf"(\w+_(?:wilss|methods)\.md) (?:sections? )?({_NUMBER}(?:(?:, | and | to |-){_NUMBER})*)")


def sections(text: str) -> set[str]:
    """Return the numbers of headings, and of numbered points such as `**4.9.1` and the table row `| 8.19 |`."""
    found = re.findall(rf"^(?:#+ |\**|\| ){_NUMBER}(?=[. |*])", text, re.MULTILINE)
    return {re.sub(r"^[#*| ]+", "", number) for number in found}


def citations(text: str) -> list[tuple[str, str]]:
    """Return (page, section) of every citation; of a range, its two ends."""
    flat = re.sub(r"\s*\n\s*(?:# )?", " ", text)
    return [(page, number) for page, numbers in _CITED.findall(flat) for number in re.findall(_NUMBER, numbers)]


def test_parts_of_a_citation_are_seen() -> None:
    text = "as in ciss_methods.md 4.9.2-4.9.5, web_wilss.md 7.4,\n    7.5; web_wilss.md sections 2.1 to 2.8). 3 more"
    assert citations(text) == [
        ("ciss_methods.md", "4.9.2"), ("ciss_methods.md", "4.9.5"), ("web_wilss.md", "7.4"), ("web_wilss.md", "7.5"),
        ("web_wilss.md", "2.1"), ("web_wilss.md", "2.8"),
    ]  # fmt: skip
    assert sections("## 4. Losses\n### 4.2 Weak\n**4.9.1 Map.** x\n| 8.19 | run.py |\n") == {
        "4",
        "4.2",
        "4.9.1",
        "8.19",
    }


@pytest.mark.parametrize("folder", ["pipeline", "tests", "bench"])
def test_cited_sections_exist(folder: str) -> None:
    known = {page: sections(text) for page, text in SPECS.items()}
    here = Path(__file__).name
    missing, n_cited = [], 0
    for path in sorted((ROOT / folder).rglob("*.py")):
        for page, number in citations(path.read_text()) if path.name != here else []:
            n_cited += 1
            if number not in known.get(page, set()):
                missing.append(f"{path.relative_to(ROOT)}: {page} {number}")
    assert missing == []
    assert n_cited > 50 or folder != "pipeline"


def test_pages_have_the_tables_that_tests_are_named_after() -> None:
    golden = "\n".join(path.read_text() for path in (ROOT / "tests" / "golden").glob("test_*.py"))
    ids = set(re.findall(r"def test_([A-J]\d+)_", golden))
    named = set(re.findall(r"^\| ([A-J]\d+) \|", SPECS["ciss_methods.md"], re.MULTILINE))
    assert len(ids) > 10 and ids <= named
