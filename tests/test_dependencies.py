"""What the code imports is what pyproject.toml declares, and the lock holds every declared package."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
UNSEEN = {
    "einops": "OpenFlamingo's own code imports it",
    "einops-exts": "OpenFlamingo's own code imports it",
    "num2words": "processors of the transformers library import it",
    "pygments": "Snakemake's HTML report imports it",
    "spacy": "the packaged spaCy model loads it",
    "tensorboard": "torch.utils.tensorboard imports it",
    "snakemake": "run as a program",
}
"""Dependencies that no line of pipeline/ imports, and why they are there."""
NAMES = {"PIL": "pillow", "yaml": "pyyaml", "sklearn": "scikit-learn", "faiss": "faiss-cpu"}
"""Distributions of import names that several or none of the installed packages have."""
OURS = {"pipeline", "tests", "bench", "snakemake_logger_plugin_webseg"}


def declared(requirements: list[str]) -> set[str]:
    return {canonical(re.split(r"[\s\[<>=~!;]", line)[0]) for line in requirements}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(*folders: str) -> dict[str, str]:
    """Return {distribution: a file and line that imports it} of what is neither ours nor the standard library's."""
    found: dict[str, str] = {}
    known = packages_distributions()
    for path in [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for name in {name.split(".")[0] for name in names} - sys.stdlib_module_names - OURS:
                distribution = canonical(NAMES.get(name) or known.get(name, [name])[0])
                found.setdefault(distribution, f"{path.relative_to(ROOT)}:{node.lineno}")  # type: ignore[attr-defined]
    return found


def test_everything_that_is_imported_is_declared() -> None:
    main = declared(PROJECT["dependencies"])
    extras = {name: declared(lines) for name, lines in PROJECT["optional-dependencies"].items()}
    found = imported("pipeline", "snakemake_logger_plugin_webseg")
    assert {name: place for name, place in found.items() if name not in main | extras["openflamingo"]} == {}
    elsewhere = imported("tests", "bench", "profiles")
    siblings = {path.stem for folder in ("tests", "bench") for path in (ROOT / folder).rglob("*.py")}
    known = main | set().union(*extras.values()) | {canonical(name) for name in siblings}
    assert {name: place for name, place in elsewhere.items() if name not in known} == {}


def test_everything_that_is_declared_is_used() -> None:
    unused = declared(PROJECT["dependencies"]) - set(imported("pipeline", "snakemake_logger_plugin_webseg"))
    assert unused == set(UNSEEN)


def test_the_lock_holds_what_is_declared_and_nothing_that_was_dropped() -> None:
    lock = (ROOT / "envs" / "main.lock.txt").read_text()
    held = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    wanted = declared(PROJECT["dependencies"]) | declared(PROJECT["optional-dependencies"]["dev"])
    assert wanted <= held
    ours = set()
    for block in re.split(r"\n(?=[a-z0-9])", lock):
        if f"{PROJECT['name']} (pyproject.toml)" in block or f"{PROJECT['name']}:" in block:
            ours.add(block.split("==")[0])
    assert wanted <= ours, "declared, but the lock does not say that the project wants it"
