"""Ctrl-C saves like SIGTERM does; a second one ends at once."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from pipeline.train import engine
from pipeline.train.preemption import PreemptedError, Preemption
from tests.train.bench import Bench


@pytest.fixture(scope="module")
def bench(minivoc: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(minivoc, tmp_path_factory.mktemp("bench"))


@pytest.mark.parametrize(("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")])
def test_a_signal_asks_and_handlers_come_back(number: int, name: str) -> None:
    before = signal.getsignal(number)
    with Preemption() as preemption:
        assert not preemption.anywhere()
        os.kill(os.getpid(), number)
        assert preemption.anywhere() and preemption.name == name
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_ends_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), Preemption():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_saves_the_state_and_the_rest_goes_on(bench: Bench, tmp_path: Path, monkeypatch: Any) -> None:
    step = bench.step("ft", "small_cnn", 1, bench.base("ce", "small_cnn"), tmp_path)
    real, seen = engine._iterate, []

    def iterate(*arguments: Any) -> Any:
        seen.append(arguments[-1])
        if arguments[-1] == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return real(*arguments)

    monkeypatch.setattr(engine, "_iterate", iterate)
    with pytest.raises(PreemptedError, match=r"Ctrl-C, state saved after 2 iterations"):
        engine.train_step(step)
    engine.train_step(bench.step("ft", "small_cnn", 1, bench.base("ce", "small_cnn"), tmp_path))
    assert seen == list(range(step.iterations)), "no iteration twice, none left out"
    assert (tmp_path / "model.safetensors").exists()
