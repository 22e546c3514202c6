"""What a reader of a method's file relies on: the paper behind every formula, and no method that hangs on another."""

import ast
import re

import pytest

from tests.conftest import ROOT

LOSSES = sorted(path for path in (ROOT / "pipeline" / "losses").glob("*.py") if path.name != "__init__.py")
METHODS = sorted(
    path for path in (ROOT / "pipeline" / "methods").glob("*.py") if re.search(r"^@register$", path.read_text(), re.M)
)
SUBCLASSES = {("web_wilss", "wilson"), ("rasp", "wilson")}
"""Web-WILSS changes WILSON's data and none of its losses (web_wilss.py); RaSP adds one loss to WILSON's (rasp.py)."""
SOURCE = re.compile(r"Source: .*(\d{4}|arXiv|no paper).*", re.S)
FORMULA = re.compile(r"(ciss_methods|web_wilss|recent_methods)\.md \d|eq\. \d|arXiv \d|no paper")


def public(path: object) -> list[ast.FunctionDef | ast.ClassDef]:
    tree = ast.parse(path.read_text())  # type: ignore[attr-defined]
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]


@pytest.mark.parametrize("path", LOSSES, ids=lambda path: path.stem)
def test_every_loss_names_paper_and_formula(path: object) -> None:
    for node in public(path):
        text = ast.get_docstring(node) or ""
        assert SOURCE.search(text) and FORMULA.search(text), f"{node.name}: no `Source: paper (year); formula`"


@pytest.mark.parametrize("path", METHODS, ids=lambda path: path.stem)
def test_every_method_names_paper_and_formula(path: object) -> None:
    (method,) = [node for node in public(path) if any(ast.unparse(d) == "register" for d in node.decorator_list)]
    text = ast.get_docstring(method) or ""
    assert SOURCE.search(text) and FORMULA.search(text), f"{method.name}: no `Source: paper (year); formula`"


def test_no_method_imports_a_sibling() -> None:
    methods = {path.stem for path in METHODS}
    assert len(methods) >= 15
    found = set()
    for path in METHODS:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in getattr(node, "names", []) if isinstance(alias, ast.alias)]
            modules = [getattr(node, "module", None) or "", *names] if isinstance(node, ast.ImportFrom) else names
            found |= {(path.stem, part) for module in modules for part in module.split(".") if part in methods}
    # `from pipeline.losses import wilson` is the module of losses, which bears a method's name.
    found -= {("wilson", "wilson"), ("ssul", "ssul")}
    assert found == SUBCLASSES, f"methods that import a sibling: {sorted(found - SUBCLASSES)}"
