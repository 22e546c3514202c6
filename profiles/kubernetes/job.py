#!/usr/bin/env python3
"""A Snakemake job as a Kubernetes Job on a shared volume: `job.py submit ... SCRIPT`, `status ID`, `cancel ID ...`.

Uses kubectl and its current context. PIPELINE_IMAGE names the image, PIPELINE_CLAIM the volume claim, PIPELINE_VOLUME
where it is mounted (default: the first folder of the working directory's path), PIPELINE_NAMESPACE the namespace.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

GRACE_SECONDS = 60
"""Between SIGTERM and SIGKILL when a pod is evicted: training saves its state in it."""


def manifest(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the Job: one pod, no retry of its own (Snakemake retries, with more memory and time)."""
    amounts = {"cpu": str(arguments.cpus), "memory": f"{arguments.memory}Mi"}
    if arguments.gpus:
        amounts["nvidia.com/gpu"] = str(arguments.gpus)
    here = Path.cwd()
    container = {
        "name": "job",
        "image": environment("PIPELINE_IMAGE"),
        "command": ["bash", str(arguments.script.resolve())],
        "workingDir": str(here),
        "resources": {"requests": amounts, "limits": amounts},
        "volumeMounts": [{"name": "data", "mountPath": os.environ.get("PIPELINE_VOLUME", f"/{here.parts[1]}")}],
    }
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": environment("PIPELINE_CLAIM")}}
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "containers": [container],
        "volumes": [volume],
    }
    labels = {"app": "web-continual-segmentation", "rule": arguments.rule.replace("_", "-")[:63]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": 60 * arguments.minutes,
            "ttlSecondsAfterFinished": 86_400,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def submit(arguments: argparse.Namespace) -> None:
    """Create the Job and print its name."""
    name = f"pipeline-{arguments.rule.replace('_', '-')[:30]}-{uuid.uuid4().hex[:12]}".lower()
    kubectl("create", "-f", "-", given=json.dumps(manifest(name, arguments)))
    print(name)


def status(arguments: argparse.Namespace) -> None:
    """Print success, failed or running."""
    found = json.loads(kubectl("get", "job", arguments.id, "-o", "json")).get("status", {})
    done = {item["type"] for item in found.get("conditions", []) if item.get("status") == "True"}
    print("success" if "Complete" in done else "failed" if "Failed" in done else "running")


def cancel(arguments: argparse.Namespace) -> None:
    """Delete Jobs and their pods."""
    kubectl("delete", "job", "--ignore-not-found", "--wait=false", *arguments.ids)


def kubectl(*words: str, given: str | None = None) -> str:
    """Run kubectl; exit with its error."""
    namespace = os.environ.get("PIPELINE_NAMESPACE")
    command = ["kubectl", *(["--namespace", namespace] if namespace else []), *words]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: {' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def environment(name: str) -> str:
    """Return a required variable, or exit with one line."""
    return os.environ.get(name) or sys.exit(f"error: {name} is not set; see profiles/kubernetes/config.v9+.yaml")


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    made = commands.add_parser("submit")
    made.add_argument("--rule", required=True)
    for name in ("--cpus", "--memory", "--minutes", "--gpus"):
        made.add_argument(name, type=int, required=True)
    made.add_argument("script", type=Path)
    made.set_defaults(run=submit)
    asked = commands.add_parser("status")
    asked.add_argument("id")
    asked.set_defaults(run=status)
    ended = commands.add_parser("cancel")
    ended.add_argument("ids", nargs="+")
    ended.set_defaults(run=cancel)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
