"""`python -m pipeline.fourier_filter fit|select`."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.runtime.cli import add_settings, read_settings, run_cli, stage_parser


def main(argv: list[str] | None = None) -> int:
    """Return the exit code."""
    parser = stage_parser("pipeline.fourier_filter", __doc__)
    commands = parser.add_subparsers(required=True)
    fit = commands.add_parser("fit", help="train the discriminator on base images against their web images")
    fit.add_argument("--protocol", type=Path, required=True, help="protocol of step 0")
    fit.add_argument("--manifest", type=Path, required=True, help="manifest of the plan `base`")
    fit.add_argument("--out-model", type=Path, required=True)
    fit.add_argument("--out-metrics", type=Path, required=True)
    fit.set_defaults(run=_fit)
    select = commands.add_parser("select", help="score the candidates of a step and choose under the budget")
    select.add_argument("--manifest", type=Path, required=True, help="manifest of the plan `step<k>`")
    select.add_argument("--noun-filter", type=Path, required=True)
    select.add_argument("--model", type=Path, help="the discriminator; without it no image has a score")
    select.add_argument("--out-fourier", type=Path, required=True)
    select.add_argument("--out-selection", type=Path, required=True)
    select.set_defaults(run=_select)
    for command in (fit, select):
        command.add_argument("--shards-dir", type=Path, required=True)
        add_settings(command)
    return run_cli(parser, argv)


def _fit(arguments: argparse.Namespace) -> None:
    from pipeline.fourier_filter.fit import fit_discriminator

    settings = read_settings(arguments).fourier_filter.discriminator
    fit_discriminator(
        arguments.protocol,
        arguments.manifest,
        arguments.shards_dir,
        settings,
        arguments.out_model,
        arguments.out_metrics,
    )


def _select(arguments: argparse.Namespace) -> None:
    from pipeline.fourier_filter.candidates import select_images

    select_images(
        arguments.manifest,
        arguments.noun_filter,
        arguments.shards_dir,
        arguments.model,
        read_settings(arguments).fourier_filter.selection,
        arguments.out_fourier,
        arguments.out_selection,
    )


if __name__ == "__main__":
    raise SystemExit(main())
