"""What `webseg teach` is asked for, and everything that is wrong with it before a file is written."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.artifacts import read_json
from pipeline.datasets.readers.own import MAX_CLASS, read_classes
from pipeline.teach.given import REQUEST, Given, read_given, squeezed
from pipeline.teach.look import MIN_IMAGES, check_items, image_files

_MADE_BY = "webseg teach"
_LONGEST = 80
MAX_FORGETTING = 5.0
"""IoU points that the old classes may lose on average."""


class TeachError(ValueError):
    """A mistake in what the user asks for; the message is one line."""


@dataclass(frozen=True)
class Request:
    """Words of the command. Paths are as the user typed them, relative to the current folder."""

    classes: tuple[str, ...]
    model: str
    out: str
    like: str = ""
    check: str = ""
    max_forgetting: float = MAX_FORGETTING

    def record(self, given: Given, taught: str) -> dict[str, Any]:
        """Return the content of teach.json: by it a folder is known as ours, and as an answer to this request."""
        return {"made_by": _MADE_BY, **asdict(self), "classes": list(self.classes), "knew": list(given.names),
                "taught": taught}  # fmt: skip


def checked(request: Request) -> Given:
    """Return the model of a request that can be carried out. Raises ValueError in one line for one that cannot."""
    for option, path in (("--model", request.model), ("--like", request.like), ("--check", request.check)):
        if re.search(r"[{}\r\n\t]", path):
            raise TeachError(f"{option} {path!r} has a brace, tab or line break in it; rename it")
    if not re.fullmatch(r"[\w./+-]+", request.out):
        raise TeachError(
            f"--out {request.out!r} becomes part of many file names; use letters, digits and . _ - + / alone"
        )
    _check_max(request.max_forgetting)
    given = read_given(Path(request.model))
    _check_classes(request.classes, given)
    if request.like:
        _check_like(Path(request.like))
    if request.check:
        _check_truth(Path(request.check), [*given.names, *request.classes])
    return given


def asked_before(request: Request) -> Mapping[str, Any] | None:
    """Return teach.json of `--out` if the folder answers this request, None if there is nothing there yet.

    Raises TeachError if the folder holds anything else: it is not touched.
    """
    out = Path(request.out)
    if not out.exists():
        return None
    if not out.is_dir():
        raise TeachError(f"--out {out} is a file; name a folder that does not exist yet")
    if not any(out.iterdir()):
        return None
    if not (out / REQUEST).is_file():
        raise TeachError(f"--out {out} is not empty and was not made by {_MADE_BY}; name another folder")
    found: Mapping[str, Any] = read_json(out / REQUEST)
    asked = {**asdict(request), "classes": list(request.classes)}
    other = [key for key in ("classes", "model", "like", "check") if found.get(key) != asked[key]]
    if other:
        raise TeachError(
            f"--out {out} was made for another request ({other[0]} {found.get(other[0])!r}, now {asked[other[0]]!r}); "
            "name another folder"
        )
    return found


def _check_max(points: float) -> None:
    if not 0 <= points <= 100:
        raise TeachError(f"--max-forgetting {points} is no number of IoU points from 0 to 100")


def _check_classes(classes: Sequence[str], given: Given) -> None:
    if not classes:
        raise TeachError('no class is named; write for example: webseg teach "potted plant" --model X --out my_model/')
    known = {squeezed(name): name for name in given.names}
    asked: dict[str, str] = {}
    for name in classes:
        _check_name(name)
        key = squeezed(name)
        if key in known:
            raise TeachError(f"the model knows the class {name!r} already (as `{known[key]}`); leave it out")
        if key in asked:
            raise TeachError(f"the class {name!r} is named twice (also as {asked[key]!r}); leave one out")
        asked[key] = name
    if len(given.names) + len(classes) > MAX_CLASS + 1:
        raise TeachError(f"the model would know {len(given.names) + len(classes)} classes, masks hold {MAX_CLASS + 1}")


def _check_name(name: str) -> None:
    if any(unicodedata.category(c).startswith("C") for c in name):
        raise TeachError(f"class name {name!r} has a control character; names are words as one types into a search box")
    if name != name.strip() or not any(c.isalnum() for c in name):
        raise TeachError(f"class name {name!r} is empty or has spaces around it; names are words")
    if "/" in name or "\\" in name:
        raise TeachError(f"class name {name!r} has a slash; name one class with words, two classes as two arguments")
    if len(name) > _LONGEST:
        raise TeachError(f"class name {name[:20]!r}... has {len(name)} characters, at most {_LONGEST} are searched for")
    if name.startswith("-"):
        raise TeachError(f"class name {name!r} begins with a hyphen; is it an option? `webseg teach --help` lists them")


def _check_like(like: Path) -> None:
    if not like.is_dir():
        raise TeachError(f"--like {like} is no folder; give a folder of unlabelled images, or leave it out")
    found = len(image_files(like))
    if found < MIN_IMAGES:
        raise TeachError(f"--like {like} holds {found} images, at least {MIN_IMAGES} are needed; or leave it out")


def _check_truth(check: Path, names: Sequence[str]) -> None:
    if not check.is_dir():
        raise TeachError(f"--check {check} is no folder; give one with images/, masks/ and classes.txt")
    theirs = set(map(squeezed, read_classes(check).values()))
    check_items(check)
    if not any(squeezed(name) in theirs for name in names[1:]):
        raise TeachError(
            f"--check {check}: its classes.txt names none of the model's classes; expected {names[1]!r} ..."
        )
