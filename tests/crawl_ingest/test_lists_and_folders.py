"""Contract with sources on disk: lists of addresses and folders of images.

Column names of lists from the data cards of LAION-400M and LAION-2B (URL, TEXT, LICENSE, NSFW, similarity), DataComp
(uid, url, text, sha256) and COYO-700M (id, url, text, width, height), read 2026-11-21; the originals' folders from
specs/web_wilss.md 2.8 and 2.9.
"""

import csv
import hashlib
import io
import os
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.artifacts import INGEST, QUERIES, read_json, read_table, write_table
from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.crawl import ingest
from pipeline.crawl_ingest.fetch.host import FetchError
from pipeline.crawl_ingest.sources import SearchError
from tests.crawl_ingest.asking import fetch, query, search
from tests.crawl_ingest.server import RawServer, reply, say
from tests.protocols import protocol_at

TEXTS = ["A cat on a mat", "CAT!", "concatenate", "", None, "cats", "the mat of a Cat", "café-cat"]
ANSWERS = [0, 1, 6, 7]


def listed(path: Path, **more: Any) -> CrawlIngest:
    agent = "ourbot/1.0 (me@example.com)"
    return CrawlIngest(source="url_list", path=str(path), user_agent=agent, timeout=20.0, retries=0, shards=1, **more)


def jpeg(colour: int) -> bytes:
    buffer = io.BytesIO()
    picture = Image.effect_noise((64, 64), 60 + colour)
    picture.convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


def crawl(folder: Path, settings: CrawlIngest, asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Crawl one shard of a class plan; return its rows."""
    write_table(folder / "q.parquet", asked, QUERIES)
    protocol_at(folder / "step0.json")
    out = folder / "pool" / "shards" / "step1-00000.tar"
    ingest(folder / "q.parquet", out.stem, folder / "step0.json", settings, out)
    return read_table(out.with_suffix(".parquet"), INGEST)


LAION = {
    "SAMPLE_ID": list(range(8)), "LICENSE": ["?", "", None, "?", "?", "?", "?", "cc-by-4.0"],
    "NSFW": ["UNLIKELY"] * 8, "similarity": [0.3] * 8,
}  # fmt: skip
DATACOMP = {"uid": [f"{i:032x}" for i in range(8)], "sha256": [f"{i:064x}" for i in range(8)], "width": [1] * 8}
COYO = {"id": list(range(8)), "width": [640] * 8, "watermark_score": [0.1] * 8}


@pytest.mark.parametrize(
    ("style", "url", "text"), [("laion", "URL", "TEXT"), ("datacomp", "url", "text"), ("coyo", "url", "text")]
)
def test_parquet_of_every_style(style: str, url: str, text: str, tmp_path: Path) -> None:
    extra = {"laion": LAION, "datacomp": DATACOMP, "coyo": COYO}[style]
    table = pa.table({url: [f"http://a.test/{i}.jpg" for i in range(8)], text: TEXTS, **extra})
    pq.write_table(table, tmp_path / "part-0.parquet", row_group_size=3)
    found = search(listed(tmp_path), query("cat"))
    assert [c["url"] for c in found] == [f"http://a.test/{i}.jpg" for i in ANSWERS]
    assert [c["title"] for c in found] == [TEXTS[i] for i in ANSWERS] and found[0]["source"] == "part-0.parquet"
    if style == "laion":
        assert [c["licence"] for c in found] == ["?", "", "?", "by 4.0"]
    if style == "datacomp":
        assert found[0]["sha256"] == "0" * 64


def test_csv_with_quotes_newlines_and_numbers_for_text(tmp_path: Path) -> None:
    with open(tmp_path / "list.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["Caption", "url", "Creator", "license", "page_url"])
        writer.writerow(["12", "http://a.test/0", "", "", ""])
        writer.writerow(['a "big", cat\nand more', "http://a.test/1", "Zoë", "CC BY-SA 3.0", "http://a.test/page"])
        writer.writerow(["cat without address", "", "", "", ""])
    (found,) = search(listed(tmp_path / "list.csv"), query("cat"))
    assert found["creator"] == "Zoë" and found["licence"] == "by-sa 3.0" and found["page_url"] == "http://a.test/page"
    assert search(listed(tmp_path / "list.csv"), query("12"))[0]["url"] == "http://a.test/0"


def test_a_query_column_answers_exactly(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("url,class\nhttp://a.test/0,Potted Plant\nhttp://a.test/1,plant\n")
    assert [c["url"] for c in search(listed(tmp_path), query("potted plant"))] == ["http://a.test/0"]


def test_every_word_counts_and_words_are_no_patterns(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("url,text\nhttp://a.test/0,mat with a grey cat\nhttp://a.test/1,a cat (grey)?\n")
    assert len(search(listed(tmp_path), query("grey cat"))) == 2
    assert len(search(listed(tmp_path), query("(grey)?"))) == 1
    assert search(listed(tmp_path), query("dog")) == []


def test_the_limit_holds_across_files_and_files_come_in_name_order(tmp_path: Path) -> None:
    for name in ("b", "a"):
        rows = "".join(f"http://{name}.test/{i},cat\n" for i in range(5))
        (tmp_path / f"{name}.csv").write_text("url,text\n" + rows)
    found = search(listed(tmp_path), query("cat"), 7)
    assert [c["url"][7] for c in found] == ["a"] * 5 + ["b"] * 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", b"", "cannot be read"), ("x.csv", b"url,text\na,b,c\n", "cannot be read"),
        ("x.csv", b"link,words\n1,2\n", "expected `url` and `text`"), ("x.parquet", b"PAR1", "cannot be read"),
        ("x.txt", b"http://a.test/", "no .csv or .parquet"),
    ],
)  # fmt: skip
def test_a_list_that_cannot_be_read_is_one_clear_line(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SearchError, match=message) as caught:
        search(listed(tmp_path / name), query("cat"))
    assert "\n" not in str(caught.value)


def test_a_path_is_needed(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"needs crawl_ingest.path to be a CSV or Parquet file or folder"):
        search(listed(tmp_path).model_copy(update={"path": ""}), query("cat"))


def test_bytes_other_than_the_list_states_are_not_kept(raw_server: RawServer, tmp_path: Path) -> None:
    good, other = jpeg(1), jpeg(2)
    raw_server.answers |= {"a.test/good": say(reply(good)), "a.test/swapped": say(reply(other))}
    digest = hashlib.sha256(good).hexdigest()
    lines = [f"http://a.test/{name},cat,{digest}" for name in ("good", "swapped")]
    (tmp_path / "list.csv").write_text("\n".join(["url,text,sha256", *lines]))
    rows = crawl(tmp_path, listed(tmp_path / "list.csv"), [query("cat")])
    assert [row["reason"] for row in rows] == ["", "other_bytes"]


def test_licences_that_are_not_allowed_are_rows_and_no_requests(raw_server: RawServer, tmp_path: Path) -> None:
    licences = [
        "by 4.0",
        "CC BY-NC 2.0",
        "",
        "cc0",
        "https://creativecommons.org/licenses/by/2.0/",
        "All rights reserved",
    ]
    lines = [f"http://a.test/{i},cat,{licence}" for i, licence in enumerate(licences)]
    (tmp_path / "list.csv").write_text("\n".join(["url,text,license", *lines]))
    for i in range(6):
        raw_server.answers[f"a.test/{i}"] = say(reply(jpeg(i * 20)))
    rows = crawl(tmp_path, listed(tmp_path / "list.csv", licences=("by", "cc0")), [query("cat")])
    assert [row["reason"] for row in rows] == ["", "licence", "licence", "", "", "licence"]
    assert not any(raw_server.asked[f"a.test/{i}"] for i in (1, 2, 5))
    stats = read_json(tmp_path / "pool" / "shards" / "step1-00000.stats.json")
    assert stats == {"tried": 6, "kept": 3, "licence": 3}


@pytest.fixture
def originals(tmp_path: Path) -> Path:
    """The folders of the original authors, small."""
    classes = tmp_path / "web"
    for number, name in enumerate(("airplane", "dining_table", "motor_bike", "potted_plant", "tv_monitor", "sheep")):
        (classes / name).mkdir(parents=True)
        for i in (2, 1):
            (classes / name / f"0000{i}.jpg").write_bytes(jpeg(number * 9 + i))
    (classes / "sheep" / "notes.txt").write_text("no image")
    replay = tmp_path / "replay" / "2007_000032"
    (replay / "image").mkdir(parents=True)
    (replay / "image" / "00003.jpg").write_bytes(jpeg(90))
    (replay / "train_fullPath.txt").write_text("image label\n")
    (tmp_path / "replay" / "2007_000039").mkdir()
    (tmp_path / "replay" / "2007_000039" / "flat.png").write_bytes(jpeg(91))
    return tmp_path


def on_disk(folder: Path, **more: Any) -> CrawlIngest:
    return CrawlIngest(source="authors", path=str(folder / "web"), replay_path=str(folder / "replay"), shards=1, **more)


@pytest.mark.parametrize(
    ("text", "name"), [("airplane", "airplane"), ("aeroplane", "airplane"), ("dining table", "dining_table"),
                       ("motorcycle", "motor_bike"), ("television", "tv_monitor"), ("potted plant", "potted_plant")],
)  # fmt: skip
def test_class_folders_are_found_by_name(originals: Path, text: str, name: str) -> None:
    found = search(on_disk(originals), query(text))
    assert [c["url"] for c in found] == [f"folder:{name}/00001.jpg", f"folder:{name}/00002.jpg"]
    assert fetch(on_disk(originals), found[0]["url"]) == (originals / "web" / name / "00001.jpg").read_bytes()


def test_replay_folders_answer_captions_by_their_source_image(originals: Path) -> None:
    settings = on_disk(originals)
    nested = search(settings, query("a plane on grass", "caption", "2007_000032"))
    flat = search(settings, query("a cat", "caption", "2007_000039"))
    assert [c["url"] for c in nested + flat] == ["replay:2007_000032/image/00003.jpg", "replay:2007_000039/flat.png"]
    assert fetch(settings, nested[0]["url"]) == jpeg_at(originals, "replay/2007_000032/image/00003.jpg")
    for source in ("2011_000001", "..", "../web/sheep", "/etc", "."):
        assert search(settings, query("a cat", "caption", source)) == [], source


def jpeg_at(root: Path, inside: str) -> bytes:
    return (root / inside).read_bytes()


def test_an_empty_answer_is_no_error(originals: Path) -> None:
    assert search(on_disk(originals), query("zebra")) == []


OUTSIDE = [
    ("folder:../replay/2007_000039/flat.png", "scheme"), ("folder:/etc/passwd", "scheme"),
    ("folder:%2e%2e/x", "scheme"), ("file:///etc/passwd", "scheme"), ("http://a.test/x", "scheme"),
    ("folder:sheep/gone.jpg", "missing_file"), ("folder:sheep/%00", "missing_file"), ("folder:sheep", "missing_file"),
]  # fmt: skip


@pytest.mark.parametrize(("url", "reason"), OUTSIDE)
def test_nothing_outside_the_folder_is_read(originals: Path, url: str, reason: str) -> None:
    with pytest.raises(FetchError) as caught:
        fetch(on_disk(originals), url)
    assert caught.value.reason == reason


def test_a_folder_is_ingested_like_the_web_and_its_licences_are_read(originals: Path) -> None:
    (originals / "web" / "attribution.csv").write_text(
        "file,title,creator,licence,page_url\nsheep/00001.jpg,A sheep,Ann,by 4.0,http://a.test/sheep\n"
    )
    (originals / "web" / "sheep" / "00003 é.jpg").write_bytes(b"<html>")
    settings = on_disk(originals).model_copy(update={"source": "folder"})
    rows = crawl(originals, settings, [query("sheep")])
    assert [(row["url"], row["reason"]) for row in rows] == [
        ("folder:sheep/00001.jpg", ""), ("folder:sheep/00002.jpg", ""),
        ("folder:sheep/00003%20%C3%A9.jpg", "not_an_image"),
    ]  # fmt: skip
    assert (rows[0]["creator"], rows[0]["licence"], rows[0]["page_url"]) == ("Ann", "by 4.0", "http://a.test/sheep")


def test_a_new_file_is_seen_by_the_next_crawl(originals: Path) -> None:
    assert len(crawl(originals, on_disk(originals), [query("sheep")])) == 2
    (originals / "web" / "sheep" / "00009.jpg").write_bytes(jpeg(200))
    os.utime(originals / "web" / "sheep", (time.time() + 5, time.time() + 5))
    assert len(crawl(originals, on_disk(originals), [query("sheep")])) == 3


def test_a_folder_that_is_none_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="source folder needs crawl_ingest.path to be a folder, got ''"):
        search(CrawlIngest(source="folder"), query("cat"))
    (tmp_path / "attribution.csv").write_text("name,licence\nx,by\n")
    with pytest.raises(SearchError, match="expected `file` and some of"):
        search(CrawlIngest(source="folder", path=str(tmp_path)), query("cat"))
