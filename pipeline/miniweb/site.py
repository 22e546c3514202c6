"""The mini web as files: drawn images on several hosts, what a search engine knows of them, and the truth.

The truth (which classes an image really shows, its style, its fault) is written apart and read by the
report alone.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

from pipeline.artifacts import TRUTH, atomic_dir, read_json, write_json, write_table
from pipeline.artifacts.rows import TruthRow
from pipeline.config import MiniWeb
from pipeline.datasets.protocol_file import read_protocol
from pipeline.miniweb.drawing import CLASS_NAMES, STYLES, describe, draw_scene, sample_class_ids
from pipeline.miniweb.drawing.captions import word_for
from pipeline.miniweb.faults import FAULTS, LISTED_ONCE
from pipeline.miniweb.minivoc import SIZES
from pipeline.runtime.progress import Progress

HOSTS = ("photos.miniweb.test", "cdn.miniweb.test", "blog.miniweb.test")
LICENCES = ("by", "by-sa", "cc0", "by-nc")
_TAG = 0x51FE


@dataclass(frozen=True)
class Plan:
    """What an address will serve, decided before anything is drawn."""

    number: int
    kind: str
    query_class: int
    wrong: bool = False
    style: str = "photo"
    fault: str = ""
    copy_of: int = -1
    near: bool = False
    evaluation: str = ""


@dataclass
class Entry:
    """What the search engine and the server know of an address."""

    url: str
    host: str
    file: str
    fault: str
    title: str
    tags: list[str] = field(default_factory=list)
    licence: str = "by"
    creator: str = ""
    rank: float = 0.0
    width: int = 0
    height: int = 0


def build_site(root: Path, settings: MiniWeb, protocols: Sequence[Path]) -> None:
    """Write images/, index.json and truth.parquet under `root`, atomically and deterministically.

    `protocols` of all steps give base classes (step 0), new classes and the evaluation images, of which
    copies are planted.
    """
    base, new, evaluation = _facts(protocols)
    plans = _plant_missing(list(_plan(settings, base, new, evaluation)), settings)
    progress = Progress("mini web", len(plans))
    entries, truths = [], []
    with atomic_dir(root) as folder:
        (folder / "images").mkdir()
        with ProcessPoolExecutor(2) as pool:
            for entry, truth in pool.map(partial(_make, folder, settings.seed, plans), plans, chunksize=32):
                entries.append(asdict(entry))
                truths.append(truth)
                progress.update()
        write_json(folder / "index.json", entries)
        write_table(folder / "truth.parquet", _with_ids(truths, protocols[0]), TRUTH)


def _with_ids(truths: list[TruthRow], protocol: Path) -> list[TruthRow]:
    """Return the truth in the protocol's class ids; drawn classes that it has no id for are left out."""
    ids = {drawn: class_id for class_id, drawn in drawn_classes(read_protocol(protocol).class_names).items()}
    return [
        {
            **truth,
            "query_class": ids[truth["query_class"]],
            "class_ids": [ids[c] for c in truth["class_ids"] if c in ids],
        }
        for truth in truths
    ]


def _facts(protocols: Sequence[Path]) -> tuple[list[int], list[int], list[str]]:
    loaded = sorted(map(read_protocol, protocols), key=lambda protocol: protocol.step)
    steps = loaded[0].classes_per_step
    drawn = drawn_classes(loaded[0].class_names)
    base = [drawn[c] for c in steps[0] if c]
    new = [drawn[c] for classes in steps[1:] for c in classes]
    return base, new, [row.image for row in loaded[0].val]


def drawn_classes(names: Mapping[int, str]) -> dict[int, int]:
    """Return by class id of a protocol the class that is drawn, matched by name.

    Raises ValueError for a class that the mini web has no drawing of.
    """
    known = {name: number for number, name in enumerate(CLASS_NAMES)}
    drawn = {}
    for class_id, name in names.items():
        number = known.get("".join(name.lower().split()))
        if not number:
            raise ValueError(f"the mini web draws no `{name}`; it has {', '.join(CLASS_NAMES[1:])}")
        drawn[class_id] = number
    return drawn


def _plan(settings: MiniWeb, base: Sequence[int], new: Sequence[int], evaluation: Sequence[str]) -> Iterator[Plan]:
    rng = np.random.default_rng((_TAG, settings.seed))
    wanted = [("new", c, settings.images_per_new_class) for c in new]
    wanted += [("base", c, settings.images_per_base_class) for c in base]
    number = 0
    faults = list(LISTED_ONCE)
    for kind, class_id, count in wanted:
        first = number
        for _ in range(count):
            style = str(rng.choice(STYLES[1:])) if rng.random() < settings.off_style else "photo"
            wrong = bool(rng.random() < settings.wrong_class)
            fault = ""
            if rng.random() < settings.faults:
                fault = faults.pop() if faults else str(rng.choice(FAULTS))
            yield Plan(number, kind, class_id, wrong, style, fault)
            number += 1
        for _ in range(round(count * settings.duplicates)):
            source = int(rng.integers(first, first + count))
            if rng.random() < 0.3 and evaluation:
                image = str(evaluation[int(rng.integers(len(evaluation)))])
                yield Plan(number, kind, class_id, evaluation=image)
            else:
                yield Plan(number, kind, class_id, copy_of=source, near=bool(rng.random() < 0.5))
            number += 1


def _plant_missing(plans: list[Plan], settings: MiniWeb) -> list[Plan]:
    # A small site or a small share of faults would leave kinds out; every kind must be met once.
    present = {plan.fault for plan in plans}
    missing = [fault for fault in LISTED_ONCE if fault not in present] if settings.faults else []
    free = [p.number for p in plans if not p.fault and p.copy_of < 0 and not p.evaluation]
    chosen = np.random.default_rng((_TAG, settings.seed, 3)).permutation(free)
    planted = {int(number): fault for number, fault in zip(chosen, missing, strict=False)}
    return [replace(plan, fault=planted.get(plan.number, plan.fault)) for plan in plans]


def _make(folder: Path, seed: int, plans: Sequence[Plan], plan: Plan) -> tuple[Entry, TruthRow]:
    origin = plans[plan.copy_of] if plan.copy_of >= 0 else plan
    rng = np.random.default_rng((_TAG, seed, 1, plan.number))
    data, title, classes, misleading, size = _content(seed, plan, origin)
    host = "private.miniweb.test" if plan.fault == "robots" else HOSTS[int(rng.integers(len(HOSTS)))]
    host = "broken.miniweb.test" if plan.fault == "robots_broken" else host
    name = f"{plan.number:05d}.jpg"
    (folder / "images" / name).write_bytes(data)
    hidden = "private/" if plan.fault == "robots" else ""
    entry = Entry(
        url=f"http://{host}/{hidden}{name}",
        host=host,
        file=name,
        fault=plan.fault,
        title=title,
        tags=[CLASS_NAMES[plan.query_class]],
        licence=str(rng.choice(LICENCES)),
        creator=f"artist {int(rng.integers(400))}",
        rank=round(float(rng.random() + (0.5 if plan.wrong else 0.0)), 6),
        width=size[0],
        height=size[1],
    )
    truth: TruthRow = {
        "url": entry.url,
        "kind": plan.kind,
        "query_class": plan.query_class,
        "class_ids": classes,
        "style": origin.style,
        "fault": plan.fault,
        "duplicate_of": "evaluation" if plan.evaluation else str(plan.copy_of) if plan.copy_of >= 0 else "",
        "alt_is_misleading": misleading,
    }
    return entry, truth


def _content(seed: int, plan: Plan, origin: Plan) -> tuple[bytes, str, list[int], bool, tuple[int, int]]:
    if plan.evaluation:
        with Image.open(plan.evaluation) as stored:
            copied = stored.convert("RGB").resize((round(stored.width * 1.2), round(stored.height * 1.2)))
        return _jpeg(copied, 90), CLASS_NAMES[plan.query_class], [], True, copied.size
    # A copy draws its original again: the same generator gives the same picture.
    rng = np.random.default_rng((_TAG, seed, 2, origin.number))
    main = _other_class(rng, origin.query_class) if origin.wrong else origin.query_class
    # Results of a class query show the class; several objects are commoner among the old classes, whose
    # images are found again by caption.
    classes = sample_class_ids(rng, main) if origin.kind == "base" or rng.random() < 0.35 else [main]
    if origin.wrong:
        classes = [c for c in classes if c != origin.query_class]
    scene = draw_scene(rng, classes, size=SIZES[int(rng.integers(len(SIZES)))], style=origin.style)
    honest = describe(scene, rng)
    draw = rng.random()
    misled = f"{word_for(rng, origin.query_class)} {int(rng.integers(1, 999))}"
    title = misled if origin.wrong else "" if draw < 0.15 else honest
    quality = int(rng.integers(86, 96))
    image = _nearly(scene.image, np.random.default_rng((_TAG, plan.number))) if plan.near else scene.image
    data = _jpeg(image, 85 if plan.near else quality)
    return data, title, list(scene.class_ids), origin.wrong, image.size


def _other_class(rng: np.random.Generator, class_id: int) -> int:
    other = int(rng.integers(1, 20))
    return other if other < class_id else other + 1


def _nearly(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    image = ImageEnhance.Brightness(image).enhance(float(rng.uniform(0.94, 1.06)))
    scale = float(rng.uniform(0.92, 1.15))
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def read_index(root: Path) -> list[dict[str, Any]]:
    """Return what the server knows, one mapping per address. Raises ArtifactError if the site is not built."""
    loaded: list[dict[str, Any]] = read_json(root / "index.json")
    return loaded
