"""The given model as step 0, and what it sees: against the network itself, called by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.artifacts import file_sha256, read_json
from pipeline.config import parse_config
from pipeline.datasets.readers.registry import open_dataset
from pipeline.datasets.transforms import normalise
from pipeline.models import SegmentationModel, load_model, read_about
from pipeline.teach.given import read_given
from pipeline.teach.import_base import as_one_step, import_base
from pipeline.teach.look import look
from tests.protocols import protocol_at
from tests.teach.models import NAMES, model_at, photos_at, truth_at

IMAGES = 2 * torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0)).repeat_interleave(
    8, 2
).repeat_interleave(8, 3)


def logits(network: SegmentationModel) -> torch.Tensor:
    with torch.no_grad():
        return network.eval()(IMAGES).logits


def step_0(path: Path, names: tuple[str, ...] = NAMES) -> Path:
    order = tuple(range(len(names) + 1))
    steps = (order, (len(order),))
    table = {**dict(enumerate(names, 1)), len(order): "sheep"}
    return protocol_at(path, dataset="own:d", task="taught", classes_per_step=steps, order=order, class_names=table)


def test_the_base_is_a_copy_under_this_experiments_name(tmp_path: Path) -> None:
    folder = model_at(tmp_path / "m")
    before = file_sha256(folder / "model.safetensors")
    import_base(folder, step_0(tmp_path / "step0.json"), "bce", 3, tmp_path / "base")
    assert file_sha256(folder / "model.safetensors") == before
    taken = tmp_path / "base" / "model.safetensors"
    torch.testing.assert_close(
        logits(load_model(taken)), logits(load_model(folder / "model.safetensors")), rtol=0, atol=0
    )
    about = read_about(taken)
    assert (about["dataset"], about["task"], about["step"], about["seed"]) == ("own:d", "taught", 0, 3)
    assert about["class_names"] == {"1": "nut", "2": "bolt", "3": "washer"} and about["method"] == "bce"
    for name in ("method_state.safetensors", "config.yaml", "log.csv", "cost.json"):
        assert (tmp_path / "base" / name).is_file()


def test_classifiers_of_several_steps_become_one(tmp_path: Path) -> None:
    folder = model_at(tmp_path / "m", sizes=(2, 1, 1), method="web_wilss")
    given = read_given(folder)
    whole = as_one_step(given)
    assert whole.classes_per_step == [4] and not given.softmax
    torch.testing.assert_close(logits(whole), logits(load_model(given.weights)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("method", "softmax"), [("ce", True), ("bce", False), ("mib", True), ("wilson", False)])
def test_a_softmax_model_is_read_as_log_odds_and_decides_the_same(method: str, softmax: bool, tmp_path: Path) -> None:
    sizes = (4,) if method in ("ce", "bce") else (3, 1)
    given = read_given(model_at(tmp_path / "m", sizes=sizes, method=method))
    assert given.softmax is softmax
    old, new = logits(load_model(given.weights)), logits(as_one_step(given))
    assert (old.argmax(dim=1) == new.argmax(dim=1)).all() and old.argmax(dim=1).unique().numel() > 1
    probabilities = old.softmax(dim=1) if softmax else old.sigmoid()
    torch.testing.assert_close(new.sigmoid(), probabilities, rtol=1e-3, atol=1e-6)


def test_a_taught_softmax_model_keeps_its_log_odds_when_it_is_taught_again(tmp_path: Path) -> None:
    names = (*NAMES, "sheep")
    folder = model_at(tmp_path / "m", sizes=(4, 1), names=names, method="web_wilss", options={"log_odds": 4})
    whole = as_one_step(read_given(folder))
    assert whole.options["log_odds"] == 4 and whole.classes_per_step == [5]
    torch.testing.assert_close(logits(whole), logits(load_model(folder / "model.safetensors")), rtol=1e-4, atol=1e-4)


def test_a_protocol_of_other_classes_is_refused(tmp_path: Path) -> None:
    folder = model_at(tmp_path / "m")
    with pytest.raises(ValueError, match=r"step 0 of .* names others; run `webseg teach` anew"):
        import_base(folder, step_0(tmp_path / "p.json", ("nut", "bolt", "gear")), "bce", 0, tmp_path / "base")
    with pytest.raises(ValueError, match="needs runs of base recipe bce"):
        import_base(folder, step_0(tmp_path / "p.json"), "ce", 0, tmp_path / "base")
    assert not (tmp_path / "base").exists()


def looked(folder: Path, **teach: str) -> dict[str, int]:
    root = folder / "data"
    root.mkdir()
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in ("background", *NAMES, "hex key")))
    (root / "tasks.yaml").write_text("taught: [[0, 1, 2, 3], [4]]\n")
    config = parse_config({"datasets": {"name": "taught", "root": str(root), "task": "taught"}, "teach": teach})
    look(config, root / "seen.json")
    return read_json(root / "seen.json")


def test_masks_are_what_the_model_sees(tmp_path: Path) -> None:
    folder, photos = model_at(tmp_path / "m"), photos_at(tmp_path / "photos")
    (photos / "deep").mkdir()
    (photos / "photo 3.png").rename(photos / "deep" / "photo 3.png")
    (photos / "broken.jpg").write_bytes(b"no image")
    record = looked(tmp_path, model=str(folder / "model.safetensors"), like=str(photos))
    assert (record["learnt_from"], record["held_out"], record["checked"], record["skipped"]) == (8, 2, 0, 1)
    assert "broken.jpg" in (tmp_path / "data" / "skipped.tsv").read_text()
    reader = open_dataset("taught", tmp_path / "data")
    items = [*reader.items("train"), *reader.items("val")]
    assert len({item.image_id for item in items}) == len(items) == 10
    network = load_model(folder / "model.safetensors")
    for item in items:
        image = Image.open(item.image).convert("RGB")
        with torch.no_grad():
            z = network(normalise(image)[None]).logits
        z = torch.nn.functional.interpolate(z, size=image.size[::-1], mode="bilinear", align_corners=False)
        np.testing.assert_array_equal(np.asarray(Image.open(item.mask)), z.argmax(dim=1)[0].numpy())


def test_truth_is_matched_by_name(tmp_path: Path) -> None:
    folder, photos = model_at(tmp_path / "m"), photos_at(tmp_path / "photos")
    # In the user's masks: 1 is our class 4, 2 a class that we do not know, 3 our class 2.
    truth = truth_at(tmp_path / "truth", ("hexkey", "moon", "bolt"), values=(0, 1, 2, 3, 255, 1))
    record = looked(tmp_path, model=str(folder / "model.safetensors"), like=str(photos), check=str(truth))
    assert record["checked"] == 3 and record["held_out"] == 2
    reader = open_dataset("taught", tmp_path / "data")
    assert reader.other_sets == ("like",) and len(reader.items("like")) == 2
    for item in reader.items("val"):
        assert np.asarray(Image.open(item.mask))[0, ::8].tolist() == [0, 4, 0, 2, 255, 4]


def test_a_model_that_sees_nothing_says_so(tmp_path: Path) -> None:
    folder, photos = model_at(tmp_path / "m"), photos_at(tmp_path / "photos")
    network = load_model(folder / "model.safetensors")
    torch.nn.init.constant_(network.classifiers[0].bias, -1e4)
    with torch.no_grad():
        network.classifiers[0].bias[0] = 1e4
    from pipeline.models import save_model

    save_model(folder / "model.safetensors", network, read_about(folder / "model.safetensors"))
    with pytest.raises(ValueError, match="sees nothing but background in the 10 images"):
        looked(tmp_path, model=str(folder / "model.safetensors"), like=str(photos))
    assert not (tmp_path / "data" / "seen.json").exists() and not (tmp_path / "data" / "masks").exists()
