"""Two workflows that share a cache, and artifacts in an S3 store: each costly job is done once."""

import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.workflow import CACHE, Workflow
from tests.workflow.conftest import ROOT, TINY, Workspace

BEHIND_THE_CACHE = ("minivoc", "prepare", "protocol", "detect_saliency", "train_list_base", "train_base",
                    "isolated_environment", "caption_dataset")  # fmt: skip
"""The rules that are cached, and those that they depend on."""
DATASET = "data/web/mini/captions/tiny/dataset.parquet"
NOUNS = "data/web/mini/nouns/tiny/dataset.parquet"
QUERIES = "data/web/mini/queries/replay1.parquet"
MICRO = {
    **TINY,
    "train": {"base": {"epochs": 1, "iterations": 2, "batch_size": 4}, "threads": 1, "tensorboard": False},
    "experiment": {"name": "first", "seeds": [0, 1]},
}


def base(name: str, seed: int) -> str:
    return f"results/{name}/base/ce/seed{seed}/model.safetensors"


class Shared(Workspace):
    """A workspace whose runs see some environment variables more."""

    def __init__(self, folder: Path, variables: dict[str, str], settings: dict) -> None:
        super().__init__(folder)
        self.variables = variables
        self.overlay(settings)

    def environment(self) -> dict[str, str]:
        return {**super().environment(), **self.variables}

    def done(self, *options: str) -> list[str]:
        """Run Snakemake; return the logs of the commands that ran; those of jobs done by the cache are empty."""
        logs = self.folder / "logs"
        shutil.rmtree(logs, ignore_errors=True)
        done = self.run(*options)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        return sorted(str(path.relative_to(logs)) for path in logs.rglob("*.log") if path.stat().st_size)


def follower(folder: Path, first: Shared, settings: dict) -> Shared:
    """Return another workspace with the same data set and nothing else."""
    made = Shared(folder, first.variables, settings)
    shutil.copytree(first.folder / "data" / "minivoc", folder / "data" / "minivoc")
    return made


@pytest.mark.parametrize("rule", BEHIND_THE_CACHE)
def test_commands_behind_the_cache_name_no_wildcards(rule: str) -> None:
    """Snakemake's key of a result holds parameters but not wildcards: seed 1 would get the base of seed 0."""
    text = "\n".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    body = re.search(
        rf"^ *rule {rule}:\n(.*?)(?=^ *(?:rule|use rule|else|elif|if) |\Z)", text, re.MULTILINE | re.DOTALL
    )
    assert body and "{wildcards." not in body[1].split("shell:")[1]


def test_the_cache_is_for_known_data_and_only_if_set_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CACHE, raising=False)
    assert not Workflow({}).cached
    monkeypatch.setenv(CACHE, "/shared")
    assert Workflow({}).cached
    (tmp_path / "tasks.yaml").write_text("one: [[0, 1], [2]]\n")
    own = {"name": "own", "root": str(tmp_path), "task": "one"}
    assert not Workflow({"datasets": own, "experiment": {"runs": [{"method": "ft"}]}}).cached


@pytest.mark.slow
def test_a_second_workflow_takes_bases_and_captions_from_the_cache(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    first = Shared(tmp_path / "one", {"SNAKEMAKE_OUTPUT_CACHE": str(cache)}, MICRO)
    ran = first.done("--cache", "--", base("first", 0), DATASET)
    assert {"results/first/base/ce/seed0/train.log", "data/web/mini/captions/dataset.log"} <= set(ran)
    second = follower(tmp_path / "two", first, {**MICRO, "experiment": {"name": "second", "seeds": [0, 1]}})
    ran = second.done("--cache", "--", base("second", 0), DATASET)
    assert not [log for log in ran if log.endswith(("train.log", "dataset.log"))]
    for name in ("model.safetensors", "method_state.safetensors", "config.yaml", "log.csv", "cost.json"):
        ours = (second.folder / base("second", 0)).with_name(name)
        assert ours.read_bytes() == (first.folder / base("first", 0)).with_name(name).read_bytes()
    # Another seed, and another number of epochs, are other bases.
    assert "results/second/base/ce/seed1/train.log" in second.done("--cache", "--", base("second", 1))
    weights = [(second.folder / base("second", seed)).read_bytes() for seed in (0, 1)]
    assert weights[0] != weights[1]
    second.overlay({**MICRO, "train": {**MICRO["train"], "momentum": 0.8}})
    assert "results/first/base/ce/seed0/train.log" in second.done("--cache", "--", base("first", 0))


@pytest.fixture
def store() -> Iterator[dict[str, str]]:
    """An S3 server (moto's) with a bucket; yields the variables that say where."""
    pytest.importorskip("snakemake_storage_plugin_s3", reason="the extra `s3` is not installed")
    server_module = pytest.importorskip("moto.server", reason="moto, the S3 server of this test, is not installed")
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    where = {"SNAKEMAKE_STORAGE_S3_ENDPOINT_URL": f"http://{host}:{port}",
             "SNAKEMAKE_STORAGE_S3_ACCESS_KEY": "test", "SNAKEMAKE_STORAGE_S3_SECRET_KEY": "test"}  # fmt: skip
    client(where).create_bucket(Bucket="experiments")
    try:
        yield {**where, **keys}
    finally:
        server.stop()


def client(where: dict[str, str]) -> Any:
    boto3 = pytest.importorskip("boto3")
    return boto3.client(
        "s3", endpoint_url=where["SNAKEMAKE_STORAGE_S3_ENDPOINT_URL"], region_name="us-east-1",
        aws_access_key_id="test", aws_secret_access_key="test",
    )  # fmt: skip


def stored(where: dict[str, str]) -> set[str]:
    """Return the names of what the bucket holds."""
    listed = client(where).list_objects_v2(Bucket="experiments").get("Contents", [])
    return {entry["Key"] for entry in listed}


STORE = ["--default-storage-provider", "s3", "--default-storage-prefix", "s3://experiments"]


@pytest.mark.slow
def test_artifacts_go_to_an_s3_store_and_come_back(store: dict[str, str], tmp_path: Path) -> None:
    first = Shared(tmp_path / "one", store, MICRO)
    done = first.run(*STORE, "--", NOUNS, QUERIES)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert {DATASET, NOUNS, QUERIES, "data/web/mini/protocol/step0.json"} <= stored(store)
    assert not (first.folder / DATASET).exists()
    second = follower(tmp_path / "two", first, MICRO)
    assert second.planned(*STORE, "--", NOUNS, QUERIES) == {}
    held = client(store).get_object(Bucket="experiments", Key=NOUNS)["Body"].read()
    client(store).delete_object(Bucket="experiments", Key=NOUNS)
    assert second.planned(*STORE, "--", NOUNS, QUERIES) == {"nouns": 1}
    # The captions that it reads are those of the first workspace, fetched from the store.
    done = second.run(*STORE, "--", NOUNS)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert client(store).get_object(Bucket="experiments", Key=NOUNS)["Body"].read() == held
