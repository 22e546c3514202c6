"""`python -m pipeline.train base|step`: train the shared base step, or one incremental step of a method."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.cli import add_settings, read_settings, run_cli


def main(argv: list[str] | None = None) -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.train", description=__doc__)
    commands = parser.add_subparsers(required=True)
    base = commands.add_parser("base", help="step 0: full supervision under one classification loss")
    base.add_argument("--recipe", required=True, help="classification loss: ce or bce")
    base.set_defaults(run=_base)
    step = commands.add_parser("step", help="step t > 0 of a method")
    step.add_argument("--method", required=True, help="a method of pipeline/train/methods")
    step.add_argument("--previous", type=Path, required=True, help="model.safetensors of the step before")
    step.add_argument("--previous-state", type=Path, help="method_state.safetensors of the step before")
    step.set_defaults(run=_step)
    for command in (base, step):
        command.add_argument("--seed", type=int, required=True)
        command.add_argument("--protocol", type=Path, required=True, help="protocol/step<k>.json")
        command.add_argument("--train-list", type=Path, required=True)
        command.add_argument("--out", type=Path, required=True, help="folder of the step")
        add_settings(command)
    return run_cli(parser, argv, keeps_cost=True)


def _base(arguments: argparse.Namespace) -> None:
    from pipeline.train.assemble import assemble_base
    from pipeline.train.engine import train_step

    config = read_settings(arguments)
    train_step(
        assemble_base(config, arguments.recipe, arguments.seed, arguments.protocol, arguments.train_list, arguments.out)
    )


def _step(arguments: argparse.Namespace) -> None:
    from pipeline.train.assemble import Previous, assemble_step
    from pipeline.train.engine import train_step

    config = read_settings(arguments)
    previous = Previous(arguments.previous, arguments.previous_state)
    train_step(
        assemble_step(
            config,
            arguments.method,
            arguments.seed,
            arguments.protocol,
            arguments.train_list,
            previous,
            arguments.out,
        )
    )


if __name__ == "__main__":
    raise SystemExit(main())
