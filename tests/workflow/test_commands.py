"""Every stage by hand: its command gives the artifact that the workflow made."""

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from tests.workflow.conftest import TINY, Workspace

STAGES = ["datasets", "miniweb", "crawl_ingest", "captioning", "fourier_filter", "pseudolabel", "train", "eval"]


@pytest.mark.parametrize("stage", STAGES)
def test_help_of_every_stage(stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(f"pipeline.{stage}.__main__")
    with pytest.raises(SystemExit) as stopped:
        module.main(["--help"])
    assert stopped.value.code == 0
    assert f"python -m pipeline.{stage}" in capsys.readouterr().out
    assert isinstance(importlib.import_module(f"pipeline.{stage}").STAGE_VERSION, int)


class Hand:
    """Calls stage commands inside this process, in the workspace, with outputs elsewhere."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.settings = json.dumps(TINY)

    def __call__(self, stage: str, *words: Any, settings: bool = True) -> None:
        extra = ["--settings", self.settings] if settings else []
        code = importlib.import_module(f"pipeline.{stage}.__main__").main([*map(str, words), *extra])
        assert code == 0

    def same_table(self, made: str, stored: str, but: tuple[str, ...] = ()) -> None:
        ours, theirs = (pq.read_table(path).drop_columns(list(but)) for path in (self.out / made, stored))
        # Written as text, so that NaN equals NaN.
        assert str(ours.to_pylist()) == str(theirs.to_pylist()), stored


@pytest.fixture
def hand(finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hand:
    monkeypatch.chdir(finished.folder)
    return Hand(tmp_path)


WEB, RESULTS = "data/web/mini", "results/tiny"
PROTOCOLS = [f"{RESULTS}/protocol/step{step}.json" for step in (0, 1)]


@pytest.mark.slow
def test_data_and_crawl_commands(hand: Hand) -> None:
    hand("datasets", "protocol", "--step", 1, "--out", hand.out / "p.json")
    assert (hand.out / "p.json").read_text() == Path(PROTOCOLS[1]).read_text()
    hand("miniweb", "minivoc")
    hand("miniweb", "site", "--root", hand.out / "site", "--protocol", *PROTOCOLS)
    hand.same_table("site/truth.parquet", "data/miniweb/mini/truth.parquet")
    queries = f"{WEB}/queries/replay1.parquet"
    captions = f"{WEB}/captions/tiny/dataset.parquet"
    hand("crawl_ingest", "plan", "--plan", "replay1", "--protocol", PROTOCOLS[0], "--captions", captions, "--out",
         hand.out / "q.parquet")  # fmt: skip
    hand.same_table("q.parquet", queries)
    shard = f"{WEB}/shards/replay1-00000.parquet"
    hand("crawl_ingest", "merge", "--queries", queries, "--shards", shard, "--out", hand.out / "m.parquet")
    hand.same_table("m.parquet", f"{WEB}/manifests/replay1.parquet")


@pytest.mark.slow
def test_text_commands(hand: Hand) -> None:
    shard, tiny = f"{WEB}/shards/step1-00000", f"{WEB}/captions/tiny"
    hand("captioning", "caption", "--shard-tar", f"{shard}.tar", "--shard", f"{shard}.parquet", "--out",
         hand.out / "c.parquet")  # fmt: skip
    hand.same_table("c.parquet", f"{tiny}/step1-00000.parquet", but=("seconds",))
    hand("captioning", "nouns", "--captions", f"{tiny}/step1-00000.parquet", "--out", hand.out / "n.parquet")
    hand.same_table("n.parquet", f"{WEB}/nouns/tiny/step1-00000.parquet")
    for role, plan, table in (("new", "step1", "noun_filter"), ("replay", "replay1", "noun_filter_replay")):
        words = ["--captions", f"{tiny}/{plan}-00000.parquet", "--nouns", f"{WEB}/nouns/tiny/{plan}-00000.parquet"]
        if role == "replay":
            words += ["--source-captions", f"{tiny}/dataset.parquet"]
            words += ["--source-nouns", f"{WEB}/nouns/tiny/dataset.parquet"]
        hand("captioning", "filter", "--role", role, "--manifest", f"{WEB}/manifests/{plan}.parquet", *words,
             "--protocol", PROTOCOLS[1], "--out", hand.out / f"{table}.parquet")  # fmt: skip
        hand.same_table(f"{table}.parquet", f"{RESULTS}/selection/step1/{table}.parquet")
        other = table.replace("noun_filter", "noun_comparison")
        hand("captioning", "compare", "--role", role, "--manifest", f"{WEB}/manifests/{plan}.parquet", *words,
             "--protocol", PROTOCOLS[1], "--out", hand.out / f"{other}.parquet")  # fmt: skip
        hand.same_table(f"{other}.parquet", f"{RESULTS}/selection/step1/{other}.parquet")


@pytest.mark.slow
def test_selection_commands(hand: Hand) -> None:
    selection = f"{RESULTS}/selection/step1"
    hand("fourier_filter", "fit", "--protocol", PROTOCOLS[0], "--manifest", f"{WEB}/manifests/base.parquet",
         "--shards-dir", f"{WEB}/shards", "--out-model", hand.out / "d.safetensors", "--out-metrics",
         hand.out / "m.json")  # fmt: skip
    ours, theirs = load_file(hand.out / "d.safetensors"), load_file(f"{RESULTS}/fourier/discriminator.safetensors")
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)
    hand("fourier_filter", "select", "--manifest", f"{WEB}/manifests/step1.parquet", "--noun-filter",
         f"{selection}/noun_filter.parquet", "--shards-dir", f"{WEB}/shards", "--model",
         f"{RESULTS}/fourier/discriminator.safetensors", "--out-fourier", hand.out / "f.parquet", "--out-selection",
         hand.out / "s.parquet")  # fmt: skip
    hand.same_table("s.parquet", f"{selection}/new_classes.parquet")
    hand("pseudolabel", "select-replay", "--noun-filter", f"{selection}/noun_filter_replay.parquet", "--manifest",
         f"{WEB}/manifests/replay1.parquet", "--shards-dir", f"{WEB}/shards", "--out",
         hand.out / "r.parquet")  # fmt: skip
    hand.same_table("r.parquet", f"{selection}/replay.parquet")


@pytest.mark.slow
def test_training_commands(hand: Hand) -> None:
    step = f"{RESULTS}/web_wilss/seed0/step1"
    base = f"{RESULTS}/base/bce/seed0"
    hand("pseudolabel", "label", "--model", f"{base}/model.safetensors", "--replay",
         f"{RESULTS}/selection/step1/replay.parquet", "--out-dir", hand.out / "labels", "--out",
         hand.out / "l.parquet")  # fmt: skip
    hand.same_table("l.parquet", f"{step}/pseudolabels.parquet", but=("label",))
    hand("pseudolabel", "list", "--protocol", PROTOCOLS[1], "--selection",
         f"{RESULTS}/selection/step1/new_classes.parquet", "--filters", "both", "--pseudolabels",
         f"{step}/pseudolabels.parquet", "--out", hand.out / "t.parquet")  # fmt: skip
    hand.same_table("t.parquet", f"{step}/train_list.parquet")
    hand("train", "base", "--recipe", "bce", "--seed", 0, "--protocol", PROTOCOLS[0], "--train-list",
         f"{base}/train_list.parquet", "--out", hand.out / "base")  # fmt: skip
    hand("train", "step", "--method", "web_wilss", "--seed", 0, "--protocol", PROTOCOLS[1], "--train-list",
         f"{step}/train_list.parquet", "--previous", hand.out / "base" / "model.safetensors", "--previous-state",
         hand.out / "base" / "method_state.safetensors", "--out", hand.out / "step")  # fmt: skip
    for made, stored in (("base", base), ("step", step)):
        ours, theirs = (load_file(Path(f) / "model.safetensors") for f in (hand.out / made, stored))
        assert all(torch.equal(ours[k], theirs[k]) for k in theirs), made
    hand("eval", "evaluate", "--model", hand.out / "step" / "model.safetensors", "--protocol", PROTOCOLS[1],
         "--method", "web_wilss", "--previous", f"{base}/eval.json", "--out", hand.out / "step")  # fmt: skip
    assert np.array_equal(np.load(hand.out / "step" / "confusion.npy"), np.load(f"{step}/confusion.npy"))


@pytest.mark.slow
def test_report_command(hand: Hand, capsys: pytest.CaptureFixture[str]) -> None:
    hand("eval", "report", "--steps", 1, "--out", hand.out / "report" / "index.html", "--summary", hand.out / "s.csv")
    assert (hand.out / "s.csv").read_text() == Path(f"{RESULTS}/summary.csv").read_text()
    page = (hand.out / "report" / "index.html").read_text()
    assert page.count("<svg") >= 5 and page.count('class="shot"') > 5
    hand("eval", "summary", "--steps", 1)
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("ft", "wilson", "web_wilss", "harmonic"))


@pytest.mark.slow
@pytest.mark.parametrize("new_images", ["web", "dataset"])
def test_report_of_the_open_web_has_no_truth(hand: Hand, monkeypatch: pytest.MonkeyPatch, new_images: str) -> None:
    # With the data set's own images the web gives replay alone: no candidates, no discriminator.
    run = {"method": "web_wilss", "new_images": new_images, "replay": True}
    hand.settings = json.dumps({**TINY, "experiment": {"name": "tiny", "runs": [run]}})
    monkeypatch.setattr("pipeline.eval.report.filters.read_truth", lambda paths: {})
    hand("eval", "report", "--steps", 1, "--out", hand.out / "index.html", "--summary", hand.out / "s.csv")
    page = (hand.out / "index.html").read_text()
    assert "keeps" in page and "Why addresses were not kept" in page and "by caption" in page
    assert "How good the filters were" not in page and "Of the candidates" not in page
    for part in ("Kept and rejected", "Domain discriminator", "new classes, by name"):
        assert (part in page) == (new_images == "web"), part
