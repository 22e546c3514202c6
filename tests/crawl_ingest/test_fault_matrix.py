"""One crawl over every misbehaviour we know: each address ends in its own documented reason, and the crawl goes on."""

import gzip
import io
import json
import socketserver
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.artifacts import INGEST, QUERIES, read_table, write_table
from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.checks.reasons import FAILED, REFUSED
from pipeline.crawl_ingest.crawl import ingest
from tests.crawl_ingest.asking import query
from tests.crawl_ingest.server import Answer, RawServer, reply, say
from tests.protocols import protocol_at

CONNECTIONS = 4


def picture(seed: int, kind: str = "JPEG", size: tuple[int, int] = (120, 90), mode: str = "RGB", **how: Any) -> bytes:
    values = np.random.default_rng(seed).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).resize(size, Image.Resampling.BICUBIC).convert(mode).save(buffer, kind, **how)
    return buffer.getvalue()


def exif_with_place() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = "GPS 48.858 N"
    return exif


def bomb() -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (4100, 4000)).save(buffer, "PNG")
    assert len(buffer.getvalue()) < 10_000
    return buffer.getvalue()


GOOD = picture(0)
GIF = b"GIF89a"
SCRIPT = b"<script>alert(1)</script>"
ENDLESS = say(reply(Content_Length="150000"), b"x", pause=0.05, forever=True)
moved = lambda to, **more: say(reply(status=302, Location=to, **more))  # noqa: E731
body = lambda data, **headers: say(reply(data, **headers))  # noqa: E731

MATRIX: dict[str, tuple[Answer | None, str]] = {
    # Transport.
    "never-ending body": (ENDLESS, "timeout"),
    "never-ending headers": (say(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", pause=0.05, forever=True), "timeout"),
    "no answer": (say(), "timeout"),
    "slow body": (say(reply(GOOD)[:300], reply(GOOD)[300:], pause=4.0), "timeout"),
    "fast endless body": (say(reply(Transfer_Encoding="chunked"), b"2000\r\n" + b"x" * 8192 + b"\r\n", forever=True),
                          "too_large"),
    "declared too large": (body(b"x", Content_Length="99999999"), "too_large"),
    "length too long": (say(reply(GOOD, Content_Length=str(len(GOOD) + 9)), abort=True), "connection"),
    "length too short": (body(GOOD, Content_Length="900", Connection="close"), "connection"),
    "reset mid-body": (say(reply(GOOD)[:900], abort=True), "connection"),
    "reset at once": (say(abort=True), "connection"),
    "not HTTP": (say(b"SSH-2.0-OpenSSH_9.2\r\n", abort=True), "connection"),
    "chunked garbage": (say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nno\r\n", abort=True),
                        "connection"),
    "gzip bomb": (body(gzip.compress(b"\0" * 30_000_000), Content_Encoding="gzip"), "too_large"),
    "gzip garbage": (body(b"not gzip", Content_Encoding="gzip"), "connection"),
    "huge header": (body(b"", X_Big="y" * 100_000), "connection"),
    "header of raw bytes": (say(b"HTTP/1.1 200 OK\r\n\xff\xfe\x00\r\n\r\n", abort=True), "connection"),
    # Statuses.
    "gone": (body(b"", status=410), "http_error"),
    "teapot": (body(b"", status=418), "http_error"),
    "no content": (body(b"", status=204), "http_error"),
    "always busy": (body(b"", status=503, Retry_After="0"), "http_error"),
    # Redirects.
    "redirect loop": (moved("/redirect%20loop"), "redirect_limit"),
    "redirect without target": (body(b"", status=302), "http_error"),
    "redirect to 127.0.0.1": (moved("http://127.0.0.1/private"), "private_address"),
    "redirect to metadata": (moved("http://169.254.169.254/latest/meta-data"), "private_address"),
    "redirect to ::1": (moved("http://[::1]/private"), "private_address"),
    "redirect to mapped": (moved("http://[::ffff:10.0.0.1]/private"), "private_address"),
    "redirect to decimal": (moved("http://2130706433/private"), "scheme"),
    "redirect to octal": (moved("http://0177.0.0.1/private"), "scheme"),
    "redirect to localhost": (moved("http://localhost/private"), "private_address"),
    "redirect to file": (moved("file:///etc/passwd"), "scheme"),
    "redirect to javascript": (moved("javascript:alert(1)"), "scheme"),
    "redirect to a bad port": (moved("http://a.test:99999/x"), "scheme"),
    "redirect to raw bytes": (moved("http://\xe9\xff.test/\xff"), "scheme"),
    "redirect to a forbidden path": (moved("http://rules.test/secret/x"), "robots"),
    # Opt-outs.
    "opted out": (body(GOOD, X_Robots_Tag="noai"), "robots_header"),
    "opted out for us": (body(GOOD, X_Robots_Tag="web-continual-segmentation: noimageai"), "robots_header"),
    "redirect that opts out": (moved("http://a.test/good", X_Robots_Tag="noai"), "robots_header"),
    # Contents.
    "zero bytes": (body(b""), "empty"),
    "error page with 200": (body(b"<html>Not found</html>", Content_Type="image/jpeg"), "not_an_image"),
    "svg": (body(b"<svg xmlns='http://www.w3.org/2000/svg'/>", Content_Type="image/svg+xml"), "not_an_image"),
    "pdf": (body(b"%PDF-1.7\n" + bytes(500)), "not_an_image"),
    "archive": (body(b"PK\3\4" + bytes(500)), "not_an_image"),
    "noise": (body(bytes(range(256)) * 9), "not_an_image"),
    "cut JPEG": (body(GOOD[:-600]), "truncated"),
    "cut PNG": (body(picture(2, "PNG")[:-40]), "truncated"),
    "bomb": (body(bomb()), "too_many_pixels"),
    "icon": (body(picture(3, size=(16, 16))), "too_small"),
    "GIF that is a script": (body(GIF + b"=1;" + SCRIPT + bytes(50)), "not_an_image"),
    # What is odd and still a picture.
    "JPEG with a script behind": (body(picture(4) + SCRIPT), ""),
    "JPEG with an archive behind": (body(picture(5) + b"PK\3\4 secret"), ""),
    "JPEG with GPS": (body(picture(6, exif=exif_with_place())), ""),
    "JPEG called HTML": (body(picture(7), Content_Type="text/html"), ""),
    "CMYK": (body(picture(8, mode="CMYK")), ""),
    "animated": (body(picture(9, "GIF", save_all=True, append_images=[Image.new("RGB", (120, 90))])), ""),
    "busy once": ([body(b"", status=429, Retry_After="0"), body(picture(10))], ""),  # type: ignore[dict-item]
    "ünïcödé ☃": (body(picture(11)), ""),
    "very long " + "x" * 15_000: (body(picture(12)), ""),
    "good": (body(GOOD), ""),
}  # fmt: skip
ELSEWHERE = {
    "http://nowhere.invalid/x": "connection", "https://plain.tls/x": "connection",
    "http://refused.dead/x": "connection",
    "ftp://a.test/x": "scheme", "data:image/png;base64,AAAA": "scheme", "http://user:pw@a.test/x": "scheme",
    "http://[::1/x": "scheme", "http://10.0.0.1/x": "private_address", "http://0x7f000001/x": "private_address",
    "http://rules.test/secret/1": "robots", "http://rules.test/open": "", "http://down.test/x": "robots_unreachable",
    "http://slow.test/x": "robots_unreachable", "http://loop.test/x": "robots_unreachable",
    "http://huge.test/secret": "robots", "http://moved.test/secret/2": "robots", "http://html.test/x": "",
    "http://patient.test/x": "crawl_delay", "http://a.test/good": "duplicate_url",
}  # fmt: skip
RULES = body(b"User-agent: *\nDisallow: /secret\n")
ROBOTS = {
    "rules": RULES, "down": body(b"", status=500), "slow": ENDLESS, "loop": moved("/robots.txt"),
    "huge": body(b"User-agent: *\nDisallow: /secret\n" + b"#" * 3_000_000), "moved": moved("http://rules.test/robots.txt"),
    "html": body(b"<html>no rules here</html>"), "patient": body(b"User-agent: *\nCrawl-delay: 86400\n"),
}  # fmt: skip


def test_the_matrix_is_large_and_covers_every_reason() -> None:
    assert len(MATRIX) + len(ELSEWHERE) >= 60
    reasons = {reason for _, reason in MATRIX.values()} | set(ELSEWHERE.values())
    # test_sources, test_lists_and_folders, test_safety, test_hostile_addresses, test_decoders
    elsewhere = {"told_to_wait", "licence", "other_bytes", "missing_file", "unsafe"}
    elsewhere |= {"long_address", "unexpected", "too_complex", "decoder_limit"}
    assert set(REFUSED) | set(FAILED) <= reasons | elsewhere


class Plain(socketserver.BaseRequestHandler):
    """Answers a TLS handshake with HTTP."""

    def handle(self) -> None:
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


@pytest.fixture
def no_tls() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Plain) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.slow
def test_every_fault_ends_in_its_reason_and_the_crawl_goes_on(
    raw_server: RawServer, no_tls: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_RESOLVE", f"{raw_server.resolve},*.dead=127.0.0.1:9,*.tls=127.0.0.1:{no_tls}")
    for name, answer in ROBOTS.items():
        raw_server.answers[f"{name}.test/robots.txt"] = answer
    raw_server.answers |= {"rules.test/open": body(picture(20)), "html.test/x": body(picture(21))}
    expected = {}
    for name, (answer, reason) in MATRIX.items():
        url = f"http://a.test/{name}"
        expected[url] = reason
        raw_server.answers[f"a.test/{quoted(name)}"] = answer
    expected = {**expected, **ELSEWHERE, "http://a.test/good": ""}
    urls = [*expected, "http://a.test/good"]
    pq.write_table(pa.table({"url": urls, "query": ["cat"] * len(urls)}), tmp_path / "list.parquet")
    rows = crawl(tmp_path)
    assert [row["reason"] for row in rows] == [*expected.values(), "duplicate_url"]
    asked = set(raw_server.asked)
    assert not any("secret" in path or "private" in path or path == "patient.test/x" for path in asked)
    assert raw_server.asked["a.test/good"] == 1
    # The server goes on for a while with answers that were given up; robots.txt may be read beside.
    given_up = sum(reason in ("timeout", "too_large") for _, reason in MATRIX.values())
    assert raw_server.most["a.test"] <= CONNECTIONS + 1 + given_up
    with tarfile.open(tmp_path / "pool" / "shards" / "step1-00000.tar") as tar:
        stored = b"".join(tar.extractfile(m).read() for m in tar if m.name.endswith(".jpg"))  # type: ignore[union-attr]
        assert all(name.split(".")[0].isalnum() and len(name) == 64 + 4 for name in tar.getnames() if ".jpg" in name)
    assert not any(hidden in stored for hidden in (b"GPS", b"script", b"secret"))


def quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="/:")


def crawl(folder: Path) -> list[dict[str, Any]]:
    settings = CrawlIngest(
        source="url_list", path=str(folder / "list.parquet"), timeout=3.0, retries=1, max_bytes=300_000, shards=1,
        connections_per_host=CONNECTIONS, connections=24, user_agent="web-continual-segmentation/0.1 (me@example.com)",
    )  # fmt: skip
    write_table(folder / "q.parquet", [query("cat")], QUERIES)
    protocol_at(folder / "step0.json")
    out = folder / "pool" / "shards" / "step1-00000.tar"
    counts = ingest(folder / "q.parquet", out.stem, folder / "step0.json", settings, out)
    rows = read_table(out.with_suffix(".parquet"), INGEST)
    assert sum(counts.values()) == len(rows)
    assert json.loads((out.parent / "step1-00000.stats.json").read_text())["tried"] == len(rows)
    return rows
