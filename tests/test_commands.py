"""`webseg`: its table leads to commands, its help imports no library, its mistakes are one line."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.__main__ import COMMANDS, find, help_text, main
from pipeline.experiments import run

ROOT = Path(__file__).parents[1]
STAGES = sorted(path.parent.name for path in (ROOT / "pipeline").glob("*/__main__.py"))


def test_every_stage_has_a_command_and_every_command_a_module() -> None:
    for command in COMMANDS.values():
        assert importlib.util.find_spec(command.module) is not None, command.module
    for stage in STAGES:
        found = find(stage)
        assert found is not None and found.module == f"pipeline.{stage}.__main__", "add a line to COMMANDS"
    for name, command in COMMANDS.items():
        assert f"  {name} " in help_text() and command.about in help_text()


def test_help_and_version_import_no_library() -> None:
    code = (
        "import sys; from pipeline.__main__ import main\n"
        "assert main(['--help']) == 0 and main(['--version']) == 0\n"
        "own = ('pipeline', '__main__')\n"
        "print(*sorted({m.split('.')[0] for m in sys.modules} - sys.stdlib_module_names - set(own)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    before = "import sys; print(*sorted({m.split('.')[0] for m in sys.modules} - sys.stdlib_module_names))"
    bare = subprocess.run([sys.executable, "-c", before], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(done.stdout.splitlines()[-1].split()) <= set(bare.stdout.split()) | {"__mp_main__"}


def test_usage_has_the_name_that_was_called(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["crawl_ingest", "plan", "--help"])
    assert capsys.readouterr().out.startswith("usage: webseg crawl plan ")
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.saliency", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("usage: python -m pipeline.saliency ")


def test_a_wrong_name_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crwal"]) == 2
    assert capsys.readouterr().err == "error: no command `crwal`; did you mean `crawl`?\n"
    assert main(["zzz"]) == 2
    assert capsys.readouterr().err == "error: no command `zzz`; `webseg --help` lists them\n"
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("usage: webseg COMMAND")


def test_exit_codes_are_those_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "list"]) == 0
    assert main(["weights", "check", "no_such_file.pth"]) == 2
    assert "no_such_file.pth is not in" in capsys.readouterr().err


def test_run_is_snakemake_with_the_packaged_workflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("{}")
    snakemake = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    shown = ["--logger", "webseg"]
    lock = [sys.executable, "-m", "pipeline.runtime.lock", ".snakemake/run.lock"]
    assert run.command(["mine.yaml", "-n"]) == [*snakemake, *shown, "--configfile", "mine.yaml", "-n"]
    assert run.command(["mine.yaml", "-c", "4"]) == [
        *lock,
        *snakemake,
        "--nolock",
        *shown,
        "--configfile",
        "mine.yaml",
        "-c",
        "4",
    ]
    assert run.command([]) == [*lock, *snakemake, "--nolock", *shown]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["other.yaml", "-n"], "experiment other.yaml does not exist"),
        (["--configfile", "mine.yaml"], "name the experiment's file as the first word"),
        (["--snakefile=Snakefile"], "webseg run sets --snakefile"),
    ],
)
def test_mistakes_of_run_are_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(words) == 2
    said = capsys.readouterr().err
    assert message in said and len(said.splitlines()) == 1


def test_rules_find_this_python_and_this_package() -> None:
    made = run.environment({"PATH": "/usr/bin", "PYTHONPATH": "/elsewhere"})
    assert made["PATH"] == f"{Path(sys.executable).parent}:/usr/bin"
    assert made["PYTHONPATH"] == f"{ROOT}:/elsewhere"
