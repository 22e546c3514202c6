"""What several tests share: a small drawn data set, a small site, and their protocols."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no failure: what is checked does not depend on time.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

ROOT = Path(__file__).parents[1]
CAPTIONER = ROOT / "pipeline" / "miniweb" / "captioner"


@pytest.fixture(scope="session")
def minivoc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MiniVOC of 80 training and 40 validation images."""
    from pipeline.miniweb.minivoc import build_minivoc

    root = tmp_path_factory.mktemp("data") / "minivoc"
    build_minivoc(root, seed=3, n_train=80, n_val=40, workers=2)
    return root


@pytest.fixture(scope="session")
def protocols(minivoc: Path) -> list[Path]:
    """Protocol files of both steps of 15-5 overlap on the small MiniVOC."""
    from pipeline.config import Datasets
    from pipeline.datasets.protocol import write_protocol

    paths = [minivoc.parent / f"step{step}.json" for step in (0, 1)]
    for step, path in enumerate(paths):
        write_protocol(Datasets(root=str(minivoc)), step, path)
    return paths


@pytest.fixture(scope="session")
def site(minivoc: Path, protocols: list[Path]) -> Path:
    """A mini web of some 250 addresses with every fault."""
    from pipeline.config import MiniWeb
    from pipeline.miniweb.site import build_site

    root = minivoc.parent / "miniweb"
    settings = MiniWeb(images_per_new_class=24, images_per_base_class=8, faults=0.12, duplicates=0.15)
    build_site(root, settings, protocols)
    return root


@pytest.fixture
def one_thread() -> Any:
    """Run torch on one thread, so that tests do not fight over cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
