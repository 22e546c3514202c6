"""Which classes come at which step, which images belong to it, and how labels are mapped."""

from pipeline.datasets.tasks.labels import IGNORE, Rule, Split, label_map, sats_thresholds
from pipeline.datasets.tasks.selection import SETTINGS, select_images, select_labels
from pipeline.datasets.tasks.steps import OWN, aliases_of, canonical_task, classes_per_step, order, task_names

__all__ = [
    "IGNORE",
    "OWN",
    "SETTINGS",
    "Rule",
    "Split",
    "aliases_of",
    "canonical_task",
    "classes_per_step",
    "label_map",
    "order",
    "sats_thresholds",
    "select_images",
    "select_labels",
    "task_names",
]
