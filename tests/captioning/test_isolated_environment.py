"""OpenFlamingo-3B's way: a language model with its own code, in the isolated environment, exchanging Parquet."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import CAPTIONS, read_table
from pipeline.config import load_config
from pipeline.workflow import ISOLATED_ENVIRONMENT, Workflow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The isolated environment's interpreter: the one of OPENFLAMINGO3B_PYTHON or of a run, or a fresh one."""
    for path in (os.environ.get("OPENFLAMINGO3B_PYTHON", ""), str(ROOT / ISOLATED_ENVIRONMENT / "bin" / "python")):
        if path and Path(path).exists():
            return path
    folder = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    made = str(folder / "bin" / "python")
    lock = str(ROOT / "envs" / "openflamingo3b.lock.txt")
    install = [made, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "-r", lock]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"envs/openflamingo3b.lock.txt cannot be installed here: {done.stderr.strip()[-200:]}")
    return made


@pytest.fixture(scope="module")
def settings(python: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("flamingo") / "parts"
    run([python, "-m", "tests.captioning.isolated_check", str(folder)])
    made: dict[str, Any] = json.loads((folder / "settings.json").read_text())
    return made


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def caption(python: str, protocol: Path, settings: dict[str, Any], out: Path, **changes: Any) -> Any:
    own = {"captioning": {"captioner": settings["captioning"]["captioner"] | changes}}
    words = ["caption", "--protocol", str(protocol), "--settings", json.dumps(own), "--out", str(out)]
    return run([python, "-m", "pipeline.captioning", *words])


@pytest.mark.slow
def test_batches_through_parquet(python: str, settings: dict[str, Any], protocols: list[Path], tmp_path: Path) -> None:
    facts = json.loads(protocols[0].read_text())
    few = tmp_path / "few.json"
    few.write_text(json.dumps({**facts, "train": facts["train"][:8]}))
    tables = []
    for size in (4, 1):
        done = caption(python, few, settings, tmp_path / f"{size}.parquet", batch_size=size)
        assert done.returncode == 0, done.stderr
        rows = read_table(tmp_path / f"{size}.parquet", CAPTIONS)
        tables.append([(row["image_id"], row["caption"], row["reason"]) for row in rows])
    assert tables[0] == tables[1] and len(tables[0]) == 8
    texts = {text for _, text, _ in tables[0]}
    assert len(texts) > 1, "images change the output"
    assert not any("<" in text for text in texts)


@pytest.mark.slow
def test_wrong_checkpoint_and_changed_code_are_refused(
    python: str, settings: dict[str, Any], protocols: list[Path], tmp_path: Path
) -> None:
    own = settings["captioning"]["captioner"]
    wrong = own["openflamingo"] | {"cross_attention_every": 2}
    done = caption(python, protocols[0], settings, tmp_path / "c.parquet", openflamingo=wrong)
    assert done.returncode == 2 and "cross_attention_every" in done.stderr.splitlines()[-1]
    done = caption(python, protocols[0], settings, tmp_path / "c.parquet", revision="0" * 64)
    assert done.returncode == 2 and "its code has digest" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "c.parquet").exists()


@pytest.mark.slow
def test_main_environment_says_where(settings: dict[str, Any], protocols: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("open_flamingo", reason="envs/main.lock.txt holds it")
    done = caption(sys.executable, protocols[0], settings, tmp_path / "c.parquet")
    assert done.returncode == 2 and "openflamingo.environment: isolated" in done.stderr.splitlines()[-1]


def test_the_workflow_captions_there() -> None:
    config = load_config([ROOT / "config.yaml"]).model_dump(mode="json")
    assert (Workflow(config).captioner_python, Workflow(config).captioner_environment) == ("python", [])
    own = {"language_model": "lm", "environment": "isolated"}
    config["captioning"]["captioner"] |= {"kind": "openflamingo", "openflamingo": own}
    work = Workflow(config)
    assert work.captioner_python == f"{ISOLATED_ENVIRONMENT}/bin/python"
    assert work.captioner_environment == [f"{ISOLATED_ENVIRONMENT}/.ready"]
