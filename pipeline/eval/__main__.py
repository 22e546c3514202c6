"""`python -m pipeline.eval evaluate|summary|report`."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from pipeline.runtime.allocator import keep_freed_memory
from pipeline.runtime.cli import add_settings, read_settings, run_cli, stage_parser


def main(argv: list[str] | None = None) -> int:
    """Return the exit code."""
    parser = stage_parser("pipeline.eval", __doc__)
    commands = parser.add_subparsers(required=True)
    evaluate = commands.add_parser("evaluate", help="score one checkpoint on the validation images")
    evaluate.add_argument("--model", type=Path, required=True)
    evaluate.add_argument("--protocol", type=Path, required=True, help="protocol/step<k>.json of the checkpoint's step")
    evaluate.add_argument("--method", default="", help="method whose decision rule decodes the logits; default argmax")
    evaluate.add_argument("--recipe", default="", help="base recipe whose decision rule decodes the logits")
    evaluate.add_argument("--previous", type=Path, help="eval.json of the step before, for forgetting")
    evaluate.add_argument("--out", type=Path, required=True, help="folder of the step")
    evaluate.set_defaults(run=_evaluate)
    summary = commands.add_parser("summary", help="print the table of an experiment that has been evaluated")
    summary.add_argument("--steps", type=int, required=True, help="number of the last step")
    summary.set_defaults(run=_summary)
    compare = commands.add_parser("compare", help="print our ranking of the methods beside the published one")
    compare.add_argument("--steps", type=int, required=True, help="number of the last step")
    compare.set_defaults(run=_compare)
    report = commands.add_parser("report", help="write summary.csv and the page")
    report.add_argument("--steps", type=int, required=True, help="number of the last step")
    report.add_argument("--out", type=Path, required=True, help="report/index.html")
    report.add_argument("--summary", type=Path, required=True, help="summary.csv")
    report.set_defaults(run=_report)
    for command in (evaluate, summary, compare, report):
        add_settings(command)
    return run_cli(parser, argv)


def _evaluate(arguments: argparse.Namespace) -> None:
    keep_freed_memory()
    from pipeline.eval.conventions import both_means
    from pipeline.eval.evaluation import evaluate

    result = evaluate(
        arguments.model,
        arguments.protocol,
        arguments.out,
        read_settings(arguments),
        method=arguments.method,
        previous=arguments.previous,
        recipe=arguments.recipe,
    )
    print(f"step {result['step']}: mIoU {both_means(result)}\n{result['conventions']}", file=sys.stderr)


def _summary(arguments: argparse.Namespace) -> None:
    from pipeline.eval.beside_papers import beside_papers
    from pipeline.eval.conventions import conventions
    from pipeline.eval.inputs import choose, evaluated
    from pipeline.eval.summary import summary_rows, table

    config = read_settings(arguments)
    runs = config.experiment.chosen
    there = [run.name for run in runs if evaluated(config, run, arguments.steps)]
    if missing := [run.name for run in runs if run.name not in there] if there else []:
        print(f"not complete: {', '.join(missing)}")
        config = choose(config, there)
    print("\n".join([table(summary_rows(config, arguments.steps)), conventions(config), *beside_papers(config)]))


def _compare(arguments: argparse.Namespace) -> None:
    from pipeline.eval.comparison import comparison
    from pipeline.eval.summary import summary_rows

    config = read_settings(arguments)
    if config.datasets.name not in ("voc", "minivoc"):
        print(
            f"the published column is of VOC, this is {config.datasets.name}; `summary` compares with `published` rows"
        )
        return
    print(comparison(summary_rows(config, arguments.steps), config.datasets.task).text())


def _report(arguments: argparse.Namespace) -> None:
    from pipeline.eval.inputs import with_finished
    from pipeline.eval.report import write_report
    from pipeline.eval.summary import write_summary

    config = with_finished(read_settings(arguments), arguments.steps)
    write_summary(config, arguments.steps, arguments.summary)
    words = ["python", "-m", "pipeline.eval", "report", "--steps", str(arguments.steps), "--out", str(arguments.out)]
    words += ["--summary", str(arguments.summary), *(w for file in arguments.config for w in ("--config", str(file)))]
    write_report(
        config, arguments.steps, arguments.out, shlex.join(words) + " --settings ..." * bool(arguments.settings)
    )


if __name__ == "__main__":
    raise SystemExit(main())
