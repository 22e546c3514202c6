"""Mistakes that span fields, broken files, and names that become folders: one clear line each, before anything runs."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import ConfigError, before_start, load_config, parse_config
from pipeline.config.rules import unsafe
from pipeline.config.yaml_file import YamlError, read_mapping
from pipeline.workflow import Workflow

WEB = {"experiment": {"runs": [{"method": "wilson", "new_images": "web"}]}}
MISTAKES = {
    "name as command": ({"experiment": {"name": "a; touch x; b"}}, "`experiment.name` is 'a; touch x; b' and becomes"),
    "name as option": ({"experiment": {"name": "-rf"}}, "`experiment.name` is '-rf'"),
    "name as parent": ({"experiment": {"name": "../up"}}, "`experiment.name`"),
    "hidden name": ({"experiment": {"name": ".hidden"}}, "`experiment.name`"),
    "empty name": ({"experiment": {"name": ""}}, "`experiment.name`"),
    "long name": ({"experiment": {"name": "x" * 101}}, "has 101 characters, at most 100"),
    "pool": ({"crawl_ingest": {"pool": "a/b"}}, "`crawl_ingest.pool` is 'a/b'"),
    "captioner": ({"captioning": {"captioner": {"name": "a b"}}}, "`captioning.captioner.name` is 'a b'"),
    "variant": ({"experiment": {"runs": [{"method": "ft", "variant": "$(x)"}]}}, "`experiment.runs.0.variant`"),
    "quoted root": ({"datasets": {"root": "a'b"}}, "`datasets.root`"),
    "results in a command": ({"experiment": {"results_dir": "r;x"}}, "`experiment.results_dir`"),
    "no run": ({"experiment": {"runs": []}}, "`experiment.runs` is empty"),
    "negative seed": ({"experiment": {"seeds": [0, -1]}}, "`experiment.seeds` holds -1"),
    "reversed range": ({"datasets": {"train_area": [2.0, 0.5]}}, r"`datasets.train_area` is \[2.0, 0.5\]"),
    "infinite rate": ({"train": {"step": {"lr": float("inf")}}}, "`train.step.lr`.*(finite|inf)"),
    "no number": ({"crawl_ingest": {"timeout": float("nan")}}, "`crawl_ingest.timeout`"),
    "batch": ({"train": {"gradient_accumulation": 5, "step": {}}}, "`train.step.batch_size` is 24, which 5 parts"),
    "batch of a run": (
        {
            "train": {"world_size": 2, "step": {}},
            "experiment": {"runs": [{"method": "ft", "train": {"step": {"batch_size": 7}}}]},
        },
        "`experiment.runs.0.train.step.batch_size` is 7, which 2 parts",
    ),
    "filters without web": ({"experiment": {"runs": [{"method": "ft", "filters": "noun"}]}}, "takes no web images"),
    "licence": ({"crawl_ingest": {"licences": ["bi-sa"]}}, "holds `bi-sa`; known codes: by"),
    "list without path": ({"crawl_ingest": {"source": "url_list"}}, "crawl_ingest.path must name"),
    "agent with a line end": ({"crawl_ingest": {"user_agent": "a\r\nHost: b"}}, "`crawl_ingest.user_agent`"),
    "no agent": ({"crawl_ingest": {"user_agent": " "}}, "`crawl_ingest.user_agent`"),
    "backbone": ({"train": {"backbone": "small_cn"}}, "`train.backbone`: unknown backbone .*`small_cnn`"),
    "task": ({"datasets": {"task": "15-6"}}, "unknown task `15-6`.*`15-5`"),
    "class of a threshold": (
        {"captioning": {"noun_filter": {"thresholds": {"sheap": 0.3}}}},
        "`sheap`, no class of minivoc; did you mean `sheep`",
    ),
    "own data that is not there": ({"datasets": {"name": "own", "root": "/no/where", "task": "x"}}, "/no/where"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_at_parse_time(case: str) -> None:
    raw, message = MISTAKES[case]
    with pytest.raises(ValueError, match=message) as caught:
        Workflow(raw)
    assert 1 <= len(str(caught.value).splitlines()) <= 2


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"experiment": {"name": ".x", "seeds": [-1]}, "datasets": {"train_area": [3, 1]}})
    assert len(str(caught.value).splitlines()) == 3


@given(st.text(max_size=20))
def test_a_name_that_passes_is_one_harmless_word(name: str) -> None:
    if not unsafe(name):
        assert name and name[0] not in ".-" and all(c.isalnum() or c in "_.-" for c in name)


def test_a_command_given_one_phase_does_not_judge_the_other() -> None:
    config = parse_config({"train": {"world_size": 5, "base": {"batch_size": 25}}})
    assert config.train.base.batch_size == 25


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"train": {"pretrained": "no/such.pth"}}, "`train.pretrained` names no/such.pth, which is not there"),
        ({"datasets": {"lists": "no/lists"}}, "`datasets.lists` names no/lists"),
        ({**WEB, "crawl_ingest": {"source": "url_list", "path": "no.txt"}}, "`crawl_ingest.path` names no.txt"),
        ({**WEB, "crawl_ingest": {"source": "commons"}}, "user_agent` is still the placeholder"),
        ({**WEB, "crawl_ingest": {"api": "https://api.openverse.org/v1/images/"}}, "still the placeholder"),
    ],
)
def test_what_a_run_needs_and_a_dry_run_does_not(raw: dict, message: str) -> None:
    lines = before_start(parse_config(raw))
    assert any(message in line for line in lines), lines
    Workflow(raw)


def test_the_default_needs_nothing() -> None:
    assert before_start(parse_config({})) == []


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
)
FILES = {
    "syntax": (b"a: [\n", "is not valid YAML: line"),
    "key twice": (b"train: {threads: 1}\ntrain: {threads: 2}\n", "line 2: key `train` stands twice, first in line 1"),
    "inner key twice": (b"a: {c: 1, c: 2}\n", "key `c` stands twice"),
    "not UTF-8": (b"\xff\xfe\x00a", "is not text in UTF-8"),
    "nested": (b"[" * 100_000, "nested deeper than 100 levels"),
    "aliases": (BOMB.encode(), "more than 200000 values"),
    "recursive": (b"a: &a [*a]\n", "is not valid YAML"),
    "list": (b"- 1\n", "must hold a mapping, got list"),
    "python object": (b"a: !!python/object/apply:os.system [ls]\n", "is not valid YAML: line 1"),
    "impossible date": (b"a: 2020-99-99\n", "is not valid YAML"),
    "list as key": (b"? [1, 2]\n: 3\n", "a key must be a plain word"),
    "huge": (b"#" * 4_000_001, "settings have at most"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_broken_file_is_named_in_one_line(case: str, tmp_path: Path) -> None:
    content, message = FILES[case]
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config([path])
    assert str(path) in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_folders_and_absent_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(YamlError, match="cannot be read"):
        read_mapping(tmp_path)
    with pytest.raises(YamlError, match="does not exist"):
        read_mapping(tmp_path / "absent.yaml")


def test_merge_keys_and_byte_order_marks_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "fine.yaml"
    path.write_bytes(b"\xef\xbb\xbfx: &b {k: 1}\ny: {<<: *b, z: 2}\n")
    assert read_mapping(path) == {"x": {"k": 1}, "y": {"k": 1, "z": 2}}
