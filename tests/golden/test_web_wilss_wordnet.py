"""Checks W38 and W39 of web_wilss.md: WordNet scores of 6.3 from the shipped table, and the released filter."""

import math
import os
from collections import Counter
from pathlib import Path

import pytest

from pipeline.captioning.authors.files import ClassNames, folder_files, read_nouns, write_nouns
from pipeline.captioning.authors.released import filter_replay_folder
from pipeline.captioning.noun_filter.similarity import build
from pipeline.captioning.wordnet import WordNetSimilarity
from pipeline.captioning.wordnet.reader import WordNet

RELEASED = {
    ("jetliner", "airplane"): 0.769615, ("plane", "airplane"): 1, ("couch", "sofa"): 1,
    ("motorcycle", "motorbike"): 0.896065, ("kitten", "cat"): 0.560220, ("puppy", "dog"): 0.908007,
    ("dog", "table"): 0.194013, ("car", "cat"): 0.743707, ("field", "airplane"): 0.486172,
    ("clock", "monitor"): 0.993338, ("painting", "person"): 0.609187, ("building", "airplane"): 0.377964,
    ("dining_table", "table"): 0.383482, ("tv_monitor", "monitor"): 0.845026, ("man", "person"): 0.473371,
    ("woman", "person"): 0.473371, ("egret", "bird"): 0.560220, ("bird", "chair"): 1, ("bus", "train"): 1,
    ("bottle", "bus"): 1, ("boat", "monitor"): 0.993338,
}  # fmt: skip
IDENTITY = {
    ("man", "person"): 0.607988, ("egret", "bird"): 0.589903, ("jetliner", "airplane"): 0.786019,
    ("couch", "sofa"): 1, ("dog", "table"): 0, ("bird", "chair"): 0.049123, ("car", "cat"): 0.021013,
    ("bus", "train"): 0.686275, ("cat", "dog"): 0.600135, ("puppy", "dog"): 0.830653, ("kitten", "cat"): 0.188355,
}  # fmt: skip
CLASSES = [
    "airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "table", "dog", "horse",
    "motorbike", "person", "plant", "sheep", "sofa", "train", "monitor",
]  # fmt: skip


@pytest.mark.parametrize(("pair", "expected"), RELEASED.items(), ids=lambda value: str(value))
def test_W39_released_score(pair: tuple[str, str], expected: float) -> None:
    assert WordNetSimilarity(identity=False).score(*pair) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("pair", "expected"), IDENTITY.items(), ids=lambda value: str(value))
def test_W39_score_over_identity(pair: tuple[str, str], expected: float) -> None:
    assert WordNetSimilarity(identity=True).score(*pair) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("word", ["bg", "xyzzy", "entity", "decker", "motor_bike", "potted_plant"])
def test_W39_words_without_a_vector_are_nan(word: str) -> None:
    assert math.isnan(WordNetSimilarity(identity=False).score(word, "dog"))
    assert not WordNetSimilarity(identity=False).scores([word], ["dog"])[0, 0] > 0.6
    if word not in ("entity", "decker"):
        # The improved score knows the root, and follows a named writer to person.
        assert WordNetSimilarity(identity=True).score(word, "dog") == 0


def test_W39_score_of_the_nltk_versions_that_repeat_hypernyms() -> None:
    repeated, once = WordNetSimilarity(False, "repeated"), WordNetSimilarity(False)
    assert repeated.score("man", "person") == pytest.approx(0.664, abs=5e-4)
    assert once.score("man", "person") == pytest.approx(0.473371, abs=1e-5)
    # No hypernym of these is reached on two ways.
    for pair in (("bird", "chair"), ("kitten", "cat"), ("jetliner", "airplane")):
        assert repeated.score(*pair) == once.score(*pair)


HAND = WordNet(
    {"u": 0, "us": 1, "dog": 2, "gas": 3, "ga": 4, "ice_cream": 5, "glass": 6, "man": 7},
    [[] for _ in range(8)],
    {"men": ["man"]},
)


@pytest.mark.parametrize(
    ("word", "lemma"),
    # NLTK: its lemmatizer takes a word as written and keeps the shortest listed form, its synsets are looked up in
    # lower case; a space is no underscore.
    [
        ("us", "u"), ("US", "us"), ("gas", "ga"), ("GAS", "gas"), ("dogs", "dog"), ("Dogs", "dog"), ("Dog", "dog"),
        ("ice cream", None), ("ice_cream", "ice_cream"), ("men", "man"), ("Men", "man"), ("glasseses", "glass"),
        ("xyzzy", None), ("", None),
    ],
)  # fmt: skip
def test_words_are_looked_up_as_nltk_does(word: str, lemma: str | None) -> None:
    assert HAND.lemma(word) == lemma


def test_the_released_score_knows_no_word_that_nltk_does_not() -> None:
    # "US" is the United States, an instance without class hypernyms.
    for word in ("US", "ice cream", "dining table"):
        assert math.isnan(WordNetSimilarity(identity=False).score(word, "dog"))


def test_our_compounds_have_spaces_and_are_found() -> None:
    found = build("wordnet").scores(["dining table", "US"], ["table"])
    assert found[0, 0] == pytest.approx(0.383482, abs=1e-5) and math.isnan(found[1, 0])


def test_W39_class_pairs_above_the_threshold() -> None:
    upper = [(a, b) for i, a in enumerate(CLASSES) for b in CLASSES[i + 1 :]]
    released, identity = WordNetSimilarity(False), WordNetSimilarity(True)
    assert sum(released.score(*pair) > 0.6 for pair in upper) == 106
    assert sum(round(identity.score(*pair), 3) >= 0.6 for pair in upper) == 5


LINES = [
    ("00001.jpg", ["jetliner", "top", "grass", "field"]),
    ("00002.jpg", ["row", "blue", "stripe"]),
    ("00003.jpg", ["plane", "sky", "sunset"]),
]
"""The first lines of the authors' file of 2007_000032, an image of an aeroplane and persons."""


def picked(folder: Path, lines: list[tuple[str, list[str]]], words: list[str], picks: int = 2) -> list[str]:
    """Return what the released filter accepts of one source image's noun file."""
    write_nouns(folder / "nouns" / "2007_000032.txt", lines)
    classes = ClassNames((("2007_000032", tuple(words)),))
    filter_replay_folder(folder / "nouns", classes, folder / "kept", picks)
    return (folder / "kept" / "2007_000032.txt").read_text().split()


def test_W39_first_picks(tmp_path: Path) -> None:
    assert picked(tmp_path, LINES, ["airplane", "person"]) == ["00001.jpg", "00002.jpg"]
    assert picked(tmp_path, LINES, ["airplane"]) == ["00001.jpg", "00003.jpg"]
    assert picked(tmp_path, LINES, ["airplane", "person"], picks=9) == [name for name, _ in LINES]


def test_W39_filter_looks_at_the_first_noun_alone_and_rejects_words_without_a_vector(tmp_path: Path) -> None:
    assert picked(tmp_path, [("a", ["bg", "cat"]), ("b", []), ("c", ["cat"])], ["cat"]) == ["c"]
    assert picked(tmp_path, [("a", ["dog"])], ["motor_bike", "potted_plant"]) == []


AUTHORS = Path(os.environ.get("WEB_WILSS_CAPTIONS", "absent"))
"""The authors' captions/ folder, unpacked; it is not in this repository."""


@pytest.mark.slow
@pytest.mark.skipif(not AUTHORS.is_dir(), reason="set WEB_WILSS_CAPTIONS to the authors' captions folder")
def test_W38_W39_counts_of_the_authors_folder(tmp_path: Path) -> None:
    nouns, classes = AUTHORS / "web_data_cap_file_NN", ClassNames.read(AUTHORS / "pascal_classes.txt")
    rows = [found for file in folder_files(nouns) for _, found in read_nouns(file)]
    assert (len(folder_files(nouns)), len(rows), sum(not found for found in rows)) == (10582, 184968, 674)
    assert Counter(word for found in rows for word in found).most_common(1) == [("man", 22161)]
    assert classes.exchanged
    for names, counts in ((classes, (9265, 697, 620)), (classes.corrected(), (9740, 526, 316))):
        outcome = filter_replay_folder(nouns, names, tmp_path / str(counts[0]))
        assert tuple(outcome.accepted[k] for k in (2, 1, 0)) == counts
        assert outcome.images == 2 * counts[0] + counts[1]
        assert outcome.report()[-1].startswith("the counts of the authors' folder")
    assert filter_replay_folder(nouns, classes, tmp_path / "repeated", closure="repeated").images == 19_553
