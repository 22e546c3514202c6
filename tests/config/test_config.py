"""The configuration: defaults, layering, and one clear line for every mistake."""

import json
from pathlib import Path

import pytest
import yaml

from pipeline.config import Config, ConfigError, load_config, parse_config, settings_json

ROOT = Path(__file__).parents[2]


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
