"""`python -m pipeline.train base|step`: train the shared base step, or one incremental step of a method."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.runtime.allocator import keep_freed_memory
from pipeline.runtime.cli import add_settings, read_settings, run_cli, stage_parser

if TYPE_CHECKING:
    from pipeline.train.engine import Step


def main(argv: list[str] | None = None) -> int:
    """Return the exit code: 75 if the step saved its state after SIGTERM and waits to be run again."""
    parser = stage_parser("pipeline.train", __doc__)
    parser.add_argument("--processes", type=int, default=1, help="train in that many processes (one per GPU)")
    parser.set_defaults(argv=sys.argv[1:] if argv is None else argv, records_cost=False)
    commands = parser.add_subparsers(required=True)
    base = commands.add_parser("base", help="step 0: full supervision under one classification loss")
    base.add_argument("--recipe", required=True, help="classification loss: ce or bce")
    base.set_defaults(assemble=_base)
    step = commands.add_parser("step", help="step t > 0 of a method")
    step.add_argument("--method", required=True, help="a method of pipeline/methods")
    step.add_argument("--previous", type=Path, required=True, help="model.safetensors of the step before")
    step.add_argument("--previous-state", type=Path, help="method_state.safetensors of the step before")
    step.set_defaults(assemble=_step)
    for command in (base, step):
        command.set_defaults(run=_train)
        command.add_argument("--seed", type=int, required=True)
        command.add_argument("--protocol", type=Path, required=True, help="protocol/step<k>.json")
        command.add_argument("--train-list", type=Path, required=True)
        command.add_argument("--out", type=Path, required=True, help="folder of the step")
        add_settings(command)
    return run_cli(parser, argv)


def _train(arguments: argparse.Namespace) -> None:
    if arguments.processes > 1 and "RANK" not in os.environ:
        from pipeline.train.launch import launch

        raise SystemExit(launch(arguments.processes, arguments.argv))
    keep_freed_memory()
    from pipeline.distributed import LOST_CODE, LostProcessError, process_group
    from pipeline.train.engine import train_step
    from pipeline.train.preemption import EXIT_CODE, PreemptedError

    try:
        with process_group():
            train_step(arguments.assemble(arguments))
    except PreemptedError as notice:
        if os.environ.get("RANK", "0") == "0":
            print(f"{notice}; run the same command to go on", file=sys.stderr)
        raise SystemExit(EXIT_CODE) from None
    except LostProcessError as error:
        print(f"process {os.environ['RANK']}: {error}", file=sys.stderr)
        raise SystemExit(LOST_CODE) from None


def _base(arguments: argparse.Namespace) -> Step:
    from pipeline.train.assemble import assemble_base

    return assemble_base(
        read_settings(arguments),
        arguments.recipe,
        arguments.seed,
        arguments.protocol,
        arguments.train_list,
        arguments.out,
    )


def _step(arguments: argparse.Namespace) -> Step:
    from pipeline.train.assemble import Previous, assemble_step

    return assemble_step(
        read_settings(arguments),
        arguments.method,
        arguments.seed,
        arguments.protocol,
        arguments.train_list,
        Previous(arguments.previous, arguments.previous_state),
        arguments.out,
    )


if __name__ == "__main__":
    raise SystemExit(main())
