"""The wheel: built, installed into an environment of its own, and used outside the checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILT_FROM = ("pipeline", "snakemake_logger_plugin_webseg", "rules", "profiles", "envs")
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
EXPERIMENT = """\
experiment: {name: mine, runs: [{method: ft}, {method: web_wilss, new_images: web, replay: true}]}
"""


def run(*words: str | Path, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder that knows nothing of the checkout."""
    kept = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "OMP_NUM_THREADS": "1", **more}
    return subprocess.run(
        [str(word) for word in words], cwd=folder, env=kept, capture_output=True, text=True, check=False, timeout=900
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy that no earlier build has touched."""
    folder = tmp_path_factory.mktemp("source")
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in BUILT_FROM:
        shutil.copytree(ROOT / name, folder / name, ignore=unwanted)
    (folder / "experiments").mkdir()
    files = [path.name for path in ROOT.iterdir() if path.is_file() and path.name[0] != "."]
    for name in [*files, "experiments/published.tsv"]:
        shutil.copy(ROOT / name, folder / name)
    out = folder / "wheel"
    options = ("--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", str(out))
    done = subprocess.run([*PIP, "wheel", *options, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin/ of a new environment that holds the wheel and sees the libraries of this one."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    pip = [*PIP, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    libraries = next(folder.glob("lib/python3*/site-packages"))
    (libraries / "main_environment.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


@pytest.mark.slow
def test_wheel_holds_what_the_workflow_reads(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    shipped = {name.removeprefix("pipeline/shipped/") for name in held if name.startswith("pipeline/shipped/")}
    tracked = [path.relative_to(ROOT) for name in ("rules", "profiles") for path in (ROOT / name).rglob("*")]
    wanted = {str(path) for path in tracked if (ROOT / path).is_file() and "__pycache__" not in path.parts}
    wanted |= {"Snakefile", "config.yaml", "weights.lock", "experiments/published.tsv", "envs/openflamingo3b.lock.txt"}
    assert shipped - {"setup.py"} == wanted
    data = [path for path in (ROOT / "pipeline").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {str(path.relative_to(ROOT)) for path in data} <= held
    assert not any(name.startswith(("tests/", "bench/", "experiments/")) for name in held)
    licences = {name.split("/licenses/")[1] for name in held if "/licenses/" in name}
    assert licences == {"LICENSE", "pipeline/captioning/wordnet/LICENSE-WORDNET"}


@pytest.mark.slow
def test_help_of_every_command(scripts: Path, tmp_path: Path) -> None:
    done = run(scripts / "webseg", "--help", folder=tmp_path)
    assert done.returncode == 0 and "run an experiment" in done.stdout and done.stderr == ""
    done = run(scripts / "webseg", "crawl", "plan", "--help", folder=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("usage: webseg crawl plan ")


@pytest.mark.slow
def test_weights_are_listed(scripts: Path, tmp_path: Path) -> None:
    done = run(scripts / "webseg", "weights", "list", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "resnet101_iabn_sync.pth.tar" in done.stdout and "licence:" in done.stdout


@pytest.mark.slow
def test_an_experiment_is_planned_in_any_folder(scripts: Path, tmp_path: Path) -> None:
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    (tmp_path / "config.yaml").write_text("this: is not of the project\n")
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "__init__.py").write_text("raise ImportError('not the installed package')\n")
    done = run(scripts / "webseg", "run", "experiment.yaml", "-n", folder=tmp_path)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    jobs = dict(line.split()[:2] for line in done.stdout.splitlines() if len(line.split()) == 2)
    assert jobs["train_base"] == "2" and jobs["train_step"] == "2" and jobs["ingest"] != "0"
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_a_rule_runs_with_the_installed_package(scripts: Path, tmp_path: Path) -> None:
    small = "datasets: {minivoc_train: 40, minivoc_val: 20}\n"
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT + small)
    done = run(scripts / "webseg", "run", "experiment.yaml", "--until", "minivoc", folder=tmp_path)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert (tmp_path / "data" / "minivoc" / "classes.txt").exists()
    assert not (tmp_path / ".snakemake" / "locks" / "0.input.lock").exists()


@pytest.mark.slow
def test_the_packaged_captioner_is_found_from_any_folder(scripts: Path, tmp_path: Path) -> None:
    code = (
        "from pipeline.captioning.captioners import build\n"
        "from pipeline.config import Captioner\n"
        "captioner = build(Captioner())\n"
        "print(captioner.model, len(captioner.revision))\n"
    )
    done = run(scripts / "python", "-P", "-c", code, folder=tmp_path, HF_HUB_OFFLINE="1")
    assert done.stdout.split() == ["pipeline/miniweb/captioner", "64"], done.stderr[-2000:]


@pytest.mark.slow
def test_published_experiments_are_written_into_the_current_folder(scripts: Path, tmp_path: Path) -> None:
    done = run(scripts / "webseg", "experiments", "write", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "experiments").glob("voc_*.yaml"))) > 5


@pytest.mark.slow
def test_own_data_is_taken_from_init_to_a_plan(scripts: Path, tmp_path: Path) -> None:
    from tests.datasets import trees

    trees.own(tmp_path / "mine", n=24)
    done = run(scripts / "webseg", "init", "mine", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    following = done.stdout.strip().splitlines()[-1]
    assert following == "next: webseg run mine/experiment.yaml"
    words = following.removeprefix("next: ").split()
    done = run(scripts / words[0], *words[1:], "-n", folder=tmp_path)
    assert done.returncode == 0 and "train_step" in done.stdout, done.stderr[-2000:]
