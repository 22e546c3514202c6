"""`init my_data/`: check a user's data, divide it, and write its tasks and a ready experiment."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pipeline.artifacts import write_text
from pipeline.datasets import DatasetError
from pipeline.datasets.readers.base import Item, count_pixels
from pipeline.datasets.readers.own import LAYOUT, Own, read_classes
from pipeline.datasets.tasks.files import FILE, read_tasks
from pipeline.datasets.tasks.tables import Steps
from pipeline.runtime.shipped import installed

EXPERIMENT = "experiment.yaml"
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
VAL_SHARE = 0.2
SHOWN = 10
BATCH = 24

RUNS = "  runs:\n    - {method: ft}\n    - {method: wilson}     # image-level labels of the new classes\n"
WEB_RUN = "  runs:\n    - {method: web_wilss, new_images: web, filters: both, replay: true}\n"
WEB = """\
crawl_ingest:              # docs/web.md; it sends requests to the open web
  pool: {pool}
  api: ""
  user_agent: webseg     # put your own contact address here, which operators of web sites can write to
  requests_per_second: 1.0
  connections_per_host: 2
  timeout: 30.0
captioning:
  captioner: {{name: blip, model: Salesforce/blip-image-captioning-base, max_new_tokens: 40, batch_size: 16}}
"""


def init_own(root: Path, seed: int = 0) -> list[str]:
    """Write splits/, tasks.yaml and experiment.yaml into `root`; return what there is to say, line by line.

    Files that exist already are kept and checked. Raises DatasetError listing every image without a usable
    mask; nothing is written then.
    """
    root = Path(root)
    names = read_classes(root)
    items = _collect(root)
    _check_pairs(items)
    counts = count_pixels(items, max(names), "masks")
    shown = counts[:, 1:-1] > 0
    by_name = [int(c) + 1 for c in np.flatnonzero(~shown.any(axis=0))]
    if len(by_name) == len(names):
        raise DatasetError(f"no mask of {root} shows any class of classes.txt; at least one must be learnt from masks")
    lines = [f"{len(items)} images with masks, {len(names)} classes"]
    if by_name:
        listed = ", ".join(names[c] for c in by_name)
        lines.append(f"no mask shows {listed}: to be learnt from the web, in a step of their own")
    lines += _write_splits(root, items, shown, seed, by_name)
    lines += _write_tasks(root, sorted(names), by_name)
    lines += _check_task_classes(root, set(names))
    lines += _write_experiment(root, by_name)
    return [*lines, f"next: {_command(root)}"]


def _collect(root: Path) -> list[Item]:
    folder = root / "images"
    if not folder.is_dir() or not (root / "masks").is_dir():
        raise DatasetError(f"{root} needs {LAYOUT}; images/ or masks/ is not there")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not files:
        raise DatasetError(f"{folder} holds no image ({', '.join(SUFFIXES)})")
    stems = [path.stem for path in files]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1}) if len(set(stems)) < len(stems) else []
    if twice:
        raise DatasetError(f"{folder} holds {twice[0]} with two suffixes; a mask could not be assigned")
    spaced = [path.name for path in files if any(c.isspace() for c in path.name)]
    if spaced:
        raise DatasetError(f"{folder}/{spaced[0]} has a space in its name; rename it and its mask")
    return [Item(path.stem, str(path), str(root / "masks" / f"{path.stem}.png")) for path in files]


def _check_pairs(items: Sequence[Item]) -> None:
    problems = [problem for item in items if (problem := _problem(item))]
    if problems:
        rest = f"\n  and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        listed = "\n  ".join(problems[:SHOWN])
        raise DatasetError(f"{len(problems)} of {len(items)} images cannot be used:\n  {listed}{rest}")


def _problem(item: Item) -> str:
    try:
        with Image.open(item.image) as image, Image.open(item.mask) as mask:
            # The EXIF orientation turns the image when it is read, and the mask cannot follow.
            if image.getexif().get(0x0112, 1) != 1:
                return f"{item.image}: turned by its EXIF orientation; store it upright"
            if image.size != mask.size:
                return f"{item.image} has size {image.size}, its mask {mask.size}"
    except FileNotFoundError as error:
        return f"{error.filename} does not exist"
    except (UnidentifiedImageError, OSError) as error:
        return str(error)
    return ""


def divide(shown: NDArray[np.bool_], ids: Sequence[str], seed: int, share: float = VAL_SHARE) -> NDArray[np.bool_]:
    """Return which images go to validation: about `share` of every class, rarest class first.

    The draw depends on the image's id and the seed alone. A class with a single image stays in training.
    """
    draw = np.argsort([hashlib.sha256(f"{seed}/{name}".encode()).hexdigest() for name in ids])
    val, decided = np.zeros(len(ids), bool), np.zeros(len(ids), bool)
    for class_index in np.argsort(shown.sum(axis=0), kind="stable"):
        members = [i for i in draw if shown[i, class_index]]
        wanted = round(share * len(members)) or int(len(members) > 1)
        free = [i for i in members if not decided[i]]
        take = max(0, wanted - int(val[members].sum()))
        val[free[:take]] = True
        decided[members] = True
    rest = [i for i in draw if not decided[i]]
    val[rest[: round(share * len(rest))]] = True
    return val


def _write_splits(
    root: Path, items: Sequence[Item], shown: NDArray[np.bool_], seed: int, by_name: Sequence[int]
) -> list[str]:
    paths = {split: root / "splits" / f"{split}.txt" for split in ("train", "val")}
    if all(path.exists() for path in paths.values()):
        reader = Own(root)
        sizes = {split: len(reader.items(split)) for split in paths}
        return [f"kept splits/: {sizes['train']} train, {sizes['val']} val"]
    val = divide(shown, [item.image_id for item in items], seed)
    if val.all() or not val.any():
        raise DatasetError(f"{root} has {len(items)} images, too few to divide into train and val")
    for split, chosen in (("train", ~val), ("val", val)):
        rows = [items[int(i)] for i in np.flatnonzero(chosen)]
        text = [f"images/{Path(row.image).name} masks/{Path(row.mask).name}\n" for row in rows]
        write_text(paths[split], "".join(text))
    lacking = [str(c + 1) for c in np.flatnonzero(~shown[val].any(axis=0)) if c + 1 not in by_name]
    note = [f"note: no validation image shows class {', '.join(lacking)}"] if lacking else []
    return [f"wrote splits/: {int((~val).sum())} train, {int(val.sum())} val", *note]


def _write_tasks(root: Path, classes: Sequence[int], by_name: Sequence[int]) -> list[str]:
    if (root / FILE).exists():
        return [f"kept {FILE}: {', '.join(read_tasks(root))}"]
    tasks = tasks_by_name(classes, by_name) if by_name else default_tasks(max(classes))
    text = ["# One task per line: a list of steps, each a list of class ids; the first step begins with 0.\n"]
    text += [f"{json.dumps(name)}: {steps}\n" for name, steps in tasks.items()]
    write_text(root / FILE, "".join(text))
    return [f"wrote {FILE}: {', '.join(tasks)}"]


def default_tasks(last: int) -> dict[str, Steps]:
    """Return tasks over classes 0..last: all at once, the last class new, and the second half new."""
    tasks = {"offline": [list(range(last + 1))]}
    if last > 1:
        tasks[f"{last - 1}-1"] = [list(range(last)), [last]]
    if last > 3:
        half = last // 2 + last % 2
        tasks[f"{half}-{last - half}"] = [list(range(half + 1)), list(range(half + 1, last + 1))]
    return tasks


def tasks_by_name(classes: Sequence[int], by_name: Sequence[int]) -> dict[str, Steps]:
    """Return the task of classes that no mask shows: those that masks show first, then all others at once."""
    shown = [c for c in classes if c not in by_name]
    return {f"{len(shown)}-{len(by_name)}web": [[0, *shown], list(by_name)]}


def _check_task_classes(root: Path, known: set[int]) -> list[str]:
    for task, steps in read_tasks(root).items():
        unknown = sorted({c for step in steps for c in step} - known - {0})
        if unknown:
            raise DatasetError(
                f"{root / FILE}: task `{task}` names class {unknown[0]}, classes.txt has 1..{max(known)}"
            )
    return []


def _write_experiment(root: Path, by_name: Sequence[int]) -> list[str]:
    path = root / EXPERIMENT
    if path.exists():
        return [f"kept {path.name}"]
    tasks = read_tasks(root)
    task = next((name for name in reversed(list(tasks)) if len(tasks[name]) > 1), next(iter(tasks)))
    reader = Own(root)
    items = reader.items("train")
    shown = reader.presence("train", items)
    from_web = [set(step) <= set(by_name) for step in tasks[task]]
    sizes = [reader.select(shown, task, step, "overlap").size for step, web in enumerate(from_web) if not web]
    smallest = min(sizes)
    if not smallest:
        raise DatasetError(f"a step of task `{task}` has no training image; edit {FILE} or add images")
    batch = min(BATCH, int(smallest))
    # The name becomes a folder that commands of the workflow name without quotes.
    name = re.sub(r"[^\w.-]+", "_", root.resolve().name)
    text = (
        f"# {_command(root)}\n"
        f"experiment:\n  name: {json.dumps(name)}\n{WEB_RUN if any(from_web) else RUNS}"
        f"datasets: {{name: own, root: {json.dumps(str(root))}, task: {json.dumps(task)}, setting: overlap}}\n"
        f"train:\n  base: {{batch_size: {batch}}}\n  step: {{batch_size: {batch}}}\n"
        f"{WEB.format(pool=json.dumps(name)) if any(from_web) else ''}"
    )
    write_text(path, text)
    return [f"wrote {path.name}: task {task}, batches of {batch}"]


def _command(root: Path) -> str:
    start = "webseg run" if installed() else "snakemake --cores 2 --configfile"
    return f"{start} {shlex.quote(str(root / EXPERIMENT))}"
