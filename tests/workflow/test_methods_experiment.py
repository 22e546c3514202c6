"""Methods with needs of their own, and a companion experiment on another task, through Snakemake."""

import copy
import csv
import json
from pathlib import Path

import pytest
import yaml

from pipeline.artifacts import SALIENCY, TRAIN_LIST, read_table
from tests.workflow.conftest import TINY, Workspace

pytestmark = pytest.mark.slow
RUNS = [
    {"method": "ft"},
    {"method": "ewc", "settings": {"reg_importance": 10.0}},
    {"method": "mib", "variant": "memory", "memory": 8},
    {"method": "plop"},
    {"method": "ssul"},
    {"method": "joint"},
]


def experiment(name: str, pool: str, runs: list[dict], **sections: dict) -> dict:
    settings = copy.deepcopy(TINY)
    settings["experiment"] = {"name": name, "runs": runs}
    settings["crawl_ingest"]["pool"] = pool
    return {**settings, **sections}


@pytest.fixture(scope="module")
def methods(finished: Workspace) -> Workspace:
    """A second experiment in the finished workspace: it has the drawn data set already."""
    folder = finished.folder
    datasets = {**TINY["datasets"], "task": "10-5-5"}
    other = experiment("tiny_steps", "other", [{"method": "ft"}, RUNS[2]], datasets=datasets)
    (folder / "steps.yaml").write_text(yaml.safe_dump(other))
    main = experiment("tiny_methods", "mini", RUNS)
    main["experiment"]["companion"] = "steps.yaml"
    (folder / "methods.yaml").write_text(yaml.safe_dump(main))
    done = finished.run("--configfile", "methods.yaml")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return finished


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_both_experiments_are_summarised(methods: Workspace) -> None:
    results = methods.folder / "results"
    summary = rows(results / "tiny_methods" / "summary.csv")
    assert {(row["method"], row["variant"]) for row in summary} == {
        ("ft", ""), ("ewc", ""), ("mib", "memory"), ("plop", ""), ("ssul", ""), ("joint", ""),
    }  # fmt: skip
    assert {row["step"] for row in rows(results / "tiny_steps" / "summary.csv")} == {"0", "1", "2"}


def test_methods_share_bases_and_hand_their_state_on(methods: Workspace) -> None:
    base = methods.folder / "results" / "tiny_methods" / "base"
    assert {path.name for path in base.iterdir()} == {"ce_importance", "ssul"}, "ft starts from ewc's base"
    assert {path.name for path in (methods.folder / "results" / "tiny_steps" / "base").iterdir()} == {"ce"}


def test_saliency_maps_are_real_and_cover_the_data_set(methods: Workspace) -> None:
    folder = methods.folder / "data" / "minivoc" / "saliency" / "u2netp"
    index = read_table(folder / "index.parquet", SALIENCY)
    assert len(index) == 120 and {row["status"] for row in index} == {"kept"}
    assert all((folder / f"{row['image_id']}.png").exists() for row in index)


def test_exemplars_follow_from_step_to_step(methods: Workspace) -> None:
    run = methods.folder / "results" / "tiny_steps" / "mib+memory" / "seed0"
    first, second = (read_table(run / f"step{k}" / "train_list.parquet", TRAIN_LIST) for k in (1, 2))
    assert 0 < sum(row["role"] == "memory" for row in first) <= 8
    assert {r["image_id"] for r in second if r["role"] == "memory"} <= {r["image_id"] for r in first}


def test_one_page_shows_both(methods: Workspace) -> None:
    page = (methods.folder / "results" / "tiny_methods" / "report" / "index.html").read_text()
    assert "The same methods on 10-5-5" in page and "Spearman" in page and "SSUL" in page
    last = methods.folder / "results" / "tiny_steps" / "ft" / "seed0" / "step2" / "eval.json"
    assert f">{json.loads(last.read_text())['first']:.1f}</td>" in page


def test_nothing_is_left_to_do(methods: Workspace) -> None:
    assert methods.planned("--configfile", "methods.yaml") == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"companion": "methods.yaml"}, "methods.yaml has this experiment's own name `tiny_methods`"),
        ({"companion": "nowhere.yaml"}, "config file nowhere.yaml does not exist"),
        ({"runs": [{"method": "ssul", "replay": True, "new_images": "dataset"}]}, "run `ssul`: replay images are"),
    ],
)
def test_mistakes_are_one_line(methods: Workspace, change: dict, message: str) -> None:
    main = experiment("tiny_methods", "mini", RUNS)
    main["experiment"] |= change
    (methods.folder / "wrong.yaml").write_text(yaml.safe_dump(main))
    done = methods.run("--dry-run", "--configfile", "wrong.yaml")
    assert done.returncode != 0 and message in done.stdout + done.stderr
