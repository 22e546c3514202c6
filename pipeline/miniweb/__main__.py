"""`python -m pipeline.miniweb minivoc|site|serve|label-sample|train-captioner`."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.runtime.cli import add_settings, read_settings, run_cli, stage_parser


def main(argv: list[str] | None = None) -> int:
    """Return the exit code."""
    parser = stage_parser("pipeline.miniweb", __doc__)
    commands = parser.add_subparsers(required=True)
    minivoc = commands.add_parser("minivoc", help="draw the data set in VOC layout")
    minivoc.set_defaults(run=_minivoc)
    site = commands.add_parser("site", help="draw the web site")
    site.add_argument("--root", type=Path, required=True)
    site.add_argument("--protocol", type=Path, nargs="+", required=True, help="protocol of every step, in order")
    site.set_defaults(run=_site)
    for command in (minivoc, site):
        add_settings(command)
    serve = commands.add_parser("serve", help="serve the site on loopback while a command runs")
    serve.add_argument("--root", type=Path, required=True)
    serve.add_argument("--log", type=Path, help="write requests per address here as JSON")
    serve.add_argument("command", nargs=argparse.REMAINDER, help="-- COMMAND ...")
    serve.set_defaults(run=_serve)
    labels = commands.add_parser(
        "label-sample", help="label a share of the candidates, as a person would, for calibrate"
    )
    labels.add_argument("--truth", type=Path, required=True, help="truth.parquet of the site")
    labels.add_argument("--manifest", type=Path, required=True, help="manifest of the candidates")
    labels.add_argument("--share", type=float, default=0.25, help="share of the candidates that is labelled")
    labels.add_argument("--out", type=Path, required=True, help="CSV with image_id, class_id, right")
    labels.set_defaults(run=_labels, records_cost=False)
    captioner = commands.add_parser("train-captioner", help="train the tiny captioner on drawn scenes")
    captioner.add_argument("--out", type=Path, required=True)
    captioner.add_argument("--seed", type=int, default=0)
    captioner.add_argument("--scenes", type=int, default=24000)
    captioner.add_argument("--epochs", type=int, default=12)
    captioner.set_defaults(run=_captioner)
    return run_cli(parser, argv)


def _minivoc(arguments: argparse.Namespace) -> None:
    from pipeline.miniweb.minivoc import build_minivoc

    data = read_settings(arguments).datasets
    arguments.out = Path(data.root)
    build_minivoc(Path(data.root), seed=data.minivoc_seed, n_train=data.minivoc_train, n_val=data.minivoc_val)


def _site(arguments: argparse.Namespace) -> None:
    from pipeline.miniweb.site import build_site

    build_site(arguments.root, read_settings(arguments).miniweb, arguments.protocol)


def _serve(arguments: argparse.Namespace) -> None:
    from pipeline.miniweb.server import serve_while

    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        raise ValueError("serve needs a command after `--`, for example: serve --root data/miniweb -- make crawl")
    raise SystemExit(serve_while(arguments.root, command, arguments.log))


def _labels(arguments: argparse.Namespace) -> None:
    from pipeline.miniweb.labels import write_labelled_sample

    count = write_labelled_sample(arguments.truth, arguments.manifest, arguments.share, arguments.out)
    print(f"wrote {arguments.out}: {count} labels")


def _captioner(arguments: argparse.Namespace) -> None:
    from pipeline.miniweb.captioner_training import train_captioner

    train_captioner(arguments.out, seed=arguments.seed, scenes=arguments.scenes, epochs=arguments.epochs)


if __name__ == "__main__":
    raise SystemExit(main())
