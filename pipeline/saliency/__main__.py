"""`python -m pipeline.saliency detect`: maps of a data set's training images."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.runtime.cli import add_settings, read_settings, run_cli, stage_parser


def main(argv: list[str] | None = None) -> int:
    """Return the exit code."""
    parser = stage_parser("pipeline.saliency", __doc__)
    commands = parser.add_subparsers(required=True)
    detect = commands.add_parser("detect", help="a soft saliency map of every training image, and an index")
    detect.add_argument("--model", default="u2netp")
    detect.add_argument("--weights", type=Path, help="ONNX file to use in place of the installed package's")
    detect.add_argument("--threads", type=int, default=1, help="images at a time; does not change the maps")
    detect.add_argument("--out-dir", type=Path, required=True, help="folder of the maps")
    detect.add_argument("--out", type=Path, required=True, help="index of the maps (Parquet)")
    detect.set_defaults(run=_detect)
    add_settings(detect)
    return run_cli(parser, argv)


def _detect(arguments: argparse.Namespace) -> None:
    from pipeline.datasets.readers.voc import read_split
    from pipeline.saliency.stage import detect_saliency

    items = read_split(read_settings(arguments).datasets.root, "train")
    detect_saliency(
        items,
        arguments.out_dir,
        arguments.out,
        model=arguments.model,
        threads=arguments.threads,
        weights=arguments.weights,
    )


if __name__ == "__main__":
    raise SystemExit(main())
