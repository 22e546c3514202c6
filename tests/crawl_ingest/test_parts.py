"""Parts of the crawler: headers, robots, addresses, hashes, intake, plans."""

import io
import random
import struct
import warnings
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import imagehash
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from pipeline.artifacts import CAPTIONS, QUERIES, read_table, write_table
from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.checks import reasons
from pipeline.crawl_ingest.checks.image import IntakeError, accept, perceptual_hash
from pipeline.crawl_ingest.fetch.downloader import retry_after
from pipeline.crawl_ingest.fetch.network import is_global, parse_overrides
from pipeline.crawl_ingest.fetch.robots import RobotsRules, opts_out
from pipeline.crawl_ingest.plan import query_limit, write_class_plan, write_plan
from pipeline.crawl_ingest.pool.duplicates import HashIndex
from tests.protocols import protocol_at

AGENT = "ourbot/1.0 (+https://example.org)"
SETTINGS = CrawlIngest()


@given(st.integers(0, 10**6))
def test_retry_after_in_seconds(seconds: int) -> None:
    assert retry_after({"Retry-After": f" {seconds} "}) == seconds


@given(st.integers(-(10**5), 10**5))
def test_retry_after_as_a_date(offset: int) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=offset)
    waited = retry_after({"Retry-After": format_datetime(moment, usegmt=True)})
    assert waited is not None and waited == pytest.approx(max(0, offset), abs=3)


@given(st.text() | st.text("0123456789²٣:-+ GMTWedOct,", max_size=40))
@example("²").via("a digit that is no number")
@example("Mon, 01 Jan 0001 00:00:00 +2359")
def test_retry_after_never_fails(text: str) -> None:
    value = retry_after({"Retry-After": text})
    assert value is None or value >= 0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["noai"], True),
        (["index, NoImageAI"], True),
        (["noindex"], True),
        (["all"], False),
        ([], False),
        (["otherbot: noai"], False),
        (["ourbot: noai"], True),
        (["*: none"], True),
        (["otherbot: noai", "noimageindex"], True),
        (["noai, max-snippet: 3"], True),
        (["max-snippet: 3, noai"], True),
        (["unavailable_after: 25 Jun 2040 15:00:00 PST, noindex"], True),
        (["max-image-preview: large"], False),
        (["otherbot: noai, noindex"], False),
    ],
)
def test_opt_out_headers(values: list[str], expected: bool) -> None:
    assert opts_out(values, AGENT) is expected


@given(st.lists(st.text(max_size=30), max_size=4))
def test_opt_out_never_fails(values: list[str]) -> None:
    assert opts_out(values, AGENT) in (True, False)


def test_robots_rules() -> None:
    rules = RobotsRules("User-agent: *\nDisallow: /private/\nCrawl-delay: 2\n")
    assert rules.allows("http://a.test/x.jpg", AGENT) and not rules.allows("http://a.test/private/x.jpg", AGENT)
    assert rules.delay(AGENT) == 2
    other = RobotsRules("User-agent: *\nDisallow: /\nUser-agent: research\nAllow: /\n")
    assert not other.allows("http://a.test/x.jpg", "ourbot/1.0 (research)"), "a word of the comment is not our name"
    assert RobotsRules("<html>not robots</html>").allows("http://a.test/x.jpg", AGENT)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", False), ("10.1.2.3", False), ("169.254.169.254", False), ("::1", False), ("0.0.0.0", False),
        ("::ffff:127.0.0.1", False), ("fe80::1%eth0", False), ("192.168.0.1", False), ("8.8.8.8", True),
        ("2606:4700::1111", True), ("100.64.0.1", False), ("64:ff9b::7f00:1", False), ("64:ff9b::808:808", True),
        ("2002:7f00:1::", False), ("::127.0.0.1", False), ("::ffff:0:10.0.0.1", False), ("::ffff:8.8.8.8", True),
        ("::", False), ("224.0.0.1", False), ("ff0e::1", False), ("255.255.255.255", False),
    ],
)  # fmt: skip
def test_private_addresses(address: str, expected: bool) -> None:
    assert is_global(address) is expected


def test_overrides() -> None:
    assert parse_overrides("*.a.test=127.0.0.1:80, b.test=127.0.0.2:81") == {
        "*.a.test": ("127.0.0.1", 80),
        "b.test": ("127.0.0.2", 81),
    }
    assert parse_overrides("") == {}
    with pytest.raises(ValueError, match="expected PATTERN=ADDRESS:PORT"):
        parse_overrides("a.test")


@given(st.lists(st.integers(0, 2**64 - 1), max_size=12), st.integers(0, 2**64 - 1), st.integers(0, 8))
def test_hash_index_agrees_with_comparing_every_pair(stored: list[int], asked: int, bits: int) -> None:
    index = HashIndex(bits)
    rng = random.Random(1)
    for value in stored:
        near = value
        for position in rng.sample(range(64), rng.randint(0, bits + 1)):
            near ^= 1 << position
        index.add(f"{near:016x}")
        stored_near = (asked ^ near).bit_count() <= bits
        assert index.near(f"{value:016x}") or (value ^ near).bit_count() > bits
        if stored_near:
            assert index.near(f"{asked:016x}")


@pytest.mark.parametrize("bits", [0, 1, 2, 4, 5, 8, 12, 16])
def test_hash_index_with_sorted_bands_agrees_with_comparing_every_pair(bits: int) -> None:
    # Clustered hashes, so that bands collide; stored in bulk, then one by one past the recent buffer's size.
    rng = np.random.default_rng(bits)
    centres = rng.integers(0, 2**64, 40, np.uint64)
    values = flipped(centres[rng.integers(0, 40, 6000)], rng.integers(0, 14, 6000), rng)
    index = HashIndex(bits)
    index.extend(values[:1500])
    for value in values[1500:]:
        index.add(f"{int(value):016x}")
    assert len(index) == 6000
    asked = flipped(values[rng.integers(0, 6000, 600)], rng.integers(0, bits + 4, 600), rng)
    asked[:100] = rng.integers(0, 2**64, 100, np.uint64)
    closest = np.array([np.bitwise_count(values ^ one).min() for one in asked])
    assert [index.near(f"{int(one):016x}") for one in asked] == list(closest <= bits)
    assert (closest <= bits).any() and (closest > bits).any()


def flipped(values: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the values with so many different bits flipped."""
    order = rng.permuted(np.tile(np.arange(64, dtype=np.uint64), (len(values), 1)), axis=1)
    chosen = np.arange(64) < counts[:, None]
    return values ^ np.where(chosen, np.uint64(1) << order, np.uint64(0)).sum(axis=1, dtype=np.uint64)


def test_perceptual_hash_is_that_of_the_usual_library() -> None:
    # The library filters the full picture, we average blocks first: few bits of few pictures differ.
    apart = []
    for seed in range(60):
        with Image.open(io.BytesIO(picture(size=(100 + 7 * seed, 90), seed=seed))) as image:
            usual = int(str(imagehash.phash(image)), 16)
            apart.append((int(perceptual_hash(image), 16) ^ usual).bit_count())
    assert max(apart) <= 4 and sum(apart) <= 40


def test_perceptual_hash_of_a_file_decoded_in_part_is_that_of_its_pixels() -> None:
    apart = []
    for seed in range(40):
        data = picture(size=(120 + 31 * seed, 90 + 17 * seed), seed=seed)
        with Image.open(io.BytesIO(data)) as image:
            accepted = accept(data, SETTINGS)
            assert (accepted.data, accepted.width, accepted.height) == (data, *image.size)
            apart.append((int(perceptual_hash(image), 16) ^ int(accepted.phash, 16)).bit_count())
    assert max(apart) <= 4 and sum(apart) <= len(apart)


def test_perceptual_hash_of_a_plain_area_is_not_decided_by_chance() -> None:
    sides = [(60, 80), (131, 97), (400, 300), (1023, 511)]
    assert len({perceptual_hash(Image.new("RGB", size, "grey")) for size in sides}) == 1


def test_reasons_are_documented_once() -> None:
    groups = (reasons.REFUSED, reasons.FAILED, reasons.DUPLICATE)
    assert len({r for g in groups for r in g}) == sum(len(g) for g in groups)
    assert reasons.status_of("") == "kept" and reasons.status_of("robots") == "refused"
    with pytest.raises(AssertionError, match="undocumented"):
        reasons.status_of("because")


def picture(
    kind: str = "JPEG", size: tuple[int, int] = (120, 90), mode: str = "RGB", seed: int = -1, **options: object
) -> bytes:
    """Return a file of noise, of smooth noise if a seed is given."""
    shape = (9, 12, 3) if seed >= 0 else (size[1], size[0], 3)
    values = np.random.default_rng(max(seed, 0)).integers(0, 255, shape, dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).resize(size, Image.Resampling.BICUBIC).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def test_plain_jpeg_is_stored_as_it_is() -> None:
    data = picture()
    accepted = accept(data, SETTINGS)
    assert accepted.data == data
    assert (accepted.width, accepted.height) == (120, 90)
    assert len(accepted.phash) == 16


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "L"), ("PNG", "1"), ("WEBP", "RGB"), ("GIF", "P"),
                       ("JPEG", "CMYK"), ("JPEG", "L"), ("BMP", "RGB"), ("TIFF", "RGB")],
)  # fmt: skip
def test_other_formats_become_jpeg(kind: str, mode: str) -> None:
    accepted = accept(picture(kind, mode=mode), SETTINGS)
    with Image.open(io.BytesIO(accepted.data)) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (120, 90))


def test_sixteen_bit_png() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.full((60, 80), 40000, np.uint16)).save(buffer, "PNG")
    assert accept(buffer.getvalue(), SETTINGS).width == 80


def test_orientation_is_applied_and_metadata_dropped() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "camera"
    accepted = accept(picture(exif=exif), SETTINGS)
    assert (accepted.width, accepted.height) == (90, 120)
    with Image.open(io.BytesIO(accepted.data)) as image:
        assert not image.getexif()
    assert b"camera" not in accepted.data


def stored(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(accept(data, SETTINGS).data))


def test_transparency_is_laid_on_white_and_sixteen_bits_are_scaled() -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (60, 60), (200, 0, 0, 0)).save(buffer, "PNG")
    assert stored(buffer.getvalue()).getpixel((5, 5)) == (255, 255, 255)
    for kind in ("PNG", "TIFF"):
        buffer = io.BytesIO()
        Image.fromarray(np.full((60, 80), 0x8080, np.uint16)).save(buffer, kind)
        assert stored(buffer.getvalue()).getpixel((5, 5)) == (128, 128, 128)


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2) + body


@pytest.mark.parametrize("marker", [*range(0xE0, 0xF0), 0xFE])
def test_no_segment_smuggles_metadata_through(marker: int) -> None:
    data = picture()
    smuggled = data[:2] + segment(marker, b"GPS 48.858 N 2.294 E") + data[2:]
    assert b"GPS" not in accept(smuggled, SETTINGS).data


def test_nothing_is_kept_after_the_end_of_the_picture() -> None:
    data = picture(progressive=True)
    assert accept(data, SETTINGS).data == data
    for tail in (b"PK\3\4 an archive", b"<script>alert(1)</script>", picture(), b"\0"):
        assert not accept(data + tail, SETTINGS).data.endswith(tail)


def test_same_bytes_in_give_the_same_bytes_out() -> None:
    data = picture("PNG")
    assert accept(data, SETTINGS) == accept(data, SETTINGS)


def test_whatever_a_decoder_raises_is_no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(image: Image.Image) -> Image.Image:
        raise struct.error("required argument is not an integer")

    monkeypatch.setattr("PIL.ImageOps.exif_transpose", broken)
    with pytest.raises(IntakeError, match="not_an_image"):
        accept(picture("PNG"), SETTINGS)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"<html>", "not_an_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_an_image"),
        (b"\x00" * 500, "not_an_image"),
        (picture()[:1500], "truncated"),
        (picture(size=(40, 200)), "too_small"),
        (picture("PNG", size=(4100, 4000), mode="1"), "too_many_pixels"),
        (picture("PNG")[:-40], "truncated"),
    ],
)
def test_bad_bytes_have_their_reason(data: bytes, reason: str) -> None:
    with pytest.raises(IntakeError) as caught:
        accept(data, SETTINGS)
    assert caught.value.reason == reason


def test_mutated_images_never_crash() -> None:
    warnings.simplefilter("ignore")
    rng = random.Random(0)
    originals = [picture(kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")]
    for _ in range(600):
        data = bytearray(rng.choice(originals))
        for _ in range(rng.randint(1, 30)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            accept(bytes(data[: rng.randint(1, len(data))]), SETTINGS)
        except IntakeError as error:
            assert error.reason in reasons.FAILED


def test_class_plans(protocols: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "q.parquet"
    write_plan("step1", protocols[1], SETTINGS, out)
    rows = read_table(out, QUERIES)
    assert [row["text"] for row in rows] == ["potted plant", "sheep", "sofa", "train", "television"]
    assert [row["class_ids"] for row in rows] == [[16], [17], [18], [19], [20]]
    assert {row["shard"] for row in rows} == {0, 1}
    assert query_limit("step1", SETTINGS) == SETTINGS.per_class
    assert query_limit("replay1", SETTINGS) == SETTINGS.per_caption


@pytest.mark.parametrize("text", ["", "\n \n", "cat\ndog\ncat\n"])
def test_a_list_of_class_names_without_names_or_with_one_twice(text: str, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(ValueError, match="expected one a line"):
        write_class_plan(tmp_path / "classes.txt", SETTINGS, tmp_path / "q.parquet")


def test_replay_plan_spreads_over_classes(protocols: list[Path], tmp_path: Path) -> None:
    import json

    train = json.loads(protocols[0].read_text())["train"]
    rows = [
        {
            "image_id": r["id"],
            "caption": f"picture {r['id']}",
            "seconds": 0.0,
            "model": "",
            "revision": "",
            "reason": "",
        }
        for r in train
    ]
    captions, out = tmp_path / "c.parquet", tmp_path / "q.parquet"
    write_table(captions, rows, CAPTIONS)
    write_plan("replay1", protocols[0], CrawlIngest(replay_queries=30), out, captions)
    queries = read_table(out, QUERIES)
    assert len(queries) == 30 == len({q["text"] for q in queries})
    assert {c for q in queries for c in q["class_ids"]} == set(range(1, 16))
    assert all(q["source_image_id"] in q["text"] for q in queries)
    with pytest.raises(ValueError, match="needs the protocol of step 0"):
        write_plan("replay1", protocols[1], SETTINGS, out, captions)
    with pytest.raises(ValueError, match="--captions"):
        write_plan("replay1", protocols[0], SETTINGS, out)


def test_without_images_old_classes_are_searched_for_by_name(tmp_path: Path) -> None:
    names = {1: "bird", 2: "pottedplant", 3: "sheep"}
    known = {"classes_per_step": ((0, 1, 2), (3,)), "order": (0, 1, 2), "class_names": names}
    write_plan("replay1", protocol_at(tmp_path / "p.json", **known), SETTINGS, tmp_path / "q.parquet")
    queries = read_table(tmp_path / "q.parquet", QUERIES)
    assert [(q["text"], q["class_ids"], q["kind"]) for q in queries] == [
        ("bird", [1], "class"),
        ("potted plant", [2], "class"),
    ]


@pytest.mark.parametrize(
    ("plan", "message"),
    [("step0", "needs the protocol of step 0"), ("base", "step 0, got"), ("steps", "expected base")],
)
def test_plan_and_protocol_must_agree(plan: str, message: str, protocols: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        write_plan(plan, protocols[1], SETTINGS, tmp_path / "q.parquet")
    assert not (tmp_path / "q.parquet").exists()
