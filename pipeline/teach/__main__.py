"""`webseg teach "potted plant" sheep --model X --like photos/ --out my_model/`: teach a model classes by their names.

Writes my_model/experiment.yaml and runs it: web images of the new classes, web replay of the old ones, Web-WILSS.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.runtime.cli import run_cli, stage_parser

if TYPE_CHECKING:
    from pipeline.config import Config

FORGOT = 3
"""Exit code if old classes lost more than --max-forgetting."""


def main(argv: list[str] | None = None) -> int:
    """Return the exit code: 2 for a mistake in the request, 3 if too much was forgotten, Snakemake's if it failed."""
    parser = stage_parser("pipeline.teach", __doc__)
    parser.add_argument("classes", nargs="*", metavar="CLASS", help="names as one types them into a search box")
    parser.add_argument("--model", required=True, help="a step folder, its model.safetensors, or a taught folder")
    parser.add_argument("--out", required=True, help="folder of the result; must not exist, or be of this request")
    parser.add_argument("--like", default="", help="folder of unlabelled images of where the model will work")
    parser.add_argument("--check", default="", help="folder with images/, masks/ and classes.txt to measure against")
    parser.add_argument("--max-forgetting", type=float, metavar="POINTS", help="default 5; see docs/teach.md")
    parser.add_argument("--contact", default="", help="your address, which the crawler names on the open web")
    parser.add_argument("--yes", action="store_true", help="agree to the requests that are sent to the open web")
    parser.add_argument("--config", action="append", default=[], metavar="FILE", help="YAML laid over the experiment")
    parser.add_argument("--cores", default="all", help="as Snakemake's")
    parser.add_argument("-n", "--dry-run", action="store_true", help="write the experiment, say what would be run")
    parser.set_defaults(run=_teach, records_cost=False, words=list(sys.argv[1:] if argv is None else argv))
    return run_cli(parser, argv)


def _teach(arguments: argparse.Namespace) -> None:
    from pipeline.config import load_config
    from pipeline.runtime.shipped import shipped

    experiment = _experiment(arguments)
    config = load_config([shipped("config.yaml"), experiment])
    _agree(config, arguments)
    code = _run(experiment, arguments)
    if code or arguments.dry_run:
        raise SystemExit(code)
    _tell(_allowing(config, arguments.max_forgetting), Path(arguments.out))


def _experiment(arguments: argparse.Namespace) -> Path:
    """Return the experiment's file: the one that is there, which may be edited, or a new one."""
    from pipeline.config import read_yaml
    from pipeline.teach.experiment import EXPERIMENT, parsed, settings_for, write_experiment
    from pipeline.teach.request import MAX_FORGETTING, Request, asked_before, checked

    names = ("model", "out", "like", "check")
    paths = {name: getattr(arguments, name).rstrip("/") for name in names}
    allowed = MAX_FORGETTING if arguments.max_forgetting is None else arguments.max_forgetting
    request = Request(tuple(arguments.classes), **paths, max_forgetting=allowed)
    given = checked(request)
    if asked_before(request) is not None:
        experiment = Path(request.out) / EXPERIMENT
        unread = (
            " (--config and --contact are not read again: edit it)" if arguments.config or arguments.contact else ""
        )
        print(f"going on with {experiment}, as it is now{unread}")
        return experiment
    settings = settings_for(request, given, read_yaml(*arguments.config), arguments.contact)
    _require_contact(parsed(settings))
    experiment = write_experiment(request, given, settings, f"webseg teach {shlex.join(arguments.words)}")
    print(f"wrote {experiment}; rerun it after editing: webseg run {experiment}")
    for line in _notes(arguments.like, given.softmax):
        print(line)
    return experiment


def _notes(like: str, softmax: bool) -> list[str]:
    notes = []
    if softmax:
        notes.append("The model was trained under a softmax: its logits are read as log-odds, its decisions stay.")
    if not like:
        notes.append(
            "Without --like the old classes are searched for by their names instead of by captions of your images, and "
            "web images are not chosen by how much they look like yours (no Fourier filter): expect more forgetting "
            "and more web images that do not fit."
        )
    return notes


def _require_contact(config: Config) -> None:
    from pipeline.teach.request import TeachError
    from pipeline.teach.web import has_contact, open_web

    if open_web(config) and not has_contact(config.crawl_ingest):
        raise TeachError(
            "the images come from the open web, whose operators want to know who asks; "
            "give --contact you@example.com, or crawl_ingest.user_agent in a --config file"
        )


def _agree(config: Config, arguments: argparse.Namespace) -> None:
    from pipeline.datasets.tasks import classes_per_step
    from pipeline.teach.request import TeachError
    from pipeline.teach.web import open_web, requests

    _require_contact(config)
    if not open_web(config):
        return
    old, new = classes_per_step(config.datasets.key, config.datasets.task)[:2]
    for line in requests(config, len(old) - 1, len(new)).lines():
        print(line)
    print(f"The crawler calls itself: {config.crawl_ingest.user_agent}")
    if not (arguments.yes or arguments.dry_run):
        raise TeachError("nothing was sent; add --yes to agree, or -n to see what would be run")


def _run(experiment: Path, arguments: argparse.Namespace) -> int:
    from pipeline.experiments.run import command, environment

    sys.stdout.flush()
    dry = ["-n"] if arguments.dry_run else []
    words = [str(experiment), "--cores", arguments.cores, "--quiet", "rules", "host", *dry]
    return subprocess.run(command(words), env=environment(os.environ)).returncode


def _allowing(config: Config, points: float | None) -> Config:
    """Return the configuration with what the command line allows to be forgotten, which nothing else depends on."""
    if points is None:
        return config
    return config.model_copy(update={"teach": config.teach.model_copy(update={"max_forgetting": points})})


def _tell(config: Config, out: Path) -> None:
    from pipeline.artifacts import Layout
    from pipeline.teach.experiment import taught_model
    from pipeline.teach.outcome import outcome, write_outcome

    found = outcome(config)
    write_outcome(found, out)
    print("\n".join(found.lines()))
    print(f"taught model: {taught_model(config)}\nreport: {Layout.of(config).report()}")
    if found.too_much:
        print("\n".join(found.warning()), file=sys.stderr)
        raise SystemExit(FORGOT)


if __name__ == "__main__":
    raise SystemExit(main())
