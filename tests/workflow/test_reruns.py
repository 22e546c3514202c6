"""What a change reruns, and what it does not: a table of changes, each asserted by a dry run."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.workflow.conftest import TINY, Workspace
from tests.workflow.test_whole import changed

pytestmark = pytest.mark.slow

# Jobs from here to the report, of the runs ft, wilson (web) and web_wilss (web and replay).
REPORT = {"report": 1}
STEPS = {"train_step": 3, "evaluate": 3, **REPORT}
WEB_STEPS = {"train_list": 2, "train_step": 2, "evaluate": 2, **REPORT}
ONE_STEP = {"train_list": 1, "train_step": 1, "evaluate": 1, **REPORT}
REPLAY = {"select_replay": 1, "pseudolabel": 1}
SELECTION = {"select_images": 1, **REPLAY, **WEB_STEPS}
FILTERS = {"noun_filter": 1, "noun_filter_replay": 1, **SELECTION}
EVERY_STEP = {"train_base": 2, "evaluate_base": 2, "pseudolabel": 1, "train_list": 1, **STEPS}
CAPTIONS = {"caption": 2, "caption_dataset": 1, "nouns": 3, "plan": 1, "ingest": 1, "merge": 1, **FILTERS}
"""Another captioner asks the web other questions for the replay: one plan, one crawl."""
POOL = {"plan": 3, "ingest": 3, "merge": 3, "caption": 2, "nouns": 2, "fit_discriminator": 1, **FILTERS}
OWN = {"protocol": 2, "fit_discriminator": 1, "train_list_base": 2, **FILTERS, **EVERY_STEP, "train_list": 3}

RUNS = [
    {"method": "ft"},
    {"method": "wilson", "new_images": "web", "filters": "none"},
    {"method": "web_wilss", "new_images": "web", "filters": "both", "replay": True},
]
CHANGES = {
    "another captioner": ("captioning.captioner.name", "other", CAPTIONS),
    "another prompt": ("captioning.captioner.prompt", "a photo of", CAPTIONS),
    "another kind of noun": ("captioning.nouns.nn_only", True, {"nouns": 3, **FILTERS}),
    "another noun similarity": ("captioning.noun_filter.similarity", "wordnet", FILTERS),
    "another noun threshold": ("captioning.noun_filter.threshold", 0.7, FILTERS),
    "one candidate more per class": ("crawl_ingest.per_class", 17, POOL),
    "another web": ("miniweb.seed", 12, {"site": 1, **POOL} | {"plan": 0}),
    "a longer fit of the discriminator": ("fourier_filter.discriminator.epochs", 3,
                                          {"fit_discriminator": 1, "select_images": 1, **WEB_STEPS}),
    "a smaller budget": ("fourier_filter.selection.budget", 5, {"select_images": 1, **WEB_STEPS}),
    "a smaller replay budget": ("pseudolabel.replay_budget", 11, {**REPLAY, **ONE_STEP}),
    "base epochs raised": ("train.base.epochs", 9, EVERY_STEP),
    "step epochs raised": ("train.step.epochs", 9, STEPS),
    "the best epoch kept": ("train.keep", "best", EVERY_STEP),
    "larger crops": ("datasets.train_size", 64, EVERY_STEP),
    "a method's weight": ("methods.web_wilss.encoder_weight", 2.0, {"train_step": 1, "evaluate": 1, **REPORT}),
    "more overlays": ("eval.overlays", 3, {"evaluate_base": 2, "evaluate": 3, **REPORT}),
    "a seed added": ("experiment.seeds", [0, 1], {"train_list_base": 2, **EVERY_STEP, "train_list": 3}),
    "a method added": ("experiment.runs", [*RUNS, {"method": "mib"}], ONE_STEP),
    "a method removed": ("experiment.runs", RUNS[:1] + RUNS[2:], REPORT),
    "a variant added": ("experiment.runs", [*RUNS, {**RUNS[2], "filters": "noun", "variant": "noun_only"}],
                        {"pseudolabel": 1, **ONE_STEP}),
    "another name": ("experiment.name", "tiny2", OWN),
}  # fmt: skip


@contextmanager
def edited(path: Path, text: str) -> Iterator[None]:
    """Replace a file's text for a while."""
    before = path.read_text()
    path.write_text(text)
    try:
        yield
    finally:
        path.write_text(before)


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_runs_exactly_these_jobs(finished: Workspace, what: str) -> None:
    key, value, expected = CHANGES[what]
    finished.overlay(changed(key, value))
    try:
        planned = finished.planned()
    finally:
        finished.overlay(TINY)
    assert planned == {rule: jobs for rule, jobs in expected.items() if jobs}


VERSIONS = {
    "captioning": {"caption", "caption_dataset", "nouns", "noun_filter", "train_step", "report"},
    "train": {"train_base", "train_step", "evaluate", "pseudolabel", "report"},
    "eval": {"evaluate_base", "evaluate", "report"},
}


@pytest.mark.parametrize("stage", VERSIONS)
def test_a_raised_code_version_reruns_its_stage_and_what_follows(finished: Workspace, stage: str) -> None:
    path = finished.folder / "pipeline" / stage / "__init__.py"
    line = next(line for line in path.read_text().splitlines() if line.startswith("STAGE_VERSION"))
    with edited(path, path.read_text().replace(line, "STAGE_VERSION = 99")):
        planned = finished.planned()
    assert VERSIONS[stage] <= set(planned)
    assert not {"minivoc", "site", "protocol"} & set(planned)
    assert stage == "captioning" or not {"caption", "nouns", "ingest"} & set(planned)


def test_a_space_in_a_rule_and_a_newer_date_rerun_nothing_under_the_clusters_policy(finished: Workspace) -> None:
    rules = finished.folder / "rules" / "train.smk"
    model = finished.folder / "results" / "tiny" / "base" / "bce" / "seed0" / "model.safetensors"
    policy = ["--rerun-triggers", "mtime", "params", "input", "software-env", "--max-checksum-file-size", "1000000000"]
    with edited(rules, rules.read_text().replace("python -m pipeline.train step", "python  -m pipeline.train step")):
        model.touch()
        assert finished.planned(*policy) == {}


def test_a_corrupted_artifact_is_named_and_made_again(finished: Workspace) -> None:
    target = "results/tiny/selection/step1/new_classes.parquet"
    table = finished.folder / "results" / "tiny" / "selection" / "step1" / "noun_filter.parquet"
    whole = table.read_bytes()
    table.write_bytes(whole[: len(whole) // 2])
    try:
        failed = finished.run("--", target)
        assert failed.returncode != 0 and "is not readable Parquet" in failed.stdout + failed.stderr
        assert "delete it and rerun its stage" in failed.stdout + failed.stderr
        table.unlink()
        assert finished.planned("--", target)["noun_filter"] == 1
        done = finished.run()
        assert done.returncode == 0, done.stderr[-3000:]
        assert table.read_bytes() == whole
    finally:
        table.write_bytes(whole)
