"""The noun filter on many rows: memory does not grow with them, and the benchmark's own tables go through it."""

import gc
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from bench.noun_filter import filter_rows, frequent_nouns, write_tables
from pipeline.artifacts import NOUN_FILTER, read_table
from pipeline.captioning.noun_filter import judge as noun_filter
from pipeline.captioning.noun_filter.similarity import build
from pipeline.captioning.wordnet import WordNetSimilarity


def peak_of(folder: Path, similarity: str, cache: str) -> int:
    """Bytes that Python held at most while the filter ran."""
    gc.collect()
    tracemalloc.start()
    filter_rows(folder, similarity, cache)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("similarity", ["wordnet", "embedding"])
def test_memory_does_not_grow_with_rows(similarity: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noun_filter, "_PART", 200)
    cache = str(tmp_path / "vectors")
    folders = [tmp_path / "few", tmp_path / "many"]
    for folder, rows in zip(folders, (400, 2000), strict=True):
        folder.mkdir()
        write_tables(folder, rows, shard=200, vocabulary=30)
    filter_rows(folders[1], similarity, cache)
    few, many = (peak_of(folder, similarity, cache) for folder in folders)
    assert many < 1.5 * few, f"{few} bytes for 400 rows, {many} for 2,000"
    assert len(read_table(folders[1] / "out.parquet", NOUN_FILTER)) == 2000


def test_parts_do_not_change_the_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tables(tmp_path, 600, shard=250, vocabulary=300)
    filter_rows(tmp_path, "wordnet_hypernyms", "")
    whole = read_table(tmp_path / "out.parquet", NOUN_FILTER)
    monkeypatch.setattr(noun_filter, "_PART", 70)
    monkeypatch.setattr(noun_filter, "_REMEMBERED", 50)
    filter_rows(tmp_path, "wordnet_hypernyms", "")
    assert read_table(tmp_path / "out.parquet", NOUN_FILTER) == whole
    assert 0 < sum(row["kept"] for row in whole) < 600


@pytest.mark.parametrize("identity", [False, True])
def test_tables_of_scores_equal_single_scores(identity: bool) -> None:
    similarity = WordNetSimilarity(identity)
    words, targets = [*frequent_nouns(400), "bg", "xyzzy"], ["dog", "person", "entity", "motor_bike", "dining table"]
    single = np.array([[similarity.score(w, t) for t in targets] for w in words], np.float32)
    np.testing.assert_array_equal(similarity.scores(words, targets), single)
    np.testing.assert_array_equal(similarity.scores(words[7:9], targets[1:2]), single[7:9, 1:2])


def test_nothing_to_score() -> None:
    assert build("wordnet").scores([], ["dog"]).shape == (0, 1) and build("wordnet").scores(["dog"], []).shape == (1, 0)
