"""robots.txt and X-Robots-Tag as hosts write them, and as attackers do."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.crawl import ingest
from pipeline.crawl_ingest.fetch.robots import RobotsRules, decode_robots, opts_out
from tests.crawl_ingest.listed import AGENT, crawl
from tests.crawl_ingest.pool import jpeg
from tests.crawl_ingest.server import RawServer, reply, say

OURS = "web-continual-segmentation"
# robots.txt.

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]


@given(
    st.sampled_from(ENCODINGS),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([OURS, OURS.upper(), "*", f"{OURS}/2.0"]),
)
def test_a_rule_holds_in_every_encoding(encoding: str, end: str, agent: str) -> None:
    text = end.join(["User-agent: " + agent, "Disallow: /secret", "Allow: /", ""])
    for mark in ("", "\ufeff") if encoding.startswith("utf-16-") else ("",):
        rules = RobotsRules(decode_robots((mark + text).encode(encoding)), AGENT)
        assert not rules.allows("http://a.test/secret/x", AGENT) and rules.allows("http://a.test/open", AGENT)


@given(st.integers(1, len(OURS) - 1), st.booleans())
def test_a_group_that_names_a_part_of_our_name_is_not_ours(length: int, before: bool) -> None:
    part = OURS[:length] if before else OURS[length:]
    rules = RobotsRules(f"User-agent: {part}\nAllow: /\n\nUser-agent: *\nDisallow: /\n")
    assert not rules.allows("http://a.test/x", AGENT)
    rules = RobotsRules(f"User-agent: {part}\nDisallow: /\n")
    assert rules.allows("http://a.test/x", AGENT)


def test_our_own_group_counts_alone_and_is_joined_from_its_parts() -> None:
    text = f"User-agent: *\nDisallow: /\n\nUser-agent: a\nUser-agent: {OURS}\nSitemap: x\nDisallow: /1\n\n"
    text += f"User-agent: {OURS}\nDisallow: /2\n"
    rules = RobotsRules(text, AGENT)
    assert [rules.allows(f"http://a.test/{i}", AGENT) for i in range(3)] == [True, False, False]
    assert RobotsRules(f"User-agent: *\nDisallow: /\nUser-agent: {OURS}\nDisallow:\n").allows("http://a.test/x", AGENT)


RULES = "".join(f"Disallow: /p{i}\n" for i in range(17_000))
BOMBS = {
    "agents times rules": "".join(f"User-agent: bot{i}\n" for i in range(18_000)) + RULES,
    "our agents times rules": "User-agent: *\n" * 14_000 + RULES,
    "wildcards": "User-agent: *\n" + "".join(f"Disallow: /*a{i}$\n" for i in range(26_000)),
    "one rule of stars": "User-agent: *\nDisallow: /" + "*a" * 240_000,
    "no ends of lines": "User-agent: *" * 40_000,
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_robots_bombs_cost_little(name: str) -> None:
    began = time.process_time()
    rules = RobotsRules(decode_robots(BOMBS[name].encode()[:512_000], whole=False), AGENT)
    parsed = time.process_time()
    for _ in range(3):
        rules.allows("http://a.test/" + "a" * 30_000, AGENT)
        rules.allows("http://a.test/x.jpg", AGENT)
    assert parsed - began < 5 and time.process_time() - parsed < 1
    if name == "our agents times rules":
        assert not rules.allows("http://a.test/p7", AGENT)


def test_half_a_rule_is_no_rule() -> None:
    rules = RobotsRules(decode_robots(b"User-agent: *\nDisallow: /\nAllow: /open\nAllow: /", whole=False), AGENT)
    assert not rules.allows("http://a.test/x", AGENT) and rules.allows("http://a.test/open", AGENT)


DIRECTIVE = st.sampled_from(["noai", "NoImageAI", "noindex", "none"])
HARMLESS = st.sampled_from(["all", "nofollow", "max-snippet: 3", "unavailable_after: Friday, 25-Jun-10 15:00:00 PST"])


@given(st.lists(HARMLESS, max_size=3), DIRECTIVE, st.lists(HARMLESS, max_size=3),
       st.sampled_from([", ", ",", ";", " ; ", " , "]), st.sampled_from(["", '"', "'", " "]),
       st.sampled_from(["", f"{OURS}: ", f"{OURS.upper()}:", "*: ", f"{OURS}/0.1: "]))  # fmt: skip
def test_an_opt_out_is_seen_however_it_is_written(
    before: list[str], directive: str, after: list[str], separator: str, quote: str, agent: str
) -> None:
    value = agent + separator.join([*before, f"{quote}{directive}{quote}", *after])
    assert opts_out([value], AGENT)
    assert not opts_out([f"otherbot: {value.removeprefix(agent)}"], AGENT)


def test_five_redirects_of_robots_txt_are_followed(raw_server: RawServer, tmp_path: Path) -> None:
    for length, host in ((5, "a"), (6, "b")):
        raw_server.answers[f"{host}.test/robots.txt"] = say(reply(status=301, Location="/r1"))
        for hop in range(1, length):
            raw_server.answers[f"{host}.test/r{hop}"] = say(reply(status=301, Location=f"/r{hop + 1}"))
        raw_server.answers[f"{host}.test/r{length}"] = say(reply(b"User-agent: *\nDisallow: /secret\n"))
    rows = crawl(tmp_path, ["http://a.test/secret", "http://b.test/secret"])
    assert [row["reason"] for row in rows] == ["robots", "robots_unreachable"]


def test_robots_that_could_not_be_read_can_be_asked_for_again(raw_server: RawServer, tmp_path: Path) -> None:
    raw_server.answers["a.test/robots.txt"] = [say(reply(status=500)), say(reply(status=404))]
    raw_server.answers["a.test/x"] = say(reply(jpeg(0)))
    assert crawl(tmp_path, ["http://a.test/x"])[0]["reason"] == "robots_unreachable"
    out = tmp_path / "pool" / "shards" / "step1-00000.tar"
    chosen = CrawlIngest(
        source="url_list", path=str(tmp_path / "list.parquet"), shards=1, timeout=5.0, retries=0, connections=8,
        connections_per_host=8, user_agent=AGENT,
    )  # fmt: skip
    counts = ingest(tmp_path / "q.parquet", out.stem, None, chosen, out, ["robots_unreachable", "unexpected"])
    assert counts == {"kept": 1}
