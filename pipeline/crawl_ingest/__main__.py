"""`python -m pipeline.crawl_ingest plan|ingest|merge|card|refresh|clean`: from queries to images with provenance."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.crawl_ingest.checks.reasons import RETRIED
from pipeline.runtime.cli import add_settings, read_settings, run_cli, stage_parser


def main(argv: list[str] | None = None) -> int:
    """Return the exit code."""
    parser = stage_parser("pipeline.crawl_ingest", __doc__)
    commands = parser.add_subparsers(required=True)
    plan = commands.add_parser("plan", help="write the queries of a plan")
    plan.add_argument("--plan", help="base, step<k> or replay<k>")
    plan.add_argument("--protocol", type=Path, help="protocol of the step whose classes are asked for")
    plan.add_argument("--classes", type=Path, help="instead of both: a text file with a class name per line")
    plan.add_argument("--captions", type=Path, help="captions of the base images, for replay plans")
    plan.set_defaults(run=_plan)
    ingest = commands.add_parser("ingest", help="crawl one shard of a plan; resumes item by item")
    ingest.add_argument("--queries", type=Path, required=True)
    ingest.add_argument("--shard", required=True, help="<plan>-<number>")
    ingest.add_argument("--protocol", type=Path, help="its evaluation images are kept out")
    ingest.add_argument(
        "--retry", nargs="+", default=[], choices=sorted(RETRIED), metavar="REASON",
        help="ask addresses again that ended so, for example: connection timeout",
    )  # fmt: skip
    ingest.set_defaults(run=_ingest)
    merge = commands.add_parser("merge", help="join a plan's shards into its manifest")
    merge.add_argument("--queries", type=Path, required=True)
    merge.add_argument("--shards", type=Path, nargs="+", required=True)
    merge.set_defaults(run=_merge)
    card = commands.add_parser("card", help="write a pool's card and attribution.csv")
    card.add_argument("--manifests", type=Path, nargs="+", required=True)
    card.set_defaults(run=_card)
    refresh = commands.add_parser(
        "refresh", help="verify the stored bytes, and with --web whether the web still has them"
    )
    refresh.add_argument("--shards", type=Path, nargs="+", required=True, help="tar files")
    refresh.add_argument("--web", action="store_true", help="ask every kept address again")
    refresh.set_defaults(run=_refresh)
    clean = commands.add_parser("clean", help="free the spool of what finished shards hold")
    clean.add_argument("--shards", type=Path, nargs="+", required=True, help="tar files of one pool")
    clean.set_defaults(run=_clean)
    add_settings(clean)
    for command in (plan, ingest, merge, card, refresh):
        command.add_argument("--out", type=Path, required=True)
        add_settings(command)
    return run_cli(parser, argv)


def _plan(arguments: argparse.Namespace) -> None:
    from pipeline.crawl_ingest.plan import write_class_plan, write_plan

    settings = read_settings(arguments).crawl_ingest
    if arguments.classes:
        write_class_plan(arguments.classes, settings, arguments.out)
        return
    if not (arguments.plan and arguments.protocol):
        raise ValueError("plan needs --plan and --protocol, or --classes")
    write_plan(arguments.plan, arguments.protocol, settings, arguments.out, arguments.captions)


def _ingest(arguments: argparse.Namespace) -> None:
    from pipeline.crawl_ingest.checks.decoders import end_processes
    from pipeline.crawl_ingest.crawl import ingest

    settings = read_settings(arguments).crawl_ingest
    try:
        ingest(arguments.queries, arguments.shard, arguments.protocol, settings, arguments.out, arguments.retry)
    finally:
        end_processes()


def _merge(arguments: argparse.Namespace) -> None:
    from pipeline.crawl_ingest.pool.merge import merge

    merge(arguments.queries, arguments.shards, read_settings(arguments).crawl_ingest, arguments.out)


def _card(arguments: argparse.Namespace) -> None:
    from pipeline.crawl_ingest.pool.card import write_card

    write_card(arguments.manifests, read_settings(arguments).crawl_ingest, arguments.out)


def _refresh(arguments: argparse.Namespace) -> None:
    from pipeline.crawl_ingest.refresh import refresh

    counts = refresh(arguments.shards, read_settings(arguments).crawl_ingest, arguments.out, arguments.web)
    print(", ".join(f"{count} {name}" for name, count in sorted(counts.items())))
    if faults := counts.get("damaged", 0) + counts.get("missing", 0):
        raise ValueError(f"{faults} stored images are not what their names say; {arguments.out} names them")


def _clean(arguments: argparse.Namespace) -> None:
    from pipeline.crawl_ingest.refresh import clean

    pool = arguments.shards[0].absolute().parents[1]
    freed = clean(arguments.shards, read_settings(arguments).crawl_ingest, pool)
    print(f"{freed:,} bytes freed")


if __name__ == "__main__":
    raise SystemExit(main())
