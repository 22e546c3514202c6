"""The authors' files: formats, the dog/table report, and the released filter on folders in their format."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.artifacts import CAPTIONS, MANIFEST, NOUN_FILTER, NOUNS, read_table, write_table
from pipeline.captioning.__main__ import main
from pipeline.captioning.authors import released
from pipeline.captioning.authors.files import CLASS_NAMES, ClassNames, read_nouns, write_nouns
from pipeline.captioning.authors.released import filter_replay_folder
from pipeline.datasets.protocol_file import ImageRecord
from tests.captioning.authors_folders import ACCEPTED, SOURCES, write_folder
from tests.protocols import protocol_at


def lists(folder: Path) -> dict[str, list[str]]:
    return {path.stem: path.read_text().split() for path in sorted(folder.glob("*.txt"))}


def test_released_filter_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nouns, classes = write_folder(tmp_path)
    out = tmp_path / "filtered"
    words = [
        "filter",
        "--rule",
        "released",
        "--noun-folder",
        str(nouns),
        "--class-file",
        str(classes),
        "--out",
        str(out),
    ]
    assert main(words) == 0
    assert lists(out) == ACCEPTED
    said = capsys.readouterr().out
    assert "1 files get 2 images\n4 files get 1 images\n2 files get 0 images\n7 files of 14 lines, 6 images\n" in said
    assert "authors:" not in said, "counts of the authors' folder stand beside those of no other"
    assert "dog and table are exchanged (rows with both say dog first): 2 rows are wrong" in said


def test_corrected_classes_give_the_dog_its_images(tmp_path: Path) -> None:
    nouns, classes = write_folder(tmp_path)
    out = tmp_path / "filtered"
    words = ["filter", "--rule", "released", "--noun-folder", str(nouns), "--class-file", str(classes)]
    assert main([*words, "--correct-classes", "--out", str(out)]) == 0
    assert lists(out)["2007_000033"] == ["00001.jpg", "00003.jpg"], "dog and puppy, where the file said table"
    assert lists(out)["2007_000061"] == [], "man, woman and dog are neither person nor table by the released score"


@pytest.mark.parametrize(
    ("way", "expected", "repeated"),
    [
        ("shipped", (9265, 697, 620, 19227), 19553),
        ("exchanged", (9740, 526, 316, 20006), 20299),
        ("labels", (9742, 526, 314, 20010), 20303),
    ],
)
def test_counts_of_the_authors_folder_stand_beside_the_found_ones(
    way: str, expected: tuple[int, ...], repeated: int, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    nouns, classes = write_folder(tmp_path)
    # Three rows of the authors' file are empty, and name their class only in a file made from the labels.
    text = classes.read_bytes() if way == "labels" else classes.read_bytes().replace(b"airplane ", b"")
    classes.write_bytes(text)
    monkeypatch.setattr(released, "AUTHORS_LINES", 14)
    words = ["filter", "--rule", "released", "--noun-folder", str(nouns), "--class-file", str(classes)]
    words += ["--correct-classes"] * (way != "shipped")
    assert main([*words, "--closure", "repeated", "--out", str(tmp_path / "r")]) == 0
    said = capsys.readouterr().out
    assert re.search(rf"images \(authors: {repeated}\)\nNOT the counts of .*, hypernyms repeated", said)
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    for number, count in zip((2, 1, 0), expected, strict=False):
        assert re.search(rf"\d files get {number} images \(authors: {count}\)", said)
    assert re.search(rf"7 files of 14 lines, \d images \(authors: {expected[3]}\)", said)
    assert "NOT the counts of the authors' folder" in said


def test_the_counts_of_6_4_are_recognised() -> None:
    shipped = released.AUTHORS_COUNTS["shipped"]
    outcome = released.Outcome(Counter(shipped), released.AUTHORS_LINES, shipped)
    assert outcome.report() == [
        "9265 files get 2 images (authors: 9265)", "697 files get 1 images (authors: 697)",
        "620 files get 0 images (authors: 620)", "10582 files of 184968 lines, 19227 images (authors: 19227)",
        "the counts of the authors' folder",
    ]  # fmt: skip


def test_two_picks_and_the_first_noun_alone(tmp_path: Path) -> None:
    (tmp_path / "nn").mkdir()
    (tmp_path / "nn" / "a.txt").write_text("1.jpg dog \n2.jpg table dog \n3.jpg dog cat \n4.jpg dog \n5.jpg dog")
    outcome = filter_replay_folder(tmp_path / "nn", ClassNames((("a", ("dog",)),)), tmp_path / "out")
    assert lists(tmp_path / "out") == {"a": ["1.jpg", "3.jpg"]} and outcome.images == 2
    (tmp_path / "nn" / "a.txt").write_text("5.jpg dog\n")
    filter_replay_folder(tmp_path / "nn", ClassNames((("a", ("dog",)),)), tmp_path / "out")
    assert lists(tmp_path / "out") == {"a": []}, "the last field never counts, as in the released code"


def test_class_web_filter(tmp_path: Path) -> None:
    (tmp_path / "nn").mkdir()
    (tmp_path / "nn" / "dog.txt").write_text("1.jpg table puppy \n2.jpg table \n3.jpg table table dog \n4.jpg dog \n")
    (tmp_path / "nn" / "motor_bike.txt").write_text("1.jpg motorbike \n")
    words = ["filter", "--rule", "released", "--role", "new", "--noun-folder", str(tmp_path / "nn")]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    assert lists(tmp_path / "out") == {"dog": ["1.jpg", "4.jpg"], "motor_bike": []}


def test_folder_and_class_file_must_name_the_same_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nouns, classes = write_folder(tmp_path)
    (nouns / "2007_000068.txt").unlink()
    words = ["filter", "--rule", "released", "--noun-folder", str(nouns), "--class-file", str(classes)]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    assert "6 files and the class file 7 rows" in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert main(["filter", "--noun-folder", str(nouns), "--out", str(tmp_path / "out")]) == 2
    assert "pass --rule released" in capsys.readouterr().err


def test_exchange_is_reported_and_corrected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, classes = write_folder(tmp_path)
    ids = {name: i for i, name in enumerate(CLASS_NAMES, 1)}
    right = {"dog": "table", "table": "dog"}
    train = [
        ImageRecord(source, "", "", tuple(ids[right.get(word, word)] for word in names.split()))
        for source, (names, _) in SOURCES.items()
    ]
    train[0] = replace(train[0], labels=(*train[0].labels, ids["cat"]))
    protocol_at(tmp_path / "p.json", train=tuple(train))
    words = ["authors", "check-classes", "--class-file", str(classes), "--protocol", str(tmp_path / "p.json")]
    assert main([*words, "--out", str(tmp_path / "right.txt")]) == 0
    said = capsys.readouterr().out
    assert "7 rows; 2 name dog or table, 1 both" in said
    assert "7 rows compared with the data set: 2 have dog and table exchanged" in said
    assert "2007_000032: lacks ['cat'], has too much []" in said and said.count("lacks") == 1
    corrected = ClassNames.read(tmp_path / "right.txt")
    assert not corrected.exchanged
    assert dict(corrected.rows)["2007_000032"] == ("airplane", "cat"), "complete from the labels"
    assert "7 of 7 rows from the labels, 0 from the file" in said
    assert dict(corrected.rows)["2007_000033"] == ("dog",)
    assert dict(corrected.rows)["2007_000063"] == ("table", "dog")
    assert (tmp_path / "right.txt").read_bytes().count(b"\r\n") == len(SOURCES) - 1


def test_rows_without_labels_keep_their_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, classes = write_folder(tmp_path)
    protocol_at(tmp_path / "p.json", train=(ImageRecord("2007_000068", "", "", (3, 8)),))
    words = ["authors", "check-classes", "--class-file", str(classes), "--protocol", str(tmp_path / "p.json")]
    assert main([*words, "--out", str(tmp_path / "right.txt")]) == 0
    assert "1 of 7 rows from the labels, 6 from the file" in capsys.readouterr().out
    rows = dict(ClassNames.read(tmp_path / "right.txt").rows)
    assert rows["2007_000068"] == ("bird", "cat") and rows["2007_000033"] == ("dog",) and list(rows) == list(SOURCES)


def test_noun_file_round_trip(tmp_path: Path) -> None:
    rows = [("00001.jpg", ["jetliner", "field"]), ("00002.jpg", []), ("00003.jpg", ["dining table"])]
    write_nouns(tmp_path / "n.txt", rows)
    assert (tmp_path / "n.txt").read_text() == "00001.jpg jetliner field \n00002.jpg bg\n00003.jpg dining_table \n"
    assert read_nouns(tmp_path / "n.txt")[:2] == rows[:2]


def test_import_and_export(tmp_path: Path) -> None:
    nouns, _ = write_folder(tmp_path)
    assert main(["authors", "import-nouns", "--folder", str(nouns), "--out", str(tmp_path / "n.parquet")]) == 0
    table = {row["image_id"]: row["nouns"] for row in read_table(tmp_path / "n.parquet", NOUNS)}
    assert table["2007_000032/00001.jpg"] == ["jetliner", "top", "grass", "field"]
    assert table["2007_000039/00001.jpg"] == []
    manifest = []
    for source, (_, lines) in SOURCES.items():
        for rank in range(max(1, len(lines))):
            row: dict = {name: "" for name in MANIFEST.names}
            row |= {
                "image_id": f"{source}/{rank + 1:05d}.jpg",
                "rank": rank,
                "source_image_id": source,
                "class_ids": [],
            }
            row |= {"http_status": 200, "width": 1, "height": 1, "bytes": 1}
            manifest.append(row | {"status": "kept" if lines else "failed"})
    write_table(tmp_path / "m.parquet", manifest, MANIFEST)
    export = ["--table", str(tmp_path / "n.parquet"), "--manifest", str(tmp_path / "m.parquet")]
    assert main(["authors", "export-nouns", *export, "--out", str(tmp_path / "again")]) == 0
    assert [p.read_bytes() for p in sorted((tmp_path / "again").iterdir())] == [
        p.read_bytes() for p in sorted(nouns.iterdir())
    ]
    kept = [{name: "" for name in NOUN_FILTER.names} | {"image_id": i, "kept": i.endswith("1.jpg")} for i in table]
    blank = {"class_id": 0, "nouns": [], "labels": [], "score": 0.0, "threshold": 0.0}
    write_table(tmp_path / "f.parquet", [row | blank for row in kept], NOUN_FILTER)
    export[1] = str(tmp_path / "f.parquet")
    assert main(["authors", "export-filtered", *export, "--out", str(tmp_path / "lists")]) == 0
    assert lists(tmp_path / "lists")["2007_000033"] == ["00001.jpg"] and lists(tmp_path / "lists")["2007_000068"] == []


def test_import_captions(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "s.txt").write_text("00001.jpg a dog on grass\n")
    assert (
        main(["authors", "import-captions", "--folder", str(tmp_path / "c"), "--out", str(tmp_path / "c.parquet")]) == 0
    )
    (row,) = read_table(tmp_path / "c.parquet", CAPTIONS)
    assert (row["image_id"], row["caption"], row["reason"]) == ("s/00001.jpg", "a dog on grass", "")
