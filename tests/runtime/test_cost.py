"""Every command says what it cost, and the bill adds it up."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import ArtifactError, write_json
from pipeline.config import parse_config
from pipeline.eval.cost_summary import main, summarise_costs
from pipeline.runtime.cli import run_cli
from pipeline.runtime.cost import Cost, cost_file
from pipeline.runtime.progress import Progress


def parser(out: Path, fail: bool = False) -> argparse.ArgumentParser:
    def run(arguments: argparse.Namespace) -> None:
        progress = Progress("work", 7, unit="images")
        for _ in range(7):
            progress.update()
        if fail:
            raise ValueError("no")

    made = argparse.ArgumentParser(prog="python -m pipeline.captioning")
    commands = made.add_subparsers(required=True)
    command = commands.add_parser("caption")
    command.add_argument("--out", type=Path, default=out)
    command.set_defaults(run=run)
    return made


def test_a_command_records_what_it_cost_beside_what_it_made(tmp_path: Path) -> None:
    assert run_cli(parser(tmp_path / "x.parquet"), ["caption"]) == 0
    cost = json.loads((tmp_path / "x.cost.json").read_text())
    assert cost["job"] == "captioning caption" and (cost["items"], cost["unit"]) == (7, "images")
    assert cost["wall_seconds"] >= 0 and cost["peak_memory_mb"] > 1 and cost["gpu"] is None


def test_a_second_command_of_a_process_counts_its_own_items_alone(tmp_path: Path) -> None:
    for name in ("a", "b"):
        run_cli(parser(tmp_path / f"{name}.parquet"), ["caption"])
    assert json.loads((tmp_path / "b.cost.json").read_text())["items"] == 7


def test_a_failed_command_records_nothing(tmp_path: Path) -> None:
    assert run_cli(parser(tmp_path / "x.parquet", fail=True), ["caption"]) == 2
    assert not list(tmp_path.iterdir())


def test_the_cost_of_workers_counts(tmp_path: Path) -> None:
    from concurrent.futures import ProcessPoolExecutor

    cost = Cost()
    with ProcessPoolExecutor(1) as pool:
        assert pool.submit(sum, range(20_000_000)).result() > 0
    recorded = cost.record(1, "sums")
    assert recorded["cpu_seconds"] > 0.05


def test_where_a_cost_is_kept() -> None:
    assert cost_file("a/noun_filter.parquet", "captioning") == Path("a/noun_filter.cost.json")
    assert cost_file("a/step1", "eval") == Path("a/step1/eval.cost.json")


def test_a_folder_with_a_dot_keeps_its_own_cost(tmp_path: Path) -> None:
    (tmp_path / "voc.2012").mkdir()
    assert cost_file(tmp_path / "voc.2012", "datasets") == tmp_path / "voc.2012" / "datasets.cost.json"


COST = {"wall_seconds": 3600.0, "cpu_seconds": 1800.0, "peak_memory_mb": 100.0, "items": 10, "unit": "images",
        "items_per_second": 1.0, "gpu": None}  # fmt: skip


def test_the_bill_adds_up_by_kind_of_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {
        "experiment": {"name": "e", "data_dir": str(tmp_path / "data"), "results_dir": str(tmp_path / "results")},
        "datasets": {"root": str(tmp_path / "data" / "minivoc")},
    }
    results, web = tmp_path / "results" / "e", tmp_path / "data" / "web" / "mini"
    with pytest.raises(ArtifactError, match="no job of experiment `e`"):
        summarise_costs(parse_config(settings))
    for shard in ("step1-00000", "step1-00001"):
        write_json(web / "captions" / "tiny" / f"{shard}.cost.json", {**COST, "job": "captioning caption"})
    gpu = {"name": "H200", "peak_memory_mb": 900.0}
    write_json(results / "ft" / "seed0" / "step1" / "cost.json", {**COST, "wall_seconds": 1800.0, "gpu": gpu})
    write_json(tmp_path / "results" / "another" / "x.cost.json", {**COST, "job": "eval report"})
    lines = {line.job: line for line in summarise_costs(parse_config(settings))}
    assert list(lines) == ["captioning caption", "train", "all"]
    captions, train, total = lines.values()
    assert (captions.jobs, captions.items, captions.wall_hours, captions.gpu_hours) == (2, 20, 2.0, 0.0)
    assert (train.gpu_hours, train.gpu_peak_memory_mb) == (0.5, 900.0)
    assert (total.jobs, total.wall_hours, total.cpu_hours) == (3, 2.5, 1.5)
    data_set = tmp_path / "data" / "minivoc"
    write_json(data_set / "datasets.cost.json", {**COST, "job": "datasets prepare"})
    write_json(data_set / "saliency" / "u2netp" / "index.cost.json", {**COST, "job": "saliency detect"})
    assert {"datasets prepare", "saliency detect"} < {line.job for line in summarise_costs(parse_config(settings))}
    assert main(["--settings", json.dumps(settings)]) == 0
    assert "captioning caption" in capsys.readouterr().out
    write_json(web / "captions" / "tiny" / "step1-00002.cost.json", {"job": "captioning caption"})
    assert main(["--settings", json.dumps(settings)]) == 2
    assert "step1-00002.cost.json is no cost of a job" in capsys.readouterr().err


def test_the_bill_leaves_out_jobs_of_others_that_share_the_folders(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "experiment": {"name": "e", "data_dir": str(tmp_path / "data"), "results_dir": str(tmp_path / "results")},
        "datasets": {"root": str(tmp_path / "data" / "minivoc")},
    }
    web, results = tmp_path / "data" / "web" / "mini", tmp_path / "results" / "e"
    ours = [web / "shards" / "step1-00000.cost.json", web / "manifests" / "base.cost.json", web / "card.cost.json",
            web / "captions" / "tiny" / "dataset.cost.json", web / "nouns" / "tiny" / "replay1-00001.cost.json",
            web / "protocol" / "step1.cost.json", results / "wilson" / "seed0" / "step1" / "cost.json",
            results / "base" / "ce" / "seed0" / "eval.cost.json", results / "selection" / "step1" / "fourier.cost.json",
            tmp_path / "data" / "miniweb" / "mini" / "miniweb.cost.json"]  # fmt: skip
    theirs = [web / "shards" / "step4-00000.cost.json", web / "queries" / "replay2.cost.json",
              web / "captions" / "blip" / "step1-00000.cost.json", web / "protocol" / "step5.cost.json",
              results / "plop" / "seed0" / "step1" / "cost.json", results / "wilson" / "seed3" / "step1" / "cost.json",
              results / "wilson" / "seed0" / "step2" / "cost.json"]  # fmt: skip
    for path in [*ours, *theirs]:
        write_json(path, {**COST, "job": str(path.relative_to(tmp_path))})
    found = {line.job for line in summarise_costs(parse_config(settings))} - {"all"}
    assert found == {str(path.relative_to(tmp_path)) for path in ours}
    settings["experiment"]["runs"] = [{"method": "ft"}]
    alone = {line.job for line in summarise_costs(parse_config(settings))}
    assert not [name for name in alone if name.startswith("data/")], "without the web nothing of it is paid for"
