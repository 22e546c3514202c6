"""What a rule puts into a shell is quoted, so that no name of a user's becomes a command."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
MADE_OF_QUOTED_PARTS = {
    "params.around", "params.captions", "params.model", "params.nouns", "params.python", "params.shards",
    "params.source", "params.sources", "params.subset", "resources.processes", "threads", "work.last_step",
}  # fmt: skip
"""Words that pipeline/workflow.py quotes itself, or numbers."""


def placeholders() -> dict[str, set[str]]:
    """Return {rule file: placeholders of its shell lines that are not quoted}."""
    found = {}
    for path in sorted((ROOT / "rules").glob("*.smk")):
        shells = re.findall(r"shell:\n((?:[ ]{8,}.*\n)+)", path.read_text())
        assert shells, path
        found[path.name] = {name for shell in shells for name in re.findall(r"(?<!\{)\{([^{}]+)\}", shell)}
    return found


def test_every_placeholder_of_a_shell_line_is_quoted() -> None:
    for name, used in placeholders().items():
        bare = {word for word in used if not word.endswith(":q")} - MADE_OF_QUOTED_PARTS
        assert not bare, f"{name}: write {{{sorted(bare)[0]}:q}}"


def test_words_made_in_python_are_quoted() -> None:
    from pipeline.workflow import Workflow

    work = Workflow({"experiment": {"data_dir": "my data", "results_dir": "my results"}})
    assert work.around_crawl() == "python -m pipeline.miniweb serve --root 'my data/miniweb/mini' --"
    assert work.shard_files("my data/{}.tar") == "'my data/'{00000..00001}.tar"
    options = work.list_options("web_wilss", "0", "1")
    assert "--protocol 'my results/mini/protocol/step1.json'" in options
