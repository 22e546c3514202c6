"""The profiles know every rule; their variants agree; Kubernetes jobs ask for what their rule needs."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CLUSTERS = ("slurm", "slurm_gres", "kubernetes")
SMALL = {"protocol", "pool_protocol", "plan", "merge", "card", "nouns", "noun_filter", "noun_filter_replay",
         "select_replay", "noun_comparison", "noun_comparison_replay", "train_list", "train_list_base", "report",
         "all", "isolated_environment", "import_base", "noun_filter_replay_by_class", "select_by_nouns"}  # fmt: skip
"""Rules that do with the default resources, or are run where Snakemake runs."""


def profile(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "profiles" / name / "config.v9+.yaml").read_text())
    return loaded


def rules() -> set[str]:
    text = "\n".join(path.read_text() for path in [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")])
    return set(re.findall(r"^ *rule (\w+):", text, re.MULTILINE)) | {"pool_protocol"}


@pytest.mark.parametrize("name", CLUSTERS)
def test_every_rule_is_small_or_has_its_resources(name: str) -> None:
    listed = set(profile(name)["set-resources"])
    own = {rule for rule in listed if not rule.startswith("companion_")}
    assert rules() - SMALL == own
    shared = {"minivoc", "prepare", "detect_saliency"}
    assert {rule for rule in listed if rule.startswith("companion_")} == {f"companion_{rule}" for rule in own - shared}
    for rule, resources in profile(name)["set-resources"].items():
        twin = profile(name)["set-resources"].get(f"companion_{rule}", resources)
        assert twin == resources, rule


@pytest.mark.parametrize("name", ("local", *CLUSTERS))
def test_nothing_reruns_for_the_text_of_a_rule(name: str) -> None:
    assert set(profile(name)["rerun-triggers"]) == {"mtime", "params", "input", "software-env"}
    assert profile(name)["max-checksum-file-size"] >= 10**9


@pytest.mark.parametrize("name", CLUSTERS)
def test_memory_and_time_grow_with_attempts_and_retries_are_of_the_profile(name: str) -> None:
    chosen = profile(name)
    for resources in [chosen["default-resources"], *chosen["set-resources"].values()]:
        assert "* attempt" in resources["mem_mb"] and "* attempt" in resources["runtime"]
    assert chosen["retries"] > 0
    assert not any("retries:" in path.read_text() for path in (ROOT / "rules").glob("*.smk"))


def test_gres_is_the_only_difference_between_the_slurm_profiles() -> None:
    gpus, gres = profile("slurm"), profile("slurm_gres")
    for rule, resources in gpus["set-resources"].items():
        if resources.pop("gpu", None) == 1:
            resources["gres"] = "gpu:1"
        elif "train_" in rule:
            resources |= {"gpu": 0, "gres": "gpu:1"}
    assert gpus == gres


FAKE = """#!/bin/sh
case "$*" in
  create*) cat > {folder}/manifest.json ;;
  get*) echo '{{"status": {{"conditions": [{{"type": "Complete", "status": "True"}}]}}}}' ;;
  *) echo "$*" > {folder}/deleted ;;
esac
"""


@pytest.fixture
def kubernetes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(FAKE.format(folder=tmp_path))
    kubectl.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "PIPELINE_IMAGE": "image:1", "PIPELINE_CLAIM": "claim"}

    def job(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "profiles" / "kubernetes" / "job.py"), *words]
        known = {**environment, **more}
        return subprocess.run(command, env=known, cwd=tmp_path, capture_output=True, text=True, check=False)

    return job


def test_a_kubernetes_job_asks_for_what_its_rule_needs(kubernetes: Any, tmp_path: Path) -> None:
    submit = ["submit", "--rule=train_step", "--cpus=2", "--memory=32000", "--minutes=1440", "--gpus=1", "x.sh"]
    name = kubernetes(*submit).stdout.strip()
    assert re.fullmatch(r"pipeline-train-step-[0-9a-f]{12}", name)
    made = json.loads((tmp_path / "manifest.json").read_text())
    pod = made["spec"]["template"]["spec"]
    assert made["metadata"]["name"] == name and made["spec"]["activeDeadlineSeconds"] == 86_400
    assert made["spec"]["backoffLimit"] == 0 and pod["terminationGracePeriodSeconds"] >= 30
    container = pod["containers"][0]
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "32000Mi", "nvidia.com/gpu": "1"}
    assert container["workingDir"] == str(tmp_path) and container["command"] == ["bash", str(tmp_path / "x.sh")]
    assert kubernetes("status", name).stdout == "success\n"
    kubernetes("cancel", name)
    assert name in (tmp_path / "deleted").read_text()


def test_a_kubernetes_job_without_an_image_says_so(kubernetes: Any) -> None:
    submit = ["submit", "--rule=report", "--cpus=1", "--memory=1000", "--minutes=5", "--gpus=0", "x.sh"]
    done = kubernetes(*submit, PIPELINE_IMAGE="")
    assert done.returncode == 1 and done.stderr.startswith("error: PIPELINE_IMAGE is not set")
