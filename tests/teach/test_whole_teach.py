"""A model is taught a class on the mini web, through Snakemake, as `webseg teach` does it."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from pipeline.artifacts import TRAIN_LIST, TRUTH, file_sha256, read_json, read_table
from pipeline.datasets.protocol_file import read_protocol
from pipeline.miniweb.minivoc import build_minivoc
from pipeline.models import load_model, read_about
from pipeline.teach import __main__ as command
from tests.teach.models import model_at

OLD = ("bird", "cat", "person")
QUICK = {
    "experiment": {"name": "taught"},
    "datasets": {"train_size": 32, "eval_size": 32},
    "miniweb": {"images_per_new_class": 12, "images_per_base_class": 6, "faults": 0.0, "duplicates": 0.0},
    "crawl_ingest": {
        "api": "http://api.miniweb.test/v1/images/", "requests_per_second": 100.0, "timeout": 5.0,
        "per_class": 10, "base_per_class": 5, "replay_queries": 6, "per_caption": 2, "shards": 1,
    },
    "captioning": {"captioner": {"beams": 1, "max_new_tokens": 8}},
    "fourier_filter": {"discriminator": {"resize": 40, "crop": 32, "epochs": 1, "held_out_repeats": 1,
                                         "held_out_epochs": 1}, "selection": {"budget": 4}},
    "pseudolabel": {"replay_budget": 4},
    "train": {"step": {"epochs": 2, "iterations": 4, "batch_size": 4}, "threads": 1, "tensorboard": False},
    "eval": {"overlays": 1},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_class_is_taught_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    build_minivoc(tmp_path / "voc", seed=3, n_train=16, n_val=6, workers=1)
    (tmp_path / "photos").mkdir()
    for image in (tmp_path / "voc" / "JPEGImages").glob("mini_0000*.jpg"):
        image.rename(tmp_path / "photos" / image.name)
    given = model_at(tmp_path / "given", names=OLD, method="ce")
    (tmp_path / "quick.yaml").write_text(yaml.safe_dump(QUICK))
    before = file_sha256(given / "model.safetensors")
    words = ["--config", "quick.yaml", "--cores", "2", "--like", "photos"]
    first = ["potted plant", "--model", "given", "--check", "voc", "--out", "my_model", *words]
    capfd.readouterr()
    code = command.main([*first, "--max-forgetting", "100"])
    said = capfd.readouterr()
    assert code == 0, said.out[-2000:] + said.err[-6000:]
    assert file_sha256(given / "model.safetensors") == before
    results = tmp_path / "my_model" / "results" / "taught"
    _step_0_is_the_given_model(results / "base" / "bce" / "seed0", given)
    _new_class_came_from_the_web(results)
    assert "6 images, against their true masks" in said.out and "\npotted plant " in said.out
    assert (tmp_path / "my_model" / "outcome.csv").read_text().count("\n") == 6
    assert "data:image/webp;base64" in (results / "report" / "index.html").read_text()
    with pytest.raises(SystemExit) as ended:
        command.main([*first, "-n"])
    said = capfd.readouterr()
    assert ended.value.code == 0 and "Nothing to be done" in said.out + said.err
    _it_can_be_taught_again(words, monkeypatch, capfd)


def _it_can_be_taught_again(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "_run", lambda *_: 0)
    with pytest.raises(SystemExit):
        command.main(["sheep", "--model", "my_model", "--out", "further", *words, "-n"])
    names = Path("further/data/taught/classes.txt").read_text().split()
    assert names == ["background", *OLD, "potted", "plant", "sheep"]
    assert command.main(["Potted-Plant", "--model", "my_model", "--out", "other", *words]) == 2
    assert "knows the class 'Potted-Plant' already (as `potted plant`)" in capfd.readouterr().err


def _step_0_is_the_given_model(base: Path, given: Path) -> None:
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        taken, theirs = (load_model(folder / "model.safetensors")(images).logits for folder in (base, given))
    assert (taken.argmax(dim=1) == theirs.argmax(dim=1)).all()
    torch.testing.assert_close(taken.sigmoid(), theirs.softmax(dim=1), rtol=1e-3, atol=1e-6)
    assert len((base / "log.csv").read_text().splitlines()) == 1, "step 0 was trained"


def _new_class_came_from_the_web(results: Path) -> None:
    step = results / "web_wilss" / "seed0" / "step1"
    about = read_about(step / "model.safetensors")
    assert about["classes_per_step"] == [4, 1] and about["options"] == {"log_odds": 4}
    assert about["class_names"] == {"1": "bird", "2": "cat", "3": "person", "4": "potted plant"}
    rows = read_table(step / "train_list.parquet", TRAIN_LIST)
    assert {row["role"] for row in rows} == {"web", "replay"}
    assert all("/taught/shards/" in row["image"] for row in rows)
    assert all(4 in row["labels"] for row in rows if row["role"] == "web")
    protocol = read_protocol(results / "protocol" / "step0.json")
    assert all("photos/" in image.image for image in protocol.train) and len(protocol.val) == 6
    truth = read_table(results.parents[1] / "data" / "miniweb" / "taught" / "truth.parquet", TRUTH)
    assert {row["query_class"] for row in truth} == {1, 2, 3, 4}
    evaluated = read_json(step / "eval.json")
    assert set(evaluated["iou"]) == {"background", *OLD, "potted plant"} and "like" in evaluated["other_sets"]
    matrix = np.load(step / "confusion.npy", allow_pickle=False)
    assert matrix.shape == (5, 5) and matrix.sum() > 0
