"""Nouns, vocabulary, similarity, and the noun filter on hand-written captions."""

import math
from pathlib import Path

import pytest

from pipeline.artifacts import CAPTIONS, MANIFEST, NOUN_FILTER, NOUNS, read_table, write_table
from pipeline.captioning import extract_nouns
from pipeline.captioning.noun_filter.judge import filter_nouns
from pipeline.captioning.noun_filter.similarity import build
from pipeline.captioning.noun_filter.texts import Texts
from pipeline.captioning.vocabulary import Vocabulary
from pipeline.config import NounFilter

WORDS = Vocabulary.load()
IDS = {name: i for i, name in enumerate(WORDS.words) if name != "-"}


@pytest.mark.parametrize(
    ("caption", "nouns"),
    [
        ("a brown dog sitting on the grass", ["dog", "grass"]),
        ("two dogs and a cat in front of a dining table", ["dog", "cat", "front", "dining table"]),
        ("a potted plant next to a tv", ["potted plant", "tv"]),
        ("", []),
    ],
)
def test_nouns_are_lemmas_in_order_and_phrases_stay_whole(caption: str, nouns: list[str]) -> None:
    assert extract_nouns([caption]) == [nouns]


def test_released_rule_drops_plurals() -> None:
    assert extract_nouns(["two dogs near a cat"], nn_only=True) == [["cat"]]


def test_equal_captions_are_tagged_once_and_order_is_kept() -> None:
    assert extract_nouns(["a cat", "a dog", "a cat"]) == [["cat"], ["dog"], ["cat"]]


@pytest.mark.parametrize(
    ("caption", "classes"),
    [
        ("a dog and a cat laying on a couch", {"dog", "cat", "sofa"}),
        ("a double decker bus on a street", {"bus"}),
        ("a man playing table tennis", {"person"}),
        ("a bike", {"bicycle"}),
        ("a dirt bike and a motor bike", {"motorbike"}),
        ("two ponies and three geese near the buses", {"horse", "bird", "bus"}),
        ("a potted plant on a dining table", {"pottedplant", "diningtable"}),
        ("a view of the city", set()),
    ],
)
def test_caption_labels_longest_match_wins(caption: str, classes: set[str]) -> None:
    assert set(WORDS.labels_of(caption, IDS)) == {IDS[name] for name in classes}


def test_future_classes_are_not_reported() -> None:
    assert WORDS.labels_of("a dog on a sofa", {"dog": 12}) == [12]


def test_embedding_similarity_is_a_cosine() -> None:
    similarity = build("embedding")
    table = similarity.scores(["dog", "puppy", "sofa", "dog"], ["dog", "couch"])
    assert table.shape == (4, 2)
    assert table[0, 0] == pytest.approx(1, abs=1e-5) and (table[0] == table[3]).all()
    assert table[1, 0] > 0.6 > table[1, 1] and table[2, 1] > 0.6 > table[2, 0]
    assert similarity.scores([], ["dog"]).shape == (0, 1)


@pytest.fixture
def folder(tmp_path: Path, protocols: list[Path]) -> Path:
    """Five candidates for class 18 (sofa) and the tables that the filter reads."""
    captions = {
        "a": "a cat on a couch",
        "b": "a dog on the grass",
        "c": "nothing at all here",
        "d": "a settee in a room",
        "e": "a loveseat and a television",
    }
    manifest = []
    for rank, image in enumerate([*captions, "x"]):
        row: dict = {name: "" for name in MANIFEST.names}
        row |= {"image_id": image, "rank": rank, "class_ids": [18], "status": "kept", "query_id": "q"}
        row |= {"http_status": 200, "width": 1, "height": 1, "bytes": 1, "source_image_id": "s"}
        manifest.append(row | ({"status": "failed", "reason": "timeout"} if image == "x" else {}))
    write_table(tmp_path / "manifest.parquet", manifest, MANIFEST)
    extra = {"seconds": 0.0, "model": "", "revision": "", "reason": ""}
    write_table(tmp_path / "c.parquet", [{"image_id": k, "caption": v, **extra} for k, v in captions.items()], CAPTIONS)
    nouns = extract_nouns(list(captions.values()))
    rows = [{"image_id": k, "nouns": [] if k == "c" else n} for k, n in zip(captions, nouns, strict=True)]
    write_table(tmp_path / "n.parquet", rows, NOUNS)
    return tmp_path


def run(folder: Path, protocol: Path, role: str, **settings: object) -> dict[str, dict]:
    source = Texts({"s": "a sofa and a bottle"}, {"s": ["sofa", "bottle"]}) if role == "replay" else None
    texts = Texts.read([folder / "c.parquet"], [folder / "n.parquet"])
    out = folder / "out.parquet"
    settings.setdefault("cache", str(folder / "vectors"))
    filter_nouns(role, folder / "manifest.parquet", texts, protocol, NounFilter(**settings), out, source)  # type: ignore[arg-type]
    return {row["image_id"]: row for row in read_table(out, NOUN_FILTER)}


@pytest.mark.parametrize("similarity", ["embedding", "wordnet_hypernyms"])
def test_new_class_filter(folder: Path, protocols: list[Path], similarity: str) -> None:
    rows = run(folder, protocols[1], "new", similarity=similarity)
    assert set(rows) == set("abcde"), "every candidate has its row, failures of the crawl none"
    assert [rows[i]["kept"] for i in "abcde"] == [True, False, False, True, True]
    assert (rows["a"]["word"], rows["a"]["labels"]) == ("couch", [8, 18])
    assert rows["a"]["target"] in ("couch", "sofa") and rows["a"]["score"] == pytest.approx(1, abs=1e-5)
    assert rows["b"]["reason"] == "below_threshold" and rows["c"]["reason"] == "no_nouns"
    assert rows["e"]["labels"] == [18, 20]
    assert all(row["threshold"] == pytest.approx(0.6) for row in rows.values())


def test_raising_the_threshold_keeps_fewer(folder: Path, protocols: list[Path]) -> None:
    loose, strict = (run(folder, protocols[1], "new", threshold=t) for t in (0.2, 0.999))
    assert sum(r["kept"] for r in strict.values()) < sum(r["kept"] for r in loose.values())


def test_labels_stop_at_known_classes(folder: Path, protocols: list[Path]) -> None:
    assert run(folder, protocols[0], "new")["b"]["labels"] == [12]
    assert run(folder, protocols[0], "new")["e"]["labels"] in ([], [18])


def test_replay_rules(folder: Path, protocols: list[Path]) -> None:
    paper = run(folder, protocols[1], "replay")
    assert [paper[i]["kept"] for i in "abcde"] == [True, False, False, False, False]
    assert paper["a"]["target"] == "sofa" and paper["a"]["class_id"] == -1
    classes = run(folder, protocols[1], "replay", replay_rule="classes")
    assert [classes[i]["kept"] for i in "abcde"] == [True, False, False, True, True]


def test_released_score_rejects_unknown_words(folder: Path, protocols: list[Path]) -> None:
    rows = run(folder, protocols[1], "new", similarity="wordnet")
    assert rows["a"]["kept"]
    assert math.isnan(rows["c"]["score"]) and not rows["c"]["kept"]
