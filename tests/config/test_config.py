"""The configuration: defaults, layering, and one clear line for every mistake."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import yaml

from pipeline.config import Config, ConfigError, Section, load_config, parse_config, settings_json
from pipeline.config.__main__ import main as command
from pipeline.config.renamed import RENAMED
from pipeline.methods import settings_of

ROOT = Path(__file__).parents[2]


def sections(model: type[Section] = Config) -> Iterator[type[Section]]:
    """Every section, each by its own path."""
    yield model
    for field in model.model_fields.values():
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, Section):
                yield from sections(part)


def test_every_key_has_a_docstring() -> None:
    found = list(sections())
    assert len(found) > 20
    for section in found:
        assert section.__doc__
        for name, field in section.model_fields.items():
            nested = isinstance(field.annotation, type) and issubclass(field.annotation, Section)
            assert field.description or nested, f"{section.__name__}.{name}"


def test_config_yaml_is_what_the_command_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["write-defaults", "--check", "--out", str(ROOT / "config.yaml")]) == 0, capsys.readouterr().err
    written = tmp_path / "config.yaml"
    assert command(["write-defaults", "--out", str(written)]) == 0
    assert written.read_text() == (ROOT / "config.yaml").read_text()
    written.write_text(written.read_text().replace("epochs: 30", "epochs: 31"))
    assert command(["write-defaults", "--check", "--out", str(written)]) == 1
    assert command(["write-defaults", "--out", str(written)]) == 0
    assert written.read_text() == (ROOT / "config.yaml").read_text()


def test_a_file_of_the_user_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("train: {threads: 1}\n")
    assert command(["write-defaults", "--out", str(mine)]) == 2
    assert mine.read_text() == "train: {threads: 1}\n"
    assert "was not written by this command" in capsys.readouterr().err


def test_every_line_of_config_yaml_with_a_key_has_its_comment() -> None:
    for line in (ROOT / "config.yaml").read_text().splitlines():
        if line and not line.lstrip().startswith(("#", "- ")):
            assert " # " in line, line


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            {"train": {"norms": "frozen"}},
            "`train.norms` is now `train.freeze_bn`: `norms: frozen` is `freeze_bn: true`",
        ),
        ({"train": {"accumulate": 4}}, "`train.accumulate` is now `train.gradient_accumulation`"),
        ({"train": {"processes": 4}}, "`train.processes` is now `train.world_size`"),
    ],
)
def test_a_former_key_names_its_successor(raw: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(raw)


def test_successors_are_keys_of_today() -> None:
    known = Config().model_dump()
    for former, now in RENAMED.items():
        head, *rest = now.split(".")
        if head == "methods":
            assert rest[1] in settings_of(rest[0], {}).model_dump()
            with pytest.raises(ConfigError, match=f"`{former}` is now `{now}`"):
                settings_of(rest[0], {former.rpartition(".")[2]: 1})
        else:
            assert rest[0] in known[head]


def test_config_yaml_is_the_model_s_defaults() -> None:
    assert yaml.safe_load((ROOT / "config.yaml").read_text()).keys() == Config().model_dump().keys()
    assert load_config([ROOT / "config.yaml"]) == Config()


@pytest.mark.parametrize("file", sorted((ROOT / "experiments").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_experiment_is_valid(file: Path) -> None:
    config = load_config([ROOT / "config.yaml", file])
    assert config.experiment.name != "mini", "an experiment must not write into the default's folder"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"trian": {}}, "unknown key `trian`; did you mean `train`?"),
        ({"train": {"base": {"epoch": 3}}}, "unknown key `train.base.epoch`; did you mean `epochs`?"),
        ({"experiment": {"runs": [{"methd": "ft"}]}}, "did you mean `method`?"),
        (
            {"datasets": {"setting": "overlapped"}},
            "`datasets.setting`.*'overlap', 'disjoint', .*'overlapped'",
        ),
        ({"train": {"base": {"epochs": 0}}}, "`train.base.epochs`.*greater than or equal to 1; got 0"),
        ({"fourier_filter": {"discriminator": {"crop": 80}}}, "crop is 80 and resize is 72"),
        ({"crawl_ingest": {"connections": 2}}, "connections_per_host is 8 and connections is 2"),
        ({"experiment": {"seeds": [1, 1]}}, r"seeds must be distinct and not empty, got \[1, 1\]"),
        ({"experiment": {"runs": [{"method": "ft"}, {"method": "ft"}]}}, r"runs \['ft'\] appear twice"),
    ],
)
def test_mistakes_are_one_line(raw: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_config(raw)
    assert sum(line.startswith("config: ") for line in str(caught.value).splitlines()) >= 1


def test_files_layer_from_left_to_right(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("train: {base: {epochs: 3, lr: 0.5}}\n")
    second.write_text("train: {base: {epochs: 4}}\n")
    config = load_config([first, second], '{"train": {"threads": 1}}')
    assert (config.train.base.epochs, config.train.base.lr, config.train.threads) == (4, 0.5, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "not valid YAML"), ("- 1\n", "must hold a mapping"), (None, "does not exist")],
)
def test_unreadable_file_is_named(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "bad.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config([path])
    assert str(path) in str(caught.value)


def test_settings_json_holds_the_named_sections_alone() -> None:
    config = Config()
    settings = json.loads(settings_json(config, "captioning.captioner", "eval"))
    assert set(settings) == {"captioning", "eval"}
    assert set(settings["captioning"]) == {"captioner"}
    assert load_config([], json.dumps(settings)).captioning == config.captioning
