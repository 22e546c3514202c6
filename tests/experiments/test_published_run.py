"""Published experiments with one command on a small tree of VOC's layout, and the word when VOC is not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.datasets.readers.class_names import VOC
from pipeline.miniweb.drawing import draw_scene
from tests.datasets import trees
from tests.workflow.conftest import Workspace

pytestmark = pytest.mark.slow
FILE = "experiments/voc_15-5_overlap_resnet101.yaml"
WEB_RUN = "wilson+web"
PHASE = {"epochs": 1, "iterations": 2, "batch_size": 2}
SMALL = {
    "datasets": {"subset": True, "train_size": 48, "eval_size": 48},
    "train": {"backbone": "small_cnn", "pretrained": "", "workers": 0, "threads": 1, "tensorboard": False,
              "base": PHASE, "step": PHASE},
    "eval": {"overlays": 1},
}  # fmt: skip

# In place of Openverse, BLIP and EfficientNet: a folder of images, their titles, and the small network.
FOLDER = {
    "crawl_ingest": {"source": "folder", "path": "web", "per_class": 6, "base_per_class": 6, "shards": 1,
                     "min_side": 48},
    "captioning": {"captioner": {"kind": "alt_text", "name": "titles", "model": ""}},
    "fourier_filter": {"discriminator": {"network": "small", "resize": 40, "crop": 32, "epochs": 1,
                                         "held_out_repeats": 1, "held_out_epochs": 1}, "selection": {"budget": 4}},
}  # fmt: skip


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    work = Workspace(tmp_path / "work")
    (work.folder / "small.yaml").write_text(yaml.safe_dump(SMALL))
    return work


def run(work: Workspace, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=work.folder, env=work.environment(), capture_output=True, text=True, timeout=800,
    )  # fmt: skip


def snakemake(work: Workspace, *options: str, only: str = "plop") -> subprocess.CompletedProcess[str]:
    profile = ("--cores", "2", "--workflow-profile", "profiles/default")
    return run(work, "snakemake", *options, *profile, "--configfile", FILE, "small.yaml", "--config", f"only={only}")


def class_folders(root: Path) -> None:
    """Draw six images of every class into a folder of its name, with titles."""
    lines = ["file,title"]
    for class_id, name in enumerate(VOC[1:], start=1):
        (root / name).mkdir(parents=True)
        for i in range(6):
            draw_scene(np.random.default_rng((class_id, i)), [class_id]).image.save(root / name / f"{i}.png")
            lines.append(f"{name}/{i}.png,a photo of a {name}")
    (root / "attribution.csv").write_text("\n".join(lines) + "\n")


def test_one_command_ends_in_published_ours_and_difference(work: Workspace) -> None:
    trees.official_voc(work.folder / "data" / "voc")
    done = snakemake(work)
    assert done.returncode == 0, done.stderr[-5000:]
    results = work.folder / "results" / Path(FILE).stem
    assert (results / "report" / "index.html").stat().st_size > 10_000
    said = (work.folder / "logs" / "prepare_voc.log").read_text()
    assert "train: 56 of 56 images and masks readable" in said
    configs = [part for file in ("config.yaml", FILE, "small.yaml") for part in ("--config", file)]
    printed = run(work, "pipeline.eval", "summary", "--steps", "1", *configs).stdout
    assert "plop by PLOP" in printed and "75.73" in printed and "difference" in printed


def test_the_open_web_ends_in_a_report_without_truth(work: Workspace) -> None:
    trees.official_voc(work.folder / "data" / "voc")
    class_folders(work.folder / "web")
    (work.folder / "small.yaml").write_text(yaml.safe_dump(SMALL | FOLDER))
    done = snakemake(work, only=WEB_RUN)
    assert done.returncode == 0, done.stderr[-5000:]
    page = (work.folder / "results" / Path(FILE).stem / "report" / "index.html").read_text()
    assert "Kept and rejected" in page and "How good the filters were" not in page


def test_without_the_data_the_official_page_is_named(work: Workspace) -> None:
    done = snakemake(work, f"results/{Path(FILE).stem}/protocol/step0.json")
    assert done.returncode == 1
    assert "host.robots.ox.ac.uk" in done.stdout + done.stderr
