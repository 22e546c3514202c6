"""Every command of the project: `webseg COMMAND ...`, the same as `python -m pipeline COMMAND ...`.

`webseg COMMAND --help` explains one. A stage's command is also `python -m pipeline.<stage>`, which the rules call.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline import __version__
from pipeline.runtime.called import called_as

NAME = "webseg"


@dataclass(frozen=True)
class Command:
    """Where a command is: a module with `main(words) -> exit code`, and words that go before the user's."""

    module: str
    about: str
    words: tuple[str, ...] = ()

    @property
    def stage(self) -> str:
        """Name of its package: a second name of the command."""
        return self.module.split(".")[1] if self.module.endswith(".__main__") and not self.words else ""


COMMANDS = {
    "run": Command("pipeline.experiments.run", "run an experiment, whatever of it is not there yet"),
    "teach": Command("pipeline.teach.__main__", "teach a finished model new classes by their names"),
    "init": Command("pipeline.datasets.__main__", "check your own data and write its experiment", ("init",)),
    "data": Command("pipeline.datasets.__main__", "check and prepare a data set; say what a task's steps contain"),
    "crawl": Command("pipeline.crawl_ingest.__main__", "plan queries, collect images from the web, keep them valid"),
    "caption": Command("pipeline.captioning.__main__", "caption images, extract nouns, filter by them"),
    "saliency": Command("pipeline.saliency.__main__", "detect what stands out in training images"),
    "fourier": Command("pipeline.fourier_filter.__main__", "train the domain discriminator, choose web images"),
    "pseudolabel": Command("pipeline.pseudolabel.__main__", "label replay images, write a step's training list"),
    "train": Command("pipeline.train.__main__", "train the base step or a method's step"),
    "eval": Command("pipeline.eval.__main__", "score a checkpoint, print the table, write the report"),
    "miniweb": Command("pipeline.miniweb.__main__", "draw the embedded data set and site, and serve it"),
    "experiments": Command("pipeline.experiments.__main__", "published experiments, their ledger, what one will cost"),
    "migrate": Command("pipeline.migration.__main__", "take over replay folders and checkpoints of the papers' code"),
    "cost": Command("pipeline.eval.cost_summary", "what the jobs of an experiment cost"),
    "verify": Command("pipeline.experiments.verify", "read every artifact, move damaged ones aside"),
    "predict": Command("pipeline.predict.__main__", "apply a model to images: masks, overlays, areas, COCO, LabelMe"),
    "export": Command("pipeline.predict.__main__", "a model as ONNX, TorchScript or transformers folder", ("export",)),
    "config": Command("pipeline.config.__main__", "write config.yaml from what the settings say of themselves"),
    "weights": Command("pipeline.runtime.weights", "list pretrained weights, check a downloaded file"),
}
"""One line per command. Modules are imported when their command is called: `--help` needs none of them."""


def help_text() -> str:
    """Return what `webseg --help` prints."""
    lines = [f"  {name:12s} {command.about}" for name, command in COMMANDS.items()]
    return "\n".join([f"usage: {NAME} COMMAND ...", "", *lines, "", f"`{NAME} COMMAND --help` explains a command."])


def find(name: str) -> Command | None:
    """Return the command of that name, or of the stage of that name (`crawl_ingest` for `crawl`)."""
    stages = {command.stage: command for command in COMMANDS.values() if command.stage}
    return COMMANDS.get(name) or stages.get(name)


def main(argv: Sequence[str] | None = None) -> int:
    """Call a command; return its exit code, 2 if there is none of that name."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(help_text(), file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    if words[0] == "--version":
        print(f"{NAME} {__version__}")
        return 0
    command = find(words[0])
    if command is None:
        near = difflib.get_close_matches(words[0], COMMANDS, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"`{NAME} --help` lists them"
        print(f"error: no command `{words[0]}`; {hint}", file=sys.stderr)
        return 2
    module = importlib.import_module(command.module)
    name = next(known for known, entry in COMMANDS.items() if entry.module == command.module and not entry.words)
    with called_as(f"{NAME} {name}"):
        return int(module.main([*command.words, *words[1:]]))


if __name__ == "__main__":
    raise SystemExit(main())
