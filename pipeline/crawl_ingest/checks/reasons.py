"""Every way an address can end, and what each means. A row's status follows from its reason."""

from __future__ import annotations

KEPT = ""

REFUSED = {
    "robots": "robots.txt disallows the path",
    "robots_unreachable": "robots.txt could not be read (5xx, no answer), so nothing on the host may be fetched",
    "crawl_delay": "robots.txt asks for longer gaps between requests than the crawl can wait",
    "robots_header": "X-Robots-Tag opts out (noai, noimageai, noindex, noimageindex)",
    "private_address": "the host resolves to an address that is not global",
    "licence": "the licence is not on the allow-list; the address was not requested",
    "unsafe": "the safety score of what the image shows is above the threshold; both are in its row",
    "scheme": "the address or a redirect is not a plain http or https address",
    "long_address": "the address or a redirect is longer than any that is asked for",
}
FAILED = {
    "http_error": "the server answered with an error status, after retries where they make sense",
    "told_to_wait": "the host asked for a longer pause (Retry-After) than the crawl can wait; a rerun asks again",
    "timeout": "no complete answer within the time cap",
    "connection": "the connection could not be made or broke",
    "redirect_limit": "more redirects than allowed, or a loop",
    "too_large": "the body exceeds the byte cap",
    "missing_file": "the file of a local folder cannot be read",
    "other_bytes": "the bytes are not those whose sha256 the list of addresses states",
    "empty": "the body has no bytes",
    "not_an_image": "the bytes do not decode as a raster image",
    "truncated": "the image ends before its last row",
    "too_many_pixels": "the image exceeds the pixel cap (decompression bomb)",
    "too_small": "the shorter side is below the minimum",
    "too_complex": "more scans, segments, tiles or chunks than images have; it was not decoded",
    "decoder_limit": "decoding took more time or memory than one image may, and was ended",
    "unexpected": "an error that no other reason explains; its type stands after the colon",
}
RETRIED = frozenset(FAILED) | {"robots_unreachable"}
"""What a user may ask for again: an answer that can be another one tomorrow."""
DUPLICATE = {
    "duplicate_url": "the address was found before in this plan",
    "duplicate_exact": "the same bytes were kept before",
    "duplicate_near": "a kept image has nearly the same perceptual hash",
    "duplicate_of_evaluation": "an evaluation image has nearly the same perceptual hash",
}


def unexpected(error: BaseException) -> str:
    """Return the reason of last resort, which holds the error's type."""
    return f"unexpected:{type(error).__name__}"


def kind_of(reason: str) -> str:
    """Return the documented reason: without what stands after the colon."""
    return reason.partition(":")[0]


def status_of(reason: str) -> str:
    """Return kept, refused, failed or duplicate."""
    if reason == KEPT:
        return "kept"
    for status, reasons in (("refused", REFUSED), ("failed", FAILED), ("duplicate", DUPLICATE)):
        if kind_of(reason) in reasons:
            return status
    raise AssertionError(f"undocumented reason {reason!r}")
