"""Removes what the pipeline drew or can make again without network, and nothing else.

A folder counts as ours only if what it holds says so: a drawn data set has `about.json`, a site `index.json`, results
a protocol. A crawl of the open web, a data set that somebody downloaded and results of own data stay.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.artifacts import Layout
from pipeline.config import Config, ConfigError, load_config

DRAWN = "minivoc"
MARKS = {"data set": "about.json", "site": "index.json"}


def removable(config: Config) -> list[Path]:
    """Return the folders of an experiment that can be made again offline, outermost ones only, sorted.

    Empty for an experiment on other data than MiniVOC: its data set, crawl and results are the user's.
    """
    if config.datasets.name != DRAWN:
        return []
    layout = Layout.of(config)
    crawl = config.crawl_ingest
    found = [Path(layout.results), Path("logs") / layout.results]
    if _marked(Path(layout.dataset_root), MARKS["data set"]):
        found.append(Path(layout.dataset_root))
    # A pool of the open web took hours and other people's servers.
    if crawl.source == "openverse" and "miniweb.test" in crawl.api:
        found += [Path(layout.web()), Path("logs") / layout.web()]
        if _marked(Path(layout.site()), MARKS["site"]):
            found.append(Path(layout.site()))
    return sorted({path for path in found if path.is_dir() and _inside(path)})


def experiments(files: Iterable[Path]) -> list[Config]:
    """Return the configurations of the default and of each file laid over it; unreadable ones are left out."""
    found = [load_config(["config.yaml"])]
    for file in files:
        try:
            found.append(load_config(["config.yaml", file]))
        except ConfigError:
            continue
    return found


def clean(configs: Sequence[Config], dry_run: bool = False) -> list[str]:
    """Remove what is removable of the experiments; return a line per folder, with its size."""
    folders = sorted({path for config in configs for path in removable(config)})
    lines = []
    for folder in folders:
        lines.append(f"{_megabytes(folder):9.1f} MB  {folder}")
        if not dry_run:
            shutil.rmtree(folder)
    return lines


def everything() -> list[Path]:
    """Return the folders that hold data, results and records of any experiment, the user's included."""
    return [path for name in ("data", "results", "logs", ".snakemake") if (path := Path(name)).is_dir()]


def remove_everything(answer: str) -> list[str]:
    """Remove `everything()` if `answer` is `yes`; return a line per folder. Raises ValueError for another answer."""
    folders = [path for path in everything() if not path.is_symlink()]
    lines = [f"{_megabytes(path):9.1f} MB  {path}" for path in folders]
    if answer.strip() != "yes":
        raise ValueError(f"the answer was {answer.strip()!r}, not `yes`; nothing was removed")
    for path in folders:
        shutil.rmtree(path)
    return lines


def _marked(folder: Path, name: str) -> bool:
    return (folder / name).is_file()


def _inside(path: Path) -> bool:
    """Return whether a folder lies in the working folder, no link on the way."""
    here = Path.cwd().resolve()
    return path.resolve() == here / path and here in path.resolve().parents


def _megabytes(folder: Path) -> float:
    return sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir()) / 1e6
