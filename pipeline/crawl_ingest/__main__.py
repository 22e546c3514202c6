"""`python -m pipeline.crawl_ingest plan|ingest|merge`: from queries to shards of images with provenance."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.cli import add_settings, read_settings, run_cli


def main(argv: list[str] | None = None) -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.crawl_ingest", description=__doc__)
    commands = parser.add_subparsers(required=True)
    plan = commands.add_parser("plan", help="write the queries of a plan")
    plan.add_argument("--plan", required=True, help="base, step<k> or replay<k>")
    plan.add_argument("--protocol", type=Path, required=True, help="protocol of the step whose classes are asked for")
    plan.add_argument("--captions", type=Path, help="captions of the base images, for replay plans")
    plan.set_defaults(run=_plan)
    ingest = commands.add_parser("ingest", help="crawl one shard of a plan; resumes item by item")
    ingest.add_argument("--queries", type=Path, required=True)
    ingest.add_argument("--shard", required=True, help="<plan>-<number>")
    ingest.add_argument("--protocol", type=Path, required=True, help="its evaluation images are kept out")
    ingest.set_defaults(run=_ingest)
    merge = commands.add_parser("merge", help="join a plan's shards into its manifest")
    merge.add_argument("--queries", type=Path, required=True)
    merge.add_argument("--shards", type=Path, nargs="+", required=True)
    merge.set_defaults(run=_merge)
    for command in (plan, ingest, merge):
        command.add_argument("--out", type=Path, required=True)
        add_settings(command)
    return run_cli(parser, argv)


def _plan(arguments: argparse.Namespace) -> None:
    from pipeline.crawl_ingest.plan import write_plan

    settings = read_settings(arguments).crawl_ingest
    write_plan(arguments.plan, arguments.protocol, settings, arguments.out, arguments.captions)


def _ingest(arguments: argparse.Namespace) -> None:
    from pipeline.crawl_ingest.crawl import ingest

    settings = read_settings(arguments).crawl_ingest
    ingest(arguments.queries, arguments.shard, arguments.protocol, settings, arguments.out)


def _merge(arguments: argparse.Namespace) -> None:
    from pipeline.crawl_ingest.merge import merge

    merge(arguments.queries, arguments.shards, read_settings(arguments).crawl_ingest, arguments.out)


if __name__ == "__main__":
    raise SystemExit(main())
