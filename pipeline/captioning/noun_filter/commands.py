"""Commands of the noun filter: filter, compare, calibrate."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pipeline.runtime.cli import read_settings


def add_filter(commands: Any) -> argparse.ArgumentParser:
    """Add and return the `filter` command."""
    command: argparse.ArgumentParser = commands.add_parser(
        "filter",
        help="keep images whose caption nouns fit",
        description="With --manifest: this pipeline's tables. With --noun-folder: folders of the authors.",
    )
    command.add_argument("--role", choices=["new", "replay"], default="replay")
    command.add_argument("--rule", choices=["paper", "classes", "released"], help="over noun_filter.replay_rule")
    _add_tables(command, required=False)
    command.add_argument(
        "--noun-folder", type=Path, help="folder of <id>.txt noun files; with --role new, of <class>.txt"
    )
    command.add_argument("--class-file", type=Path, help="pascal_classes.txt, for --noun-folder and --role replay")
    command.add_argument("--correct-classes", action="store_true", help="exchange dog and table back before use")
    command.add_argument(
        "--closure",
        choices=("once", "repeated"),
        default="once",
        help="for --noun-folder; repeated: scores of NLTK 3.6.2 to 3.8.1, which yields shared hypernyms twice",
    )
    command.set_defaults(run=_filter)
    return command


def add_compare(commands: Any) -> argparse.ArgumentParser:
    """Add and return the `compare` command."""
    command: argparse.ArgumentParser = commands.add_parser(
        "compare", help="what every similarity and rule would keep, for the report"
    )
    command.add_argument("--role", choices=["new", "replay"], required=True)
    _add_tables(command, required=True)
    command.set_defaults(run=_compare)
    return command


def add_calibrate(commands: Any) -> argparse.ArgumentParser:
    """Add and return the `calibrate` command."""
    command: argparse.ArgumentParser = commands.add_parser(
        "calibrate", help="per-class thresholds from a labelled sample, as a file to layer over the configuration"
    )
    command.add_argument("--scores", type=Path, required=True, help="a noun_filter table of new classes")
    command.add_argument("--protocol", type=Path, required=True)
    command.add_argument(
        "--sample", type=Path, required=True, help="CSV with image_id, class_id, right (yes or no), labelled by you"
    )
    command.add_argument("--min-precision", type=float, default=0.0)
    command.set_defaults(run=_calibrate)
    return command


def _add_tables(command: argparse.ArgumentParser, required: bool) -> None:
    command.add_argument("--manifest", type=Path, required=required)
    command.add_argument("--captions", type=Path, nargs="+", required=required)
    command.add_argument("--nouns", type=Path, nargs="+", required=required)
    command.add_argument("--source-captions", type=Path, help="captions of the base images, for replay")
    command.add_argument("--source-nouns", type=Path, help="their nouns")
    command.add_argument("--protocol", type=Path, required=required)


def _filter(arguments: argparse.Namespace) -> None:
    if arguments.noun_folder:
        arguments.records_cost = False
        _filter_folder(arguments)
        return
    from pipeline.captioning.noun_filter.judge import filter_nouns
    from pipeline.captioning.noun_filter.texts import Texts

    for name in ("manifest", "captions", "nouns", "protocol"):
        if not getattr(arguments, name):
            raise ValueError(f"filter needs --{name}, or --noun-folder with --rule released")
    settings = read_settings(arguments).captioning
    rules = settings.noun_filter
    if arguments.rule:
        rules = rules.model_copy(update={"replay_rule": arguments.rule})
    source = _source(arguments, arguments.role == "replay" and rules.replay_rule == "paper")
    texts = Texts.read(arguments.captions, arguments.nouns)
    filter_nouns(
        arguments.role, arguments.manifest, texts, arguments.protocol, rules, arguments.out, source, settings.vocabulary
    )


def _source(arguments: argparse.Namespace, needed: bool) -> Any:
    from pipeline.captioning.noun_filter.texts import Texts

    if not (arguments.source_captions and arguments.source_nouns):
        if needed:
            raise ValueError("--role replay needs --source-captions and --source-nouns under the rule `paper`")
        return None
    return Texts.read([arguments.source_captions], [arguments.source_nouns])


def _filter_folder(arguments: argparse.Namespace) -> None:
    from pipeline.captioning.authors.files import ClassNames
    from pipeline.captioning.authors.released import filter_class_folder, filter_replay_folder

    if arguments.rule != "released":
        raise ValueError("--noun-folder is filtered by the released rule alone; pass --rule released")
    if arguments.role == "new":
        outcome = filter_class_folder(arguments.noun_folder, arguments.out, closure=arguments.closure)
    else:
        if not arguments.class_file:
            raise ValueError("--noun-folder with --role replay needs --class-file, the authors' pascal_classes.txt")
        names = ClassNames.read(arguments.class_file)
        print("\n".join(names.report()))
        if arguments.correct_classes and names.exchanged:
            names = names.corrected()
        outcome = filter_replay_folder(arguments.noun_folder, names, arguments.out, closure=arguments.closure)
    print("\n".join(outcome.report()))


def _compare(arguments: argparse.Namespace) -> None:
    from pipeline.captioning.noun_filter.comparison import compare
    from pipeline.captioning.noun_filter.texts import Texts

    settings = read_settings(arguments).captioning
    source = _source(arguments, arguments.role == "replay")
    texts = Texts.read(arguments.captions, arguments.nouns)
    compare(
        arguments.role, arguments.manifest, texts, arguments.protocol, settings.noun_filter, arguments.out, source,
        settings.vocabulary,
    )  # fmt: skip


def _calibrate(arguments: argparse.Namespace) -> None:
    from pipeline.captioning.noun_filter.calibration import calibrate, read_sample

    sample = read_sample(arguments.sample)
    rows = calibrate(arguments.scores, arguments.protocol, sample, arguments.out, arguments.min_precision)
    print(f"{'class':14s} threshold  precision  recall     F1  images")
    for row in rows:
        figures = f"{row.threshold:9.3f}  {row.precision:9.3f}  {row.recall:6.3f}  {row.f1:5.3f}  {row.images:6d}"
        print(f"{row.name:14s} {figures}")
