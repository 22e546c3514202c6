"""The project's files that are no Python: at the root of a checkout, inside the package once it is installed.

setup.py puts them into the wheel as `pipeline/shipped/`; there is one copy of each in the repository.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
"""The folder `pipeline/`."""
_INSIDE = PACKAGE / "shipped"


def installed() -> bool:
    """Return whether this is a wheel's copy of the package and not a checkout."""
    return _INSIDE.is_dir()


def shipped(name: str) -> Path:
    """Return where a file of the project is, such as `Snakefile`, `rules/train.smk` or `weights.lock`."""
    return (_INSIDE if installed() else PACKAGE.parent) / name


def home() -> Path:
    """Return where the project's own written files belong: the root of a checkout, else the current folder."""
    return Path() if installed() else PACKAGE.parent


def located(path: str) -> str:
    """Return a path of the settings so that it opens from any folder.

    Defaults name what comes with the package as `pipeline/...`, as seen from the root of a checkout; the settings keep
    that spelling wherever the package is, so that no artifact depends on it.
    """
    if path.startswith("pipeline/") and not Path(path).exists():
        return str(PACKAGE.parent / path)
    return path
