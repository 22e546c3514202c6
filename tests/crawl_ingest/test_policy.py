"""Licences, the card of a pool, attribution; refreshing, retrying and cleaning a pool."""

import csv
import io
import os
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.artifacts import read_json
from pipeline.crawl_ingest.checks.licence import allows, canonical, deed
from pipeline.crawl_ingest.pool.spool import Segment
from pipeline.crawl_ingest.refresh import clean, refresh
from tests.crawl_ingest.pool import Pool, jpeg
from tests.crawl_ingest.server import RawServer, reply, say

SAME = {
    "by 4.0": ["CC BY 4.0", "cc-by-4.0", "by 4.0", "https://creativecommons.org/licenses/by/4.0/",
               "CC BY 4.0 International", "Creative Commons Attribution 4.0"],
    "by-nc-sa 2.0": ["CC BY-NC-SA 2.0", "http://creativecommons.org/licenses/by-nc-sa/2.0/deed.de",
                     "Attribution-NonCommercial-ShareAlike 2.0"],
    "by-nd": ["CC BY-ND", "Attribution-NoDerivs License"],
    "cc0 1.0": ["CC0 1.0", "cc0 1.0", "https://creativecommons.org/publicdomain/zero/1.0/", "CC0 1.0 Universal"],
    "pdm 1.0": ["Public Domain Mark 1.0", "pdm 1.0", "http://creativecommons.org/publicdomain/mark/1.0/"],
    "all rights reserved": ["All Rights Reserved"], "": ["", "  "],
}  # fmt: skip


@pytest.mark.parametrize("expected", SAME)
def test_one_spelling(expected: str) -> None:
    for name in SAME[expected]:
        assert canonical(name) == expected, name


@given(
    st.sampled_from(["by", "by-sa", "by-nd", "by-nc", "by-nc-sa", "by-nc-nd", "cc0", "pdm"]), st.sampled_from("1234")
)
def test_a_deed_leads_back_to_its_licence(code: str, version: str) -> None:
    assert canonical(deed(f"{code} {version}.0")) == f"{code} {version}.0"
    assert canonical(f"CC {code.upper()} {version}.0" if code.startswith("by") else f"{code} {version}.0")


@given(st.text(max_size=40))
def test_a_licence_that_is_not_understood_is_never_a_free_one(name: str) -> None:
    assert canonical(canonical(name)) == canonical(name)
    if allows(("by", "cc0"), name):
        assert canonical(name).split(" ")[0] in ("by", "cc0")


ALLOWED = [
    ((), "anything", True), (("by",), "CC BY 2.0", True), (("by",), "by-nc 2.0", False), (("by",), "by", True),
    (("by 4.0",), "by 2.0", False), (("by 4.0",), "CC BY 4.0", True), (("by",), "", False), (("unknown",), "", True),
    (("unknown",), "arr", False), (("by", "public domain"), "Public Domain", True), (("by",), "by the author", False),
    (("by",), "CC BY 4.0 nc", False), (("by",), "CC BY 4.0 but not for models", False),
    (("by-sa",), "CC BY-SA 3.0 de", True),
    (("by",), "http://evil.test/creativecommons.org/licenses/by/4.0/", False), (("cc0",), "CC0 but ask me", False),
]  # fmt: skip


@pytest.mark.parametrize(("allowed", "name", "expected"), ALLOWED)
def test_allow_list(allowed: tuple[str, ...], name: str, expected: bool) -> None:
    assert allows(allowed, name) is expected


def test_card_and_attribution(pool: Pool, raw_server: RawServer) -> None:
    raw_server.answers["a.test/1"] = say(reply(status=404))
    raw_server.answers["a.test/2"] = say(reply(jpeg(0)))
    pool.ingest()
    manifest, card = pool.folder / "pool" / "manifests" / "step1.parquet", pool.folder / "pool" / "card.md"
    table = str(pool.out.with_suffix(".parquet"))
    assert (
        pool.run("merge", "--queries", str(pool.folder / "q.parquet"), "--shards", table, "--out", str(manifest)) == 0
    )
    assert pool.run("card", "--manifests", str(manifest), "--out", str(card)) == 0
    text = card.read_text()
    assert "4 images kept of 6 candidates (66.7 %)" in text and "| by 4.0 | 4 | 100.0 % |" in text
    assert "| step1 | 6 | 4 | 0 | 1 | 1 |" in text and "| `http_error` | 1 |" in text
    with open(card.with_name("attribution.csv"), newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 4 and rows[0]["creator"] == "Zoë | Ann"
    assert rows[0]["licence_url"] == "https://creativecommons.org/licenses/by/4.0/"
    assert rows[0]["title"].startswith("'="), "a spreadsheet must not run a stranger's title"
    with tarfile.open(pool.out) as tar:
        names = set(tar.getnames())
    assert {row["file"].split("::")[1] for row in rows} <= names


def test_refresh_finds_damage_on_disk_and_drift_on_the_web(
    pool: Pool, raw_server: RawServer, capsys: pytest.CaptureFixture[str]
) -> None:
    pool.ingest()
    report = pool.folder / "report.json"
    assert refresh([pool.out], pool.settings, report, web=True) == {"intact": 6, "same": 6}
    with Image.open(io.BytesIO(jpeg(1))) as image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=70)
    raw_server.answers |= {
        "a.test/1": say(reply(buffer.getvalue())), "a.test/2": say(reply(jpeg(77))), "a.test/3": say(reply(status=410)),
        "a.test/4": say(reply(jpeg(4), X_Robots_Tag="noai")),
    }  # fmt: skip
    counts = refresh([pool.out], pool.settings, report, web=True)
    assert counts == {"intact": 6, "same": 2, "re_encoded": 1, "changed": 1, "http_error": 1, "robots_header": 1}
    assert [item["url"][-1] for item in read_json(report)["drift"]] == ["1", "2", "3", "4"]
    data = bytearray(pool.out.read_bytes())
    data[1500] ^= 1
    pool.out.write_bytes(data)
    assert pool.run("refresh", "--shards", str(pool.out), "--out", str(report)) == 2
    assert read_json(report)["stored"] == {"intact": 5, "damaged": 1}
    assert "1 stored images are not what their names say" in capsys.readouterr().err
    pool.out.write_bytes(data[:20_000])
    assert refresh([pool.out], pool.settings, report)["missing"] >= 1


def test_refresh_asks_nothing_of_the_web_unless_told(pool: Pool, raw_server: RawServer) -> None:
    pool.ingest()
    before = raw_server.asked.copy()
    refresh([pool.out], pool.settings, pool.folder / "report.json")
    assert raw_server.asked == before


def test_retry_asks_again_for_what_failed_so_and_for_nothing_else(pool: Pool, raw_server: RawServer) -> None:
    late, torn = say(b"", reply(jpeg(1)), pause=1.5), say(reply(b"x", Content_Length="50"), abort=True)
    raw_server.answers |= {
        "a.test/1": [late, say(reply(jpeg(1)))], "a.test/2": [torn, say(reply(jpeg(2)))],
        "a.test/3": [say(reply(status=404)), say(reply(jpeg(3)))],
    }  # fmt: skip
    assert pool.ingest() == ["", "timeout", "connection", "http_error", "", ""]
    assert pool.ingest() == ["", "timeout", "connection", "http_error", "", ""]
    assert pool.ingest(["timeout", "connection"]) == ["", "", "", "http_error", "", ""]
    assert [raw_server.asked[f"a.test/{i}"] for i in range(6)] == [1, 2, 2, 1, 1, 1]


def test_an_unknown_reason_cannot_be_retried(pool: Pool) -> None:
    with pytest.raises(SystemExit):
        pool.run("ingest", "--queries", "q", "--shard", "s-0", "--protocol", "p", "--out", "o", "--retry", "robots")


def test_a_cleaned_pool_needs_no_spool_and_no_request(
    pool: Pool, raw_server: RawServer, capsys: pytest.CaptureFixture[str]
) -> None:
    pool.ingest()
    before, first = raw_server.asked.copy(), pool.out.read_bytes()
    assert pool.run("clean", "--shards", str(pool.out)) == 0
    assert capsys.readouterr().out == f"{sum(len(jpeg(i)) for i in range(6)):,} bytes freed\n"
    assert not list((pool.folder / "pool" / "spool").iterdir())
    # Another shard that finds the same images takes them from the finished one.
    pool.out = pool.out.with_name("step2-00000.tar")
    assert pool.ingest() == [""] * 6 and pool.out.read_bytes() == first and raw_server.asked == before
    # Without any copy of the bytes they are asked for again.
    for file in pool.out.parent.glob("*.tar"):
        file.unlink()
    assert pool.ingest() == [""] * 6 and pool.out.read_bytes() == first
    assert raw_server.asked["a.test/0"] == 2


def test_cleaning_never_gives_up_bytes_for_a_damaged_shard(pool: Pool) -> None:
    pool.ingest()
    data = bytearray(pool.out.read_bytes())
    data[1500] ^= 1
    pool.out.write_bytes(data)
    with pytest.raises(ValueError, match="holds other bytes than the sha256"):
        clean([pool.out], pool.settings, pool.folder / "pool")
    (segment,) = (pool.folder / "pool" / "spool").iterdir()
    assert segment.stat().st_size == sum(len(jpeg(i)) for i in range(6))


def test_cleaning_keeps_what_no_shard_holds_and_leaves_running_crawls_alone(pool: Pool, raw_server: RawServer) -> None:
    # A near duplicate is in no tar, yet a rerun must not ask for it again.
    with Image.open(io.BytesIO(jpeg(1))) as image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=70)
    raw_server.answers["a.test/2"] = say(reply(buffer.getvalue()))
    assert pool.ingest()[2] == "duplicate_near"
    before = raw_server.asked.copy()
    running = Segment(pool.folder / "pool" / "spool")
    running.append(b"not yet recorded")
    assert clean([pool.out], pool.settings, pool.folder / "pool") == sum(len(jpeg(i)) for i in (0, 1, 3, 4, 5))
    assert running.path.read_bytes() == b"not yet recorded"
    running.close()
    assert clean([pool.out], pool.settings, pool.folder / "pool") == len(b"not yet recorded")
    assert pool.ingest()[2] == "duplicate_near" and raw_server.asked == before


def test_torn_bytes_are_asked_for_again(pool: Pool, raw_server: RawServer) -> None:
    """As after a power failure: the outcome is recorded, the segment's end is lost."""
    pool.ingest()
    first = pool.out.read_bytes()
    pool.out.unlink()
    (segment,) = (pool.folder / "pool" / "spool").iterdir()
    os.truncate(segment, segment.stat().st_size - 10)
    assert pool.ingest() == [""] * 6 and pool.out.read_bytes() == first
    assert sorted(raw_server.asked[f"a.test/{i}"] for i in range(6)) == [1, 1, 1, 1, 1, 2]
