"""envs/install.sh: an environment that is not ours stays, a failed installation leaves the old one."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "envs" / "install.sh"


def install(folder: Path, lock: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    (folder / "lock.txt").write_text(lock)
    command = ["bash", str(SCRIPT), ".venv", "lock.txt", python]
    environment = {"PATH": "/usr/bin:/bin", "PIP_NO_INDEX": "1", "HOME": str(folder)}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=300)


def test_an_environment_of_somebody_else_stays(tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "mine").write_text("x")
    done = install(tmp_path, "")
    assert done.returncode == 2 and "was not made by this project" in done.stderr
    assert done.stderr.count("\n") == 1
    assert (tmp_path / ".venv" / "mine").read_text() == "x"


@pytest.mark.slow
def test_it_is_built_beside_and_swapped(tmp_path: Path) -> None:
    assert install(tmp_path, "# empty\n").returncode == 0
    scripts = [file for file in (tmp_path / ".venv" / "bin").iterdir() if file.is_file() and not file.is_symlink()]
    assert scripts and not any(".venv.new" in file.read_text(errors="replace") for file in scripts)
    version = subprocess.run([tmp_path / ".venv/bin/pip", "--version"], capture_output=True, text=True)
    assert version.returncode == 0 and str(tmp_path / ".venv") in version.stdout
    (tmp_path / ".venv" / "kept").write_text("x")
    again = install(tmp_path, "# empty\n")
    assert again.returncode == 0 and again.stdout == "" and (tmp_path / ".venv" / "kept").exists()

    failed = install(tmp_path, "not-a-package==1.0 --hash=sha256:" + "0" * 64 + "\n")
    assert failed.returncode == 2 and failed.stderr.startswith("error: ") and failed.stderr.count("\n") == 1
    assert (tmp_path / ".venv" / "kept").exists(), "the old environment still works"

    assert install(tmp_path, "# other\n").returncode == 0
    assert not (tmp_path / ".venv" / "kept").exists() and not (tmp_path / ".venv.new").exists()


def test_an_old_python_is_one_line(tmp_path: Path) -> None:
    done = install(tmp_path, "", python="no-such-python")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "no-such-python is not there" in done.stderr
