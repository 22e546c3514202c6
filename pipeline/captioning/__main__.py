"""`python -m pipeline.captioning caption|nouns|filter|wordnet-table`."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.cli import add_settings, read_settings, run_cli


def main(argv: list[str] | None = None) -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.captioning", description=__doc__)
    commands = parser.add_subparsers(required=True)
    caption = commands.add_parser("caption", help="caption a shard, or the training images of a protocol")
    caption.add_argument("--shard-tar", type=Path)
    caption.add_argument("--shard", type=Path, help="the shard's table")
    caption.add_argument("--protocol", type=Path)
    caption.set_defaults(run=_caption)
    nouns = commands.add_parser("nouns", help="extract the nouns of captions")
    nouns.add_argument("--captions", type=Path, required=True)
    nouns.set_defaults(run=_nouns)
    filtered = commands.add_parser("filter", help="keep images whose caption nouns fit")
    filtered.add_argument("--role", choices=["new", "replay"], required=True)
    filtered.add_argument("--manifest", type=Path, required=True)
    filtered.add_argument("--captions", type=Path, nargs="+", required=True)
    filtered.add_argument("--nouns", type=Path, nargs="+", required=True)
    filtered.add_argument("--source-captions", type=Path, help="captions of the base images, for replay")
    filtered.add_argument("--source-nouns", type=Path, help="their nouns")
    filtered.add_argument("--protocol", type=Path, required=True)
    filtered.set_defaults(run=_filter)
    wordnet = commands.add_parser("wordnet-table", help="derive the shipped WordNet table from an installed one")
    wordnet.add_argument("--dict", type=Path, required=True, help="folder of data.noun, for example /usr/share/wordnet")
    wordnet.set_defaults(run=_wordnet)
    for command in (caption, nouns, filtered, wordnet):
        command.add_argument("--out", type=Path, required=True)
        add_settings(command)
    return run_cli(parser, argv)


def _caption(arguments: argparse.Namespace) -> None:
    from pipeline.captioning.captions import caption, dataset_sources, shard_sources

    settings = read_settings(arguments).captioning.captioner
    if arguments.protocol and not arguments.shard:
        sources = dataset_sources(arguments.protocol)
    elif arguments.shard and arguments.shard_tar and not arguments.protocol:
        sources = shard_sources(arguments.shard, arguments.shard_tar)
    else:
        raise ValueError("pass either --protocol, or --shard together with --shard-tar")
    caption(sources, settings, arguments.out)


def _nouns(arguments: argparse.Namespace) -> None:
    from pipeline.captioning.nouns import write_nouns

    write_nouns(arguments.captions, read_settings(arguments).captioning.nouns, arguments.out)


def _filter(arguments: argparse.Namespace) -> None:
    from pipeline.captioning.noun_filter import Texts, filter_nouns

    settings = read_settings(arguments).captioning.noun_filter
    source = None
    if arguments.role == "replay":
        if not (arguments.source_captions and arguments.source_nouns):
            raise ValueError("--role replay needs --source-captions and --source-nouns")
        source = Texts.read([arguments.source_captions], [arguments.source_nouns])
    texts = Texts.read(arguments.captions, arguments.nouns)
    filter_nouns(arguments.role, arguments.manifest, texts, arguments.protocol, settings, arguments.out, source)


def _wordnet(arguments: argparse.Namespace) -> None:
    from pipeline.captioning.vocabulary import class_words
    from pipeline.captioning.wordnet.reader import WordNetFiles, write_table

    files = WordNetFiles(arguments.dict)
    own = {word for words in class_words().values() for word in words}
    also = ["tv monitor", "motor bike", "wine glass", "teddy bear", "traffic light"]
    count = write_table([*own, *also, *files.common(1)], files, arguments.out)
    print(f"{count} words")


if __name__ == "__main__":
    raise SystemExit(main())
