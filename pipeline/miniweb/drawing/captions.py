"""One plausible English caption of a scene."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

_WORDS: dict[int, tuple[str, ...]] = {
    1: ("airplane", "plane", "airplane", "jet"),
    2: ("bicycle", "bike", "bicycle"),
    3: ("bird",),
    4: ("boat", "boat", "sailboat"),
    5: ("bottle", "bottle", "wine bottle"),
    6: ("bus",),
    7: ("car",),
    8: ("cat", "cat", "kitten"),
    9: ("chair",),
    10: ("cow",),
    11: ("table", "dining table"),
    12: ("dog", "dog", "puppy"),
    13: ("horse",),
    14: ("motorcycle", "motorbike", "motorcycle"),
    15: ("man", "woman", "person"),
    16: ("potted plant", "potted plant", "houseplant"),
    17: ("sheep",),
    18: ("couch", "sofa", "couch"),
    19: ("train",),
    20: ("tv", "television", "monitor"),
}
_PLACES = {
    "sky": ("in the sky", "under a clear sky"),
    "grass": ("on the grass", "in a meadow"),
    "sea": ("by the sea", "on the water"),
    "field": ("in a field", "in the countryside"),
    "street": ("on a street", "in a city"),
    "room": ("in a room", "in a living room"),
    "studio": ("in front of a plain wall",),
}
_VERBS = {
    1: "flying", 2: "parked", 3: "sitting", 4: "floating", 5: "standing", 6: "driving", 7: "parked", 8: "sitting",
    9: "standing", 10: "standing", 11: "standing", 12: "sitting", 13: "standing", 14: "parked", 15: "standing",
    16: "standing", 17: "grazing", 18: "standing", 19: "travelling", 20: "standing",
}  # fmt: skip


class Shown(Protocol):
    """What a caption needs of a scene."""

    @property
    def class_ids(self) -> Sequence[int]:
        """Visible classes."""
        ...

    @property
    def setting(self) -> str:
        """Where the scene is."""
        ...


def word_for(rng: np.random.Generator, class_id: int) -> str:
    """Return one of the words people use for a class."""
    words = _WORDS[class_id]
    return words[int(rng.integers(len(words)))]


def describe(scene: Shown, rng: np.random.Generator) -> str:
    """Return a caption that names every visible class once, as a person would put it."""
    places = _PLACES[scene.setting]
    place = places[int(rng.integers(len(places)))]
    ids = list(scene.class_ids)
    if not ids:
        return f"a view {place}"
    rng.shuffle(ids)
    words = [_article(word_for(rng, c)) for c in ids]
    if 15 in ids and ids[0] != 15:
        person = words.pop(ids.index(15))
        words.insert(0, person)
        ids.remove(15)
        ids.insert(0, 15)
    if len(words) == 1:
        verb = f" {_VERBS[ids[0]]}" if rng.random() < 0.7 else ""
        return f"{words[0]}{verb} {place}"
    joiner = ("next to", "and", "with", "near")[int(rng.integers(4))]
    rest = " and ".join(words[1:])
    return f"{words[0]} {joiner} {rest} {place}"


def _article(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"
