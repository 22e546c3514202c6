"""`serve --root R -- COMMAND`: exit codes, signals, and nothing left running."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parents[2]
FETCH = """
import os, socket, sys
address, port = os.environ["PIPELINE_RESOLVE"].partition("=")[2].split(":")
client = socket.create_connection((address, int(port)))
client.sendall(b"GET /robots.txt HTTP/1.0\\r\\nHost: private.miniweb.test\\r\\n\\r\\n")
print(client.makefile().read())
print("port", port)
sys.exit(7)
"""
WAIT = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"


def serve(web_site: Any, *options: str, **settings: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipeline.miniweb", "serve", "--root", str(web_site.root), *options]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings)


def started(server: subprocess.Popen[str]) -> psutil.Process:
    """Return the served command once it runs."""
    assert server.stdout is not None
    return psutil.Process(int(server.stdout.readline()))


def soon(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 5
    while time.monotonic() < end and not condition():
        time.sleep(0.02)
    return condition()


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_command_reaches_the_site_and_its_exit_code_comes_back(web_site: Any, tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    server = serve(web_site, "--log", str(log), "--", "python", "-c", FETCH)
    out, err = server.communicate(timeout=30)
    assert server.returncode == 7, err
    assert "Disallow: /private/" in out
    assert json.loads(log.read_text()) == {"http://private.miniweb.test/robots.txt": 1}
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(out.split()[-1])))


def test_options_after_the_dashes_belong_to_the_command(web_site: Any) -> None:
    server = serve(web_site, "--", "python", "-c", "import sys; print(sys.argv[1:])", "--root", "x", "--", "-y")
    out, _ = server.communicate(timeout=30)
    assert (server.returncode, out.strip()) == (0, "['--root', 'x', '--', '-y']")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_reach_the_command(web_site: Any, number: signal.Signals) -> None:
    answer = f"import signal, sys; signal.signal({int(number)}, lambda *_: sys.exit(33)); "
    server = serve(web_site, "--", "python", "-c", answer + WAIT)
    child = started(server)
    server.send_signal(number)
    assert server.wait(timeout=10) == 33
    assert gone(child)


def test_a_command_ended_by_a_signal_gives_128_plus_its_number(web_site: Any) -> None:
    server = serve(web_site, "--", "python", "-c", WAIT)
    child = started(server)
    os.kill(child.pid, signal.SIGKILL)
    assert server.wait(timeout=10) == 128 + signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's own")
def test_a_killed_server_leaves_no_command_behind(web_site: Any) -> None:
    server = serve(web_site, "--", "python", "-c", WAIT)
    child = started(server)
    server.kill()
    server.wait(timeout=10)
    assert soon(lambda: gone(child))


def test_mistakes_are_one_clear_line(web_site: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pipeline.miniweb.__main__ import main

    root = str(web_site.root)
    for options, expected in (
        (["--root", root], "needs a command"),
        (["--root", root, "--", "no-such-program"], "cannot run `no-such-program`"),
        (["--root", str(tmp_path), "--", "true"], "index.json does not exist"),
    ):
        assert main(["serve", *options]) == 2
        error = capsys.readouterr().err
        assert expected in error
        assert error.count("\n") == 1
