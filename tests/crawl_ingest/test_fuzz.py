"""The fuzz run of the image intake, short, and that it would notice what it looks for."""

import os
import time
from collections.abc import Callable

import pytest

from bench import fuzz_intake
from pipeline.crawl_ingest.checks.image import IntakeError


def exhaust() -> None:
    """Ask for more than the cap."""
    bytearray(2 * fuzz_intake.MEGABYTES * 2**20)


def exhaust_in_a_decoder() -> None:
    """Ask for more than the cap where every exception is a refusal."""
    try:
        exhaust()
    except MemoryError:
        raise IntakeError("not_an_image") from None


@pytest.mark.slow
def test_mutated_files_are_accepted_or_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert fuzz_intake.main(["--inputs", "2000", "--seed", "7"]) == 0
    assert capfd.readouterr().out.startswith("2,000 inputs in ")


@pytest.mark.slow
def test_every_response_of_a_hostile_server_has_a_row(capfd: pytest.CaptureFixture[str]) -> None:
    assert fuzz_intake.main(["--responses", "300", "--seed", "5"]) == 0
    said = capfd.readouterr().out
    assert said.startswith("300 responses in ") and " 0 without a row" in said and "'kept'" in said


@pytest.mark.parametrize(
    ("fault", "said"),
    [(lambda: os._exit(1), "crashed"), (lambda: time.sleep(60), "hung"), (exhaust, "raised MemoryError"),
     (exhaust_in_a_decoder, "wanted memory over the cap"), (lambda: [][0], "raised IndexError")],
)  # fmt: skip
def test_a_crash_a_hang_an_exception_and_too_much_memory_are_noticed(
    fault: Callable[[], object], said: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    real, calls = fuzz_intake.accept, []

    def broken(data: bytes, settings: object) -> object:
        calls.append(1)
        if len(calls) == 5:
            fault()
        return real(data, settings)

    monkeypatch.setattr(fuzz_intake, "accept", broken)
    monkeypatch.setattr(fuzz_intake, "SECONDS", 2.0)
    assert fuzz_intake.main(["--inputs", "50"]) == 1
    assert f"input 3 of seed 0: {said}" in capfd.readouterr().out
