"""Reference counts of the public data sets (web_wilss.md 2.4, ciss_methods.md 2.6)."""

from __future__ import annotations

IMAGES = {
    ("voc", "train"): 10582, ("voc", "val"): 1449, ("ade", "train"): 20210, ("ade", "val"): 2000,
    ("coco", "train"): 118287, ("coco", "val"): 5000,
}  # fmt: skip
"""Images per data set and split."""

ADE_EMPTY_TRAIN = 14
"""Training images of ADE20K that show class 0 alone and belong to no step."""

VOC_CLASS_IMAGES = {
    "train": (586, 486, 698, 461, 654, 385, 1086, 1000, 1081, 264, 528, 1177, 444, 482, 3898, 487, 299, 491, 500, 548),
    "val": (90, 79, 103, 72, 96, 74, 127, 119, 123, 71, 75, 128, 79, 76, 446, 85, 57, 90, 84, 74),
}
"""Images that show class 1..20."""

_VOC_TRAIN = {
    "offline": ("10582", "10582"),
    "offline18-20": ("1468", "628"),
    "19-1": ("10410 548", "10034 548"),
    "19-1b": ("10427 654", "9928 654"),
    "15-5": ("9568 2145", "8437 2145"),
    "15-1": ("9568 487 299 491 500 548", "8437 378 299 420 500 548"),
    "10-5-5": ("6139 5542 2145", "3706 4731 2145"),
    "10-2": ("6139 1701 925 4236 790 1048", "3706 1056 428 3625 719 1048"),
    "10-10": ("6139 6876", "3706 6876"),
    "10-10s": (
        "6139 528 1177 444 482 3898 487 299 491 500 548",
        "3706 188 868 227 201 3247 378 299 420 500 548",
    ),
    "5-3": ("2836 2331 1542 2095 4484 1468", "1753 1517 624 1296 3924 1468"),
    "5-1": (
        "2836 385 1086 1000 1081 264 528 1177 444 482 3898 487 299 491 500 548",
        "1753 139 566 812 220 216 188 868 227 201 3247 378 299 420 500 548",
    ),
}
_ADE_OVERLAP = {
    "100-50": "20192 9390",
    "100-10": "20192 1710 2294 2747 4279 2844",
    "100-5": "20192 1142 600 1234 1204 1151 1874 1807 2943 1238 1898",
    "50-50": "20177 13186 9390",
    "50-10": "20177 3853 4522 2335 6481 3299 1710 2294 2747 4279 2844",
    "25-25": "20147 13187 8261 9043 4443 7027",
    "10-10": "19932 16237 10554 7698 7212 3853 4522 2335 6481 3299 1710 2294 2747 4279 2844",
}
_ADE_PARTITION = {
    "100-50": "13452 6744",
    "100-10": "13452 1130 1200 1366 1550 1498",
    "50-50": "8219 6384 5593",
    "100-50b": "10375 9821",
    "100-10b": "10375 1362 1346 2084 2609 2420",
    "50-50b": "6659 7483 6054",
}
_ADE_DISJOINT = {"100-50": "10806 9390", "100-10": "10806 861 1009 1445 3231 2844", "50-50": "4838 5968 9390"}


def _sizes(line: str) -> tuple[int, ...]:
    return tuple(map(int, line.split()))


TRAIN: dict[tuple[str, str, str], tuple[int, ...]] = {
    **{("voc", task, "overlap"): _sizes(lines[0]) for task, lines in _VOC_TRAIN.items()},
    **{("voc", task, "disjoint"): _sizes(lines[1]) for task, lines in _VOC_TRAIN.items()},
    **{("voc", task, "sequential"): _sizes(lines[1]) for task, lines in _VOC_TRAIN.items()},
    **{("ade", task, "overlap"): _sizes(line) for task, line in _ADE_OVERLAP.items()},
    **{("ade", task, "partition"): _sizes(line) for task, line in _ADE_PARTITION.items()},
    **{("ade", task, "disjoint"): _sizes(line) for task, line in _ADE_DISJOINT.items()},
    ("coco-voc", "voc", "overlap"): (23274, 10582),
    ("coco-voc", "voc", "disjoint"): (23274, 10582),
}
"""Training images per step, by data set, canonical task and setting."""

_VOC_VAL = {
    "offline": "1449",
    "offline18-20": "238",
    "19-1": "1421 74",
    "15-5": "1240 354",
    "15-1": "1240 85 57 90 84 74",
    "10-10": "869 897",
    "10-10s": "869 75 128 79 76 446 85 57 90 84 74",
    "5-3": "433 296 226 281 562 238",
    "10-5-5": "869 647 354",
}
_ADE_VAL = {
    "100-50": "2000 1018",
    "100-10": "2000 163 268 368 466 317",
    "100-5": "2000 109 61 137 147 189 217 193 332 119 233",
    "50-50": "1997 1341 1018",
    "50-10": "1997 418 486 235 674 347 163 268 368 466 317",
    "25-25": "1995 1330 872 914 516 763",
    "10-10": "1973 1625 1042 753 760 418 486 235 674 347 163 268 368 466 317",
}
VAL: dict[tuple[str, str], tuple[int, ...]] = {
    **{("voc", task): _sizes(line) for task, line in _VOC_VAL.items()},
    **{("ade", task): _sizes(line) for task, line in _ADE_VAL.items()},
}
"""Validation images with a class of each step; the evaluator uses the whole validation set instead."""

VOC_LIST_MD5 = {
    ("15-5", "disjoint", 0): "eccd6e5fa764", ("15-5", "overlap", 0): "15d3a0cf7a15",
    ("15-5", "overlap", 1): "cfb95376639f", ("15-5", "disjoint", 1): "cfb95376639f",
    ("10-10", "disjoint", 0): "b2a5e34cb180", ("10-10", "overlap", 0): "7e3b04f0efc5",
    ("10-10", "overlap", 1): "0f0016577f88", ("10-10", "disjoint", 1): "0f0016577f88",
    ("19-1", "disjoint", 0): "bd41b3dbd1c1", ("19-1", "overlap", 0): "469394f195bc",
    ("19-1", "overlap", 1): "77b7512a1b90", ("15-1", "overlap", 1): "862ba8366ea5",
    ("15-1", "disjoint", 1): "85b6eb1db048", ("15-1", "overlap", 3): "4c618a7d32a6",
    ("15-1", "disjoint", 3): "3f7febad8d02", ("10-10s", "overlap", 5): "f803b1b398e7",
    ("10-10s", "disjoint", 5): "b485dc668a07", ("10-2", "overlap", 1): "66cc8ab30495",
    ("10-2", "disjoint", 1): "2309690a97c8", ("10-5-5", "overlap", 1): "565a90a0af43",
    ("10-5-5", "disjoint", 1): "b8f9330741ab",
}  # fmt: skip
"""First 12 hex digits of the MD5 of a list as little-endian int64, by task, setting and step."""
