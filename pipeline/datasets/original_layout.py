"""Reading web and replay folders in the layout of the original repositories (web_wilss.md 2.8, 2.9, 5.1)."""

from __future__ import annotations

from pathlib import Path

from pipeline.artifacts.rows import TrainRow
from pipeline.datasets import DatasetError
from pipeline.datasets.tasks import classes_per_step
from pipeline.datasets.tasks.tables import VOC_TO_COCO


def class_web_rows(root: Path, dataset: str, task: str, step: int, per_class: int = 500) -> list[TrainRow]:
    """Return training rows of role `web` for the class folders under `root`, without masks.

    As many folders as new classes are taken in name order; of more, those from the smallest new id on. Of each, the
    first `per_class` files in name order, labelled with the folder's class (its COCO id for coco-voc). Raises
    DatasetError if folders and classes cannot be matched.
    """
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    wanted = _new_classes(dataset, task, step)
    if len(folders) != len(wanted):
        if wanted != list(range(wanted[0], wanted[0] + len(wanted))) or len(folders) < wanted[-1]:
            raise DatasetError(
                f"{root} has {len(folders)} class folders for the classes {wanted}; "
                "expected one per new class, or all twenty and new ids in a row"
            )
        folders = folders[wanted[0] - 1 : wanted[-1]]
    return [
        _row(file, "web", "", [VOC_TO_COCO[class_id] if dataset == "coco-voc" else class_id])
        for folder, class_id in zip(folders, wanted, strict=True)
        for file in sorted(path for path in folder.iterdir() if path.is_file())[:per_class]
    ]


def replay_rows(root: Path, per_source: int = 2) -> list[TrainRow]:
    """Return training rows of role `replay`: the first `per_source` lines of every source's train_fullPath.txt.

    Each line holds an image and a label path; the label holds channel ids. Raises DatasetError naming file and line.
    """
    return [_row(Path(image), "replay", label, []) for _, image, label in replay_pairs(root, per_source)]


def replay_pairs(root: Path, per_source: int = 2) -> list[tuple[Path, str, str]]:
    """Return (source folder, image, label) of the first `per_source` lines of every source's listing.

    Raises DatasetError naming file and line, or if there is no listing.
    """
    pairs = []
    for listing in sorted(root.glob("*/train_fullPath.txt")):
        lines = [line for line in listing.read_text().splitlines() if line.strip()]
        for number, line in enumerate(lines[:per_source], 1):
            fields = line.split()
            if len(fields) != 2:
                raise DatasetError(f"{listing}:{number}: expected an image and a label path, got {line!r}")
            pairs.append((listing.parent, fields[0], fields[1]))
    if not pairs:
        raise DatasetError(f"{root} has no folder with a train_fullPath.txt; expected <root>/<source id>/")
    return pairs


def _new_classes(dataset: str, task: str, step: int) -> list[int]:
    """Return the step's classes as VOC ids, which is how the folders are ordered."""
    steps = classes_per_step(dataset, task)
    if not 0 < step < len(steps):
        raise DatasetError(f"task {task} of {dataset} has web images at steps 1..{len(steps) - 1}, got step {step}")
    if dataset != "coco-voc":
        return sorted(steps[step])
    return sorted(voc for voc, coco in VOC_TO_COCO.items() if coco in steps[step])


def _row(image: Path, role: str, mask: str, labels: list[int]) -> TrainRow:
    return {"image_id": image.stem, "role": role, "image": str(image), "mask": mask, "labels": labels}
