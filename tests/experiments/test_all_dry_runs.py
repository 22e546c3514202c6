"""`--configfile experiments/X.yaml -n` of shipped files, by Snakemake itself, against graphs counted by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.workflow.conftest import ROOT, Workspace

# One of each kind; test_experiments.py builds the graph of all of them without Snakemake.
FILES = ["ade_100-50_overlap_resnet101_ssul.yaml", "coco-voc_voc_disjoint_wide_resnet38.yaml", "mini_methods.yaml",
         "mini_story.yaml", "voc_15-5_overlap_resnet101.yaml"]  # fmt: skip
CLASSES = {"voc": 20, "minivoc": 20, "ade": 150}
SHARED = {"minivoc", "prepare", "detect_saliency", "card"}
"""Made once, however many experiments stand on a page; the card belongs to the experiment that was asked for."""
RECIPES = {"ewc": "ce_importance", "pi": "ce_importance", "rw": "ce_importance", "ssul": "ssul", "lwf_mc": "bce",
           "wilson": "bce", "web_wilss": "bce", "rasp": "bce", "star": "star", "rcil": "ce_dual"}  # fmt: skip


def steps(dataset: str, task: str) -> int:
    """Return the steps after the base: `15-1` adds one class at a time to fifteen until all are there."""
    if dataset == "coco-voc":
        return 1
    first, each = map(int, task.split("-"))
    return (CLASSES[dataset] - first) // each


def expected(raw: dict[str, Any]) -> Counter[str]:
    """Return {rule: jobs} of an experiment without its companion; the data set is not prepared yet."""
    data, runs, seeds = raw["datasets"], raw["experiment"]["runs"], len(raw["experiment"].get("seeds", [0]))
    later = steps(data["name"], data["task"])
    recipes = {RECIPES.get(run["method"], "ce") for run in runs}
    # Watching a weight's importance leaves the base step as it is: one model serves both.
    bases = len(recipes - {"ce"} if "ce_importance" in recipes else recipes) * seeds
    trained = len(runs) * seeds * later
    salient = any(run["method"] == "ssul" for run in runs) and data["name"] != "ade"
    drawn = data["name"] == "minivoc"
    jobs = Counter({"minivoc" if drawn else "prepare": 1, "protocol": later + 1, "detect_saliency": int(salient),
                    "train_list_base": bases, "train_base": bases, "evaluate_base": bases, "train_list": trained,
                    "train_step": trained, "evaluate": trained, "report": 1})  # fmt: skip
    replayed = sum(bool(run.get("replay")) for run in runs)
    new = any(run.get("new_images") == "web" for run in runs)
    return jobs + web(raw, later, new, bool(replayed)) + Counter(pseudolabel=replayed * seeds * later)


def web(raw: dict[str, Any], later: int, new: bool, replay: bool) -> Counter[str]:
    """Return the jobs of the web part: new images need candidates and the discriminator, replay needs captions."""
    if not (new or replay):
        return Counter()
    shards, mini = raw.get("crawl_ingest", {}).get("shards", 2), raw["datasets"]["name"] == "minivoc"
    plans = (new + later * new) + later * replay
    captioned = shards * later * (new + replay)
    jobs = Counter({"pool_protocol": later + 1 if new or mini else 1, "plan": plans, "ingest": shards * plans,
                    "merge": plans, "card": 1, "caption": captioned, "nouns": captioned + replay,
                    "caption_dataset": int(replay), "site": int(mini)})  # fmt: skip
    if new:
        jobs.update({"fit_discriminator": 1, "noun_filter": later, "select_images": later})
        jobs.update({"noun_comparison": later * mini})
    if replay:
        budgets = {run.get("replay_budget") for run in raw["experiment"]["runs"] if run.get("replay")}
        jobs.update(
            {"noun_filter_replay": later, "select_replay": later * len(budgets), "noun_comparison_replay": later * mini}
        )
    return jobs


def whole(file: str) -> dict[str, int]:
    """Return {rule: jobs} of a file and its companion, as Snakemake counts: with `all` and the total."""
    default = yaml.safe_load((ROOT / "config.yaml").read_text())

    def layered(name: str) -> dict[str, Any]:
        raw = yaml.safe_load((ROOT / name).read_text())
        return {**default, **raw, "datasets": {**default["datasets"], **raw.get("datasets", {})}}

    raw = layered(f"experiments/{file}")
    jobs = expected(raw) + Counter(all=1)
    if companion := raw["experiment"].get("companion"):
        jobs += Counter({f"companion_{k}": v for k, v in expected(layered(companion)).items() if k not in SHARED})
    return {**jobs, "total": jobs.total()}


@pytest.mark.slow
def test_files_plan_what_it_should(tmp_path: Path) -> None:
    work = Workspace(tmp_path / "work")
    script = Path(__file__).with_name("dry_runs.py")
    command = [sys.executable, str(script), *(f"experiments/{file}" for file in FILES)]
    done = subprocess.run(command, cwd=work.folder, env=work.environment(), capture_output=True, text=True, timeout=800)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(each["file"]).name for each in found] == FILES, done.stderr[-3000:]
    assert {each["file"]: each["error"] for each in found if "error" in each} == {}
    wrong = {each["file"]: difference(each["jobs"], whole(Path(each["file"]).name)) for each in found}
    assert {file: text for file, text in wrong.items() if text} == {}


def difference(found: dict[str, int], wanted: dict[str, int]) -> str:
    """Return `rule: planned, wanted` of the rules that differ."""
    rules = sorted(found.keys() | wanted.keys())
    return "; ".join(
        f"{rule}: {found.get(rule, 0)}, {wanted.get(rule, 0)}"
        for rule in rules
        if found.get(rule, 0) != wanted.get(rule, 0)
    )
