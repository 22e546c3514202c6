"""Which room of `pipeline/` may import which; `python tests/test_rooms.py [ROOT]` prints those of a tree.

A room is a package or module directly under `pipeline/`. An arrow is any import, also one inside a function or under
`TYPE_CHECKING`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LEVELS = {
    "ground": {"config", "artifacts", "runtime", "distributed"},
    "shared knowledge": {"datasets", "losses", "methods", "metrics", "models"},
    "stages": {"captioning", "crawl_ingest", "eval", "fourier_filter", "miniweb", "pseudolabel", "saliency", "train"},
    "users' rooms": {"experiments", "export", "migration", "predict", "review", "teach"},
    "workflow": {"workflow"},
}
"""From the bottom up. A room may import every room of a lower level."""

BESIDE = {
    ("artifacts", "config"),
    ("runtime", "config"),
    ("runtime", "artifacts"),
    ("distributed", "runtime"),
    ("losses", "datasets"),
    ("methods", "datasets"),
    ("methods", "losses"),
    ("methods", "models"),
    ("review", "predict"),
    ("teach", "predict"),
    ("teach", "experiments"),
    ("export", "predict"),
}
"""Arrows allowed within a level. None is between stages: they meet in artifacts."""


@dataclass(frozen=True)
class Arrow:
    """One import of another room."""

    source: str
    target: str
    place: str
    kind: str
    """`module`, `function` for a late import, `typing` for one under TYPE_CHECKING."""

    def __str__(self) -> str:
        return f"{self.place}: {self.source} -> {self.target} ({self.kind})"


def arrows_of(root: Path) -> list[Arrow]:
    """Return every import from one room to another, in the order of files and lines."""
    found = []
    for path in sorted((root / "pipeline").rglob("*.py")):
        words = path.relative_to(root).with_suffix("").parts
        if words[1] in ("__init__", "__main__"):
            continue
        for name, line, kind in _imports(ast.parse(path.read_text()), words[:-1], "module"):
            target = _room(root, name)
            if target and target != words[1]:
                found.append(Arrow(words[1], target, f"{path.relative_to(root)}:{line}", kind))
    return found


def rooms_of(root: Path) -> dict[str, int]:
    """Return the lines of Python of every room."""
    lines: dict[str, int] = {}
    for path in (root / "pipeline").rglob("*.py"):
        room = path.relative_to(root / "pipeline").with_suffix("").parts[0]
        if room not in ("__init__", "__main__"):
            lines[room] = lines.get(room, 0) + len(path.read_text().splitlines())
    return lines


def _imports(node: ast.AST, package: tuple[str, ...], kind: str) -> Iterator[tuple[str, int, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, child.lineno, kind) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            above = package[: len(package) - child.level + 1] if child.level else ()
            module = ".".join([*above, *([child.module] if child.module else [])])
            yield from ((f"{module}.{alias.name}", child.lineno, kind) for alias in child.names)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _imports(child, package, "function")
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            yield from _imports(child, package, "typing")
        else:
            yield from _imports(child, package, kind)


def _room(root: Path, name: str) -> str:
    words = name.split(".")
    if words[0] != "pipeline" or len(words) < 2:
        return ""
    path = root / "pipeline" / words[1]
    return words[1] if path.is_dir() or path.with_suffix(".py").is_file() else ""


def circle(arrows: list[Arrow]) -> list[str]:
    """Return rooms that import each other in a circle, first and last the same; empty if there are none."""
    graph: dict[str, set[str]] = {}
    for arrow in arrows:
        graph.setdefault(arrow.source, set()).add(arrow.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def _level(room: str) -> int:
    return next(number for number, rooms in enumerate(LEVELS.values()) if room in rooms)


def forbidden(arrows: list[Arrow]) -> list[str]:
    """Return the imports that no rule allows."""
    return [
        str(arrow)
        for arrow in arrows
        if _level(arrow.target) >= _level(arrow.source) and (arrow.source, arrow.target) not in BESIDE
    ]


@pytest.fixture(scope="module")
def arrows() -> list[Arrow]:
    return arrows_of(ROOT)


def test_every_room_has_a_level() -> None:
    known = set().union(*LEVELS.values())
    assert set(rooms_of(ROOT)) <= known, "say in LEVELS where a new room stands"
    loose = {path.name for path in (ROOT / "pipeline").glob("*.py")}
    assert loose <= {"__init__.py", "__main__.py", "workflow.py"}


def test_rooms_import_downwards_alone(arrows: list[Arrow]) -> None:
    print(summary(ROOT))
    assert forbidden(arrows) == []


def test_no_stage_imports_another(arrows: list[Arrow]) -> None:
    stages = LEVELS["stages"]
    assert [str(arrow) for arrow in arrows if {arrow.source, arrow.target} <= stages] == []
    assert not any({source, target} <= stages for source, target in BESIDE)


def test_no_circle(arrows: list[Arrow]) -> None:
    assert circle(arrows) == []


def test_every_kind_of_import_is_seen(tmp_path: Path) -> None:
    for room, text in {
        "losses": "def f():\n    from ..train import engine\n",
        "train": "if TYPE_CHECKING:\n    from pipeline.eval.summary import table\n",
        "eval": "import pipeline.train.engine\nfrom pipeline import losses, __version__\n",
    }.items():
        (tmp_path / "pipeline" / room).mkdir(parents=True)
        (tmp_path / "pipeline" / room / "__init__.py").write_text(text)
    found = arrows_of(tmp_path)
    assert [str(arrow) for arrow in found] == [
        "pipeline/eval/__init__.py:1: eval -> train (module)",
        "pipeline/eval/__init__.py:2: eval -> losses (module)",
        "pipeline/losses/__init__.py:2: losses -> train (function)",
        "pipeline/train/__init__.py:2: train -> eval (typing)",
    ]
    assert len(forbidden(found)) == 3 and len(circle(found)) >= 3


def _floors(pairs: set[tuple[str, str]], rooms: set[str]) -> int:
    """Return the number of rooms on the longest way down, each circle taken for one room."""
    reach = {room: _reached(pairs, room) for room in rooms}
    group = {room: frozenset({room} | {o for o in reach[room] if room in reach[o]}) for room in rooms}
    graph: dict[frozenset[str], set[frozenset[str]]] = {group[room]: set() for room in rooms}
    for source, target in pairs:
        if group[source] != group[target]:
            graph[group[source]].add(group[target])
    height: dict[frozenset[str], int] = {}
    for node in TopologicalSorter(graph).static_order():
        height[node] = 1 + max((height[below] for below in graph[node]), default=0)
    return max(height.values())


def _reached(pairs: set[tuple[str, str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        room = waiting.pop()
        new = {target for source, target in pairs if source == room} - found
        found |= new
        waiting += new
    return found


def summary(root: Path) -> str:
    """Return the figures of a tree in one line."""
    rooms, found = rooms_of(root), arrows_of(root)
    pairs = {(arrow.source, arrow.target) for arrow in found}
    reach = {room: _reached(pairs, room) for room in rooms}
    circles = {frozenset(o for o in reach[room] if room in reach[o]) for room in rooms if room in reach[room]}
    largest = max(rooms, key=lambda room: rooms[room])
    share = 100 * rooms[largest] / sum(rooms.values())
    names = "".join(f" ({' '.join(sorted(circle))})" for circle in sorted(circles, key=sorted))
    return (
        f"{len(rooms)} rooms on {_floors(pairs, set(rooms))} floors, {len(pairs)} arrows, {len(circles)} circles{names}"
        f", largest room {largest} {share:.0f} %"
    )


if __name__ == "__main__":
    tree = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT
    seen = arrows_of(tree)
    for one in sorted({(arrow.source, arrow.target) for arrow in seen}):
        kinds = [arrow.kind for arrow in seen if (arrow.source, arrow.target) == one]
        print(f"{one[0]} -> {one[1]}: {', '.join(f'{kinds.count(kind)} {kind}' for kind in sorted(set(kinds)))}")
    print(summary(tree))
