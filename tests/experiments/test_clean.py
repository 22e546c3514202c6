"""`make clean` removes what is made again offline; what a user brought or crawled stays."""

import os
from pathlib import Path

import pytest
import yaml

from pipeline.config import parse_config
from pipeline.experiments.__main__ import main
from pipeline.experiments.clean import clean, removable, remove_everything


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in (
        "data/minivoc/about.json", "data/minivoc/JPEGImages/1.jpg", "data/miniweb/mini/index.json",
        "data/web/mini/shards/a.tar", "results/mini/protocol/step0.json", "logs/results/mini/report.log",
        "data/voc/JPEGImages/1.jpg", "data/web/street/shards/a.tar", "results/street/summary.csv", "data/mine.txt",
        ".snakemake/metadata/x",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    return tmp_path


def left(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


USERS = {
    "data/voc/JPEGImages/1.jpg", "data/web/street/shards/a.tar", "results/street/summary.csv", "data/mine.txt",
    ".snakemake/metadata/x",
}  # fmt: skip


def test_clean_removes_the_embedded_experiment_alone(folder: Path) -> None:
    before = left(folder)
    assert len(clean([parse_config({})], dry_run=True)) == 5
    assert left(folder) == before
    lines = clean([parse_config({})])
    assert [line.split()[-1] for line in lines] == [
        "data/minivoc", "data/miniweb/mini", "data/web/mini", "logs/results/mini", "results/mini",
    ]  # fmt: skip
    assert left(folder) == USERS
    assert clean([parse_config({})]) == []


@pytest.mark.parametrize(
    "raw",
    [
        {"datasets": {"name": "voc", "root": "data/voc"}},
        {"datasets": {"name": "own", "root": "data/minivoc"}},
        {"datasets": {"name": "ade", "root": "data"}, "experiment": {"name": "mini"}},
    ],
)
def test_nothing_of_other_data_is_removable(folder: Path, raw: dict) -> None:
    assert removable(parse_config(raw)) == []


def test_a_crawl_of_the_open_web_stays(folder: Path) -> None:
    config = parse_config({"crawl_ingest": {"api": "https://api.openverse.org/v1/images/", "pool": "street"}})
    assert Path("data/web/street") not in removable(config)
    config = parse_config({"crawl_ingest": {"source": "url_list", "path": "list.txt", "pool": "street"}})
    assert Path("data/web/street") not in removable(config)


def test_an_unmarked_data_folder_stays(folder: Path) -> None:
    (folder / "data/minivoc/about.json").unlink()
    assert Path("data/minivoc") not in removable(parse_config({}))


def test_links_and_folders_outside_stay(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "about.json").write_text("{}")
    os.rename(folder / "data/minivoc", folder / "data/moved")
    (folder / "data/minivoc").symlink_to(elsewhere)
    assert Path("data/minivoc") not in removable(parse_config({}))
    assert removable(parse_config({"datasets": {"root": str(elsewhere)}})) == [
        Path(p) for p in ("data/miniweb/mini", "data/web/mini", "logs/results/mini", "results/mini")
    ]
    clean([parse_config({})])
    assert (elsewhere / "about.json").exists()


@pytest.mark.parametrize("answer", ["", "y", "no", "YES"])
def test_everything_goes_only_after_yes(folder: Path, answer: str) -> None:
    before = left(folder)
    with pytest.raises(ValueError, match="nothing was removed"):
        remove_everything(answer)
    assert left(folder) == before


def test_everything_after_yes(folder: Path) -> None:
    (folder / "notes.txt").write_text("x")
    assert len(remove_everything("yes")) == 4
    assert left(folder) == {"notes.txt"}


def test_the_command_without_an_answer_keeps_all(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "config.yaml").write_text(yaml.safe_dump({"experiment": {"name": "mini"}}))
    before = left(folder)
    monkeypatch.setattr("builtins.input", lambda question: (_ for _ in ()).throw(EOFError))
    assert main(["clean", "--everything"]) == 2
    assert left(folder) == before
    assert "nothing was removed" in capsys.readouterr().err
    assert main(["clean"]) == 0
    assert "data/minivoc" in capsys.readouterr().out
    assert left(folder) == USERS | {"config.yaml"}
