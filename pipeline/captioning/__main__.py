"""`python -m pipeline.captioning caption|nouns|filter|compare|calibrate|authors|wordnet-table`."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.captioning.authors.commands import add_authors
from pipeline.captioning.noun_filter.commands import add_calibrate, add_compare, add_filter
from pipeline.runtime.cli import add_settings, read_settings, run_cli, stage_parser


def main(argv: list[str] | None = None) -> int:
    """Return the exit code."""
    parser = stage_parser("pipeline.captioning", __doc__)
    commands = parser.add_subparsers(required=True)
    caption = commands.add_parser("caption", help="caption a shard, or the training images of a protocol")
    caption.add_argument("--shard-tar", type=Path)
    caption.add_argument("--shard", type=Path, help="the shard's table")
    caption.add_argument("--protocol", type=Path)
    caption.set_defaults(run=_caption)
    nouns = commands.add_parser("nouns", help="extract the nouns of captions")
    nouns.add_argument("--captions", type=Path, required=True)
    nouns.set_defaults(run=_nouns)
    wordnet = commands.add_parser("wordnet-table", help="derive the shipped WordNet table from an installed one")
    wordnet.add_argument("--dict", type=Path, required=True, help="folder of data.noun, for example /usr/share/wordnet")
    wordnet.set_defaults(run=_wordnet)
    own = [caption, nouns, wordnet, add_filter(commands), add_compare(commands), add_calibrate(commands)]
    for command in own:
        command.add_argument("--out", type=Path, required=True)
        add_settings(command)
    add_authors(commands)
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

    settings = read_settings(arguments).captioning
    write_nouns(arguments.captions, settings.nouns, arguments.out, settings.vocabulary)


def _wordnet(arguments: argparse.Namespace) -> None:
    from pipeline.captioning.wordnet.reader import WordNet

    words = WordNet.installed(arguments.dict)
    words.write(arguments.out)
    print(f"{len(words.first)} words, {len(words.parents)} synsets")


if __name__ == "__main__":
    raise SystemExit(main())
