"""The whole pipeline on the mini web, through Snakemake: what it leaves, and what a change reruns."""

import csv
import json
import re
from pathlib import Path

import pytest

from tests.workflow.conftest import TINY, Workspace
from tests.workflow.planning import with_key

pytestmark = pytest.mark.slow


def changed(path: str, value: object) -> dict:
    """Return the tiny experiment with one dotted key changed."""
    return with_key(TINY, path, value)


def test_everything_is_there(finished: Workspace) -> None:
    results = finished.folder / "results" / "tiny"
    with (results / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["method"] for row in rows} == {"ft", "wilson", "web_wilss"}
    assert all(float(row["all"]) > 0 for row in rows)
    for run in ("ft", "wilson", "web_wilss"):
        step = results / run / "seed0" / "step1"
        for name in ("train_list.parquet", "model.safetensors", "method_state.safetensors", "config.yaml", "log.csv",
                     "cost.json", "eval.json", "confusion.npy", "tb"):  # fmt: skip
            assert (step / name).exists(), f"{run}/{name}"
    assert (results / "web_wilss" / "seed0" / "step1" / "pseudolabels").is_dir()
    assert not list(finished.folder.rglob("*.tmp"))


def test_report_is_one_offline_page_with_the_story(finished: Workspace) -> None:
    text = (finished.folder / "results" / "tiny" / "report" / "index.html").read_text()
    assert not re.search(r'(src|href)="(https?:)?//', text) and "<script src" not in text
    for part in ("Web-WILSS keeps", "Kept and rejected", "held-out base classes", "peak memory", "duplicate near",
                 "Forgetting", "data:image/webp;base64"):  # fmt: skip
        assert part in text, part
    results = finished.folder / "results" / "tiny"
    old = json.loads((results / "web_wilss" / "seed0" / "step1" / "eval.json").read_text())["old"]
    assert f"{old:.1f}" in text


def test_report_holds_every_similarity_and_rule(finished: Workspace) -> None:
    text = (finished.folder / "results" / "tiny" / "report" / "index.html").read_text()
    table = text.split("The noun filter under every similarity and rule")[1].split("</table>")[0]
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in table.split("<tr>")[2:]]
    rules = [("new classes", "classes"), *(("replay", rule) for rule in ("paper", "classes", "released"))]
    assert sorted(tuple(row[:3]) for row in rows) == sorted(
        (role, similarity, rule) for similarity in ("embedding", "wordnet", "wordnet_hypernyms") for role, rule in rules
    )
    for _, _, _, base_rate, precision, recall, f1 in rows:
        assert all(0 <= float(figure) <= 100 for figure in (base_rate, precision, recall, f1))
        assert float(f1) <= max(float(precision), float(recall))
    assert len({row[4] for row in rows}) > 3, "similarities and rules differ"


def test_second_run_does_nothing(finished: Workspace) -> None:
    assert finished.planned() == {}


REPORT = {"report": 1}
SELECTION = {"select_images": 1, "train_list": 2, "train_step": 2, "evaluate": 2, **REPORT}
CHANGES = {
    "captioning.noun_filter.threshold": (0.7, {"noun_filter": 1, "noun_filter_replay": 1, "noun_comparison": 1,
                                               "noun_comparison_replay": 1, "select_replay": 1, "pseudolabel": 1,
                                               **SELECTION}),
    "methods.wilson.alpha": (0.9, {"train_step": 1, "evaluate": 1, **REPORT}),
    "methods.web_wilss.loss_de": (2.0, {"train_step": 1, "evaluate": 1, **REPORT}),
    "fourier_filter.selection.budget": (5, SELECTION),
    "eval.batch_size": (7, {"evaluate_base": 2, "evaluate": 3, **REPORT}),
    "train.step.lr": (0.004, {"train_step": 3, "evaluate": 3, **REPORT}),
}  # fmt: skip


@pytest.mark.parametrize("key", CHANGES)
def test_a_change_reruns_what_it_must_and_no_more(finished: Workspace, key: str) -> None:
    value, expected = CHANGES[key]
    finished.overlay(changed(key, value))
    try:
        planned = finished.planned()
    finally:
        finished.overlay(TINY)
    assert planned.get("ingest", 0) == planned.get("caption", 0) == 0
    assert planned == expected


def test_a_seed_more_trains_that_seed_alone(finished: Workspace) -> None:
    finished.overlay(changed("experiment.seeds", [0, 1]))
    try:
        planned = finished.planned()
    finally:
        finished.overlay(TINY)
    assert planned["train_base"] == 2 and planned["train_step"] == 3 and "ingest" not in planned


def test_a_comment_reruns_nothing(finished: Workspace) -> None:
    touched = [*("rules/train.smk", "Snakefile", "tiny.yaml", "config.yaml"), "pipeline/methods/wilson.py"]
    before = {name: (finished.folder / name).read_text() for name in touched}
    try:
        for name, text in before.items():
            (finished.folder / name).write_text(f"{text}\n# a comment\n")
        assert finished.planned() == {}
    finally:
        for name, text in before.items():
            (finished.folder / name).write_text(text)


def test_a_raised_code_version_reruns_its_stage(finished: Workspace) -> None:
    path = finished.folder / "pipeline" / "fourier_filter" / "__init__.py"
    text = path.read_text()
    try:
        path.write_text(text.replace("STAGE_VERSION = 1", "STAGE_VERSION = 2"))
        planned = finished.planned()
    finally:
        path.write_text(text)
    assert planned["fit_discriminator"] == 1 and planned["select_images"] == 1 and "train_base" not in planned


def test_a_deleted_artifact_is_made_again(finished: Workspace) -> None:
    target = "results/tiny/ft/seed0/step1/model.safetensors"
    path = finished.folder / target
    held = path.with_name("held")
    path.rename(held)
    try:
        assert finished.planned("--", target) == {"train_step": 1}
    finally:
        held.rename(path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (changed("train.bse", {}), "unknown key `train.bse`; did you mean `base`?"),
        (changed("methods.wilson.alhpa", 1), "unknown key `methods.wilson.alhpa`; did you mean `alpha`?"),
        (changed("datasets.task", "15-6"), "unknown task `15-6`"),
        (changed("experiment.runs", [{"method": "wilsn"}]), "unknown method `wilsn`; did you mean `wilson`?"),
        (changed("experiment.runs", [{"method": "ft", "new_images": "web"}]), "needs pixel masks"),
    ],
)
def test_mistakes_stop_before_anything_is_written(finished: Workspace, settings: dict, message: str) -> None:
    finished.overlay(settings)
    before = sorted(str(p) for p in (finished.folder / "results").rglob("*"))
    try:
        done = finished.run()
    finally:
        finished.overlay(TINY)
    assert done.returncode != 0
    lines = [line for line in (done.stdout + done.stderr).splitlines() if message in line]
    assert lines, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert sorted(str(p) for p in (finished.folder / "results").rglob("*")) == before


def test_a_corrupt_artifact_is_one_clear_line(finished: Workspace, tmp_path: Path) -> None:
    import subprocess
    import sys

    bad = tmp_path / "list.parquet"
    bad.write_bytes(b"PAR1 nothing")
    results = finished.folder / "results" / "tiny"
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.train", "base", "--recipe", "ce", "--seed", "0", "--protocol",
         str(results / "protocol" / "step0.json"), "--train-list", str(bad), "--out", str(tmp_path / "out")],
        cwd=finished.folder, capture_output=True, text=True, env=finished.environment(),
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.strip().startswith(f"error: {bad} is not readable Parquet")
    assert not (tmp_path / "out").exists()
