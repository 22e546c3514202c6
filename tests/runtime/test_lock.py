"""The run lock: one run at a time, and a killed run leaves no lock behind."""

import subprocess
import sys
from pathlib import Path


def start(lock: Path, code: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipeline.runtime.lock", str(lock), sys.executable, "-c", code]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )


def test_second_run_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    lock = tmp_path / "run.lock"
    first = start(lock, "import time; print('in', flush=True); time.sleep(60)")
    assert first.stdout is not None and first.stdout.readline() == "in\n"
    second = start(lock, "print('in')")
    _, error = second.communicate(timeout=20)
    assert second.returncode == 2 and "another run holds" in error
    first.kill()
    first.wait()
    third = start(lock, "import sys; print('in'); sys.exit(5)")
    assert third.communicate(timeout=20)[0] == "in\n" and third.returncode == 5
