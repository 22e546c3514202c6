"""`python -m pipeline.predict [export]`: segment images with a trained model, or write it for other programs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.runtime.cli import run_cli

_MODEL = "step folder, transformers folder, or a torchvision segmenter's weights file"


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit code: 2 with one line for the user's mistakes."""
    words = list(sys.argv[1:] if argv is None else argv)
    exporting = words[:1] == ["export"]
    parser = _export_parser() if exporting else _predict_parser()
    return run_cli(parser, words[1:] if exporting else words)


def _predict_parser() -> argparse.ArgumentParser:
    about = "Segment images. Writes masks, overlays, areas.csv and a gallery. `export` writes the model instead."
    parser = argparse.ArgumentParser(prog="python -m pipeline.predict", description=about)
    _add_model(parser)
    parser.add_argument("--images", required=True, help="a folder, a glob in quotes, or a file")
    parser.add_argument("--out", type=Path, required=True, help="new folder, or one that this command wrote")
    parser.add_argument("--tile", type=int, default=0, help="cut larger images into tiles of that side; 0: whole")
    parser.add_argument("--overlap", type=int, help="pixels that tiles share; a quarter of the tile by default")
    parser.add_argument("--resize", type=int, default=0, help="bring the shorter side to that many pixels first")
    parser.add_argument("--batch-size", type=int, default=8, help="images of one size computed together")
    parser.add_argument(
        "--format", action="append", default=[], choices=["coco", "labelme"], help="also write annotations; repeat"
    )
    parser.add_argument("--gallery", type=int, default=200, help="images that the gallery shows")
    parser.add_argument("--device", default="", help="cpu, cuda, cuda:1 ...; a GPU if there is one")
    # The run's own record, predict.json, holds its cost.
    parser.set_defaults(run=_predict, records_cost=False)
    return parser


def _export_parser() -> argparse.ArgumentParser:
    about = "Write a model for other programs, with a model card."
    parser = argparse.ArgumentParser(prog="python -m pipeline.predict export", description=about)
    _add_model(parser)
    parser.add_argument("--out", type=Path, required=True, help="new folder, or one that this command wrote")
    parser.add_argument(
        "--format",
        action="append",
        default=[],
        choices=["onnx", "torchscript", "transformers"],
        help="repeat for several; onnx by default",
    )
    parser.add_argument("--images", help="folder, glob or file of images to compare on; random ones by default")
    parser.set_defaults(run=_export, records_cost=False)
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help=_MODEL)
    parser.add_argument("--classes", type=Path, help="names of its classes, one per line, if it does not know them")
    parser.add_argument("--method", default="", help="method that trained it, if its header does not say")


def _predict(arguments: argparse.Namespace) -> None:
    _offline()
    from pipeline.predict.folder import Options, predict_images
    from pipeline.predict.loading import load_segmenter
    from pipeline.predict.out_folder import check_out

    check_out(arguments.out.absolute(), [arguments.model])  # before a large model is read
    segmenter = load_segmenter(
        arguments.model,
        class_names=_names(arguments),
        method=arguments.method,
        device=arguments.device,
        resize=arguments.resize,
    )
    for note in segmenter.model.notes:
        print(f"note: {note}", file=sys.stderr)
    options = Options(
        tile=arguments.tile,
        overlap=arguments.overlap,
        batch_size=arguments.batch_size,
        formats=tuple(dict.fromkeys(arguments.format)),
        gallery=max(0, arguments.gallery),
    )
    rows = predict_images(segmenter, arguments.images, arguments.out, options)
    done = len({row.image for row in rows if row.status == "done"})
    failed, skipped = (sum(row.status == status for row in rows) for status in ("failed", "skipped"))
    print(f"{done} images segmented, {failed} failed, {skipped} other files; see {arguments.out / 'index.html'}")


def _export(arguments: argparse.Namespace) -> None:
    _offline()
    from pipeline.predict.export import export_model

    formats = tuple(dict.fromkeys(arguments.format)) or ("onnx",)
    lines = export_model(
        arguments.model, arguments.out, formats, _names(arguments), arguments.method, arguments.images or ""
    )
    print("\n".join(lines))


def _names(arguments: argparse.Namespace) -> tuple[str, ...]:
    from pipeline.predict.class_list import read_class_names

    return read_class_names(arguments.classes) if arguments.classes else ()


def _offline() -> None:
    # A path that is no folder must never become a download.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")


if __name__ == "__main__":
    raise SystemExit(main())
