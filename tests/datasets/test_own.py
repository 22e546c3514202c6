"""A user's own folder: `init`, what it refuses, and the way to a protocol."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.config import load_config
from pipeline.datasets import DatasetError
from pipeline.datasets.__main__ import main
from pipeline.datasets.own_init import default_tasks, divide, init_own
from pipeline.datasets.protocol import write_protocol
from pipeline.datasets.protocol_file import read_protocol
from pipeline.datasets.readers.own import Own
from pipeline.datasets.samples import TrainListDataset
from pipeline.datasets.tasks.files import read_tasks
from pipeline.pseudolabel.listing import write_train_list
from pipeline.workflow import Workflow
from tests.datasets import trees


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    trees.own(tmp_path / "parts")
    return tmp_path / "parts"


def test_init_leads_to_a_protocol_and_a_batch(parts: Path, tmp_path: Path) -> None:
    assert main(["init", str(parts)]) == 0
    config = load_config([parts / "experiment.yaml"])
    assert Workflow(config.model_dump()).last_step == 1
    settings = config.datasets.model_dump_json()
    for step in (0, 1):
        out = tmp_path / f"step{step}.json"
        code = main(["protocol", "--step", str(step), "--out", str(out), "--settings", f'{{"datasets": {settings}}}'])
        assert code == 0
    protocol = read_protocol(out)
    assert protocol.class_names == {1: "nut", 2: "bolt", 3: "washer", 4: "gear"}
    assert protocol.order == (0, 1, 2, 3, 4) and protocol.dataset == f"own:{parts}"
    rows = [
        {"image_id": r.id, "role": "dataset", "image": r.image, "mask": r.mask, "labels": r.labels}
        for r in protocol.train
    ]
    item = TrainListDataset(rows, protocol, config.datasets, "plop", 0)[0]
    assert set(item["mask"].unique().tolist()) <= {0, 3, 4, 255}


def test_division_keeps_every_class_on_both_sides(parts: Path) -> None:
    init_own(parts)
    reader = Own(parts)
    train, val = (reader.items(split) for split in ("train", "val"))
    assert len(train) + len(val) == 40 and 6 <= len(val) <= 10
    assert not {i.image_id for i in train} & {i.image_id for i in val}
    for split, items in (("train", train), ("val", val)):
        assert reader.presence(split, items).any(axis=0).all()


def test_division_depends_on_seed_and_names_alone() -> None:
    shown = np.ones((50, 1), bool)
    names = [f"i{i}" for i in range(50)]
    first = divide(shown, names, 0)
    assert first.sum() == 10 and (divide(shown, names, 0) == first).all()
    assert (divide(shown, names, 1) != first).any()
    back = divide(shown[::-1], names[::-1], 0)
    assert (back[::-1] == first).all()


def test_a_single_image_of_a_class_stays_in_training() -> None:
    shown = np.zeros((10, 2), bool)
    shown[:, 0] = True
    shown[3, 1] = True
    assert not divide(shown, [str(i) for i in range(10)], 0)[3]


def test_files_of_the_user_are_kept(parts: Path) -> None:
    init_own(parts)
    (parts / "tasks.yaml").write_text("mine: [[0, 4], [1, 2, 3]]\n")
    before = (parts / "splits" / "val.txt").read_text()
    lines = init_own(parts, seed=5)
    assert "kept tasks.yaml: mine" in lines and "kept splits/" in "".join(lines)
    assert lines[-1] == f"next: snakemake --cores 2 --configfile {parts}/experiment.yaml"
    assert (parts / "splits" / "val.txt").read_text() == before
    (parts / "experiment.yaml").unlink()
    init_own(parts)
    assert load_config([parts / "experiment.yaml"]).datasets.task == "mine"


@pytest.mark.parametrize("last", [1, 2, 3, 4, 5, 9])
def test_default_tasks_are_valid(tmp_path: Path, last: int) -> None:
    import yaml

    tasks = default_tasks(last)
    (tmp_path / "tasks.yaml").write_text(yaml.safe_dump(tasks))
    assert read_tasks(tmp_path) == tasks
    assert all(sorted(c for step in steps for c in step) == list(range(last + 1)) for steps in tasks.values())


def no_classes(root: Path) -> None:
    (root / "classes.txt").unlink()


def empty_line(root: Path) -> None:
    (root / "classes.txt").write_text("background\n\nbolt\n")


def absent_class(root: Path) -> None:
    for path in (root / "masks").iterdir():
        Image.fromarray(np.zeros_like(np.asarray(Image.open(path)))).save(path)


def unknown_id(root: Path) -> None:
    (root / "classes.txt").write_text("background\nnut\nbolt\nwasher\n")


def no_mask(root: Path) -> None:
    (root / "masks" / "part003.png").unlink()


def other_size(root: Path) -> None:
    Image.new("L", (9, 9)).save(root / "masks" / "part004.png")


def turned(root: Path) -> None:
    image = Image.open(root / "images" / "part005.png")
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(root / "images" / "part005.png", exif=exif)


def no_folder(root: Path) -> None:
    (root / "masks").rename(root / "labels")


def task_of_unknown_class(root: Path) -> None:
    (root / "tasks.yaml").write_text("a: [[0, 1], [9]]\n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_classes, "classes.txt does not exist; expected images/"),
        (empty_line, "classes.txt:2: empty line"),
        (absent_class, "no mask of .* shows any class of classes.txt"),
        (unknown_id, r"holds value 4, expected 0..3 or 255"),
        (no_mask, r"1 of 40 images cannot be used:\n.*part003\.png does not exist"),
        (other_size, r"has size \(40, 32\), its mask \(9, 9\)"),
        (turned, "turned by its EXIF orientation"),
        (no_folder, "images/ or masks/ is not there"),
        (task_of_unknown_class, r"names class 9, classes.txt has 1..4"),
    ],
)
def test_what_init_refuses(parts: Path, damage, message: str) -> None:  # type: ignore[no-untyped-def]
    damage(parts)
    with pytest.raises(DatasetError, match=message):
        init_own(parts)
    assert not (parts / "experiment.yaml").exists()


def test_classes_known_by_name_only_are_learnt_from_the_web(parts: Path, tmp_path: Path) -> None:
    (parts / "classes.txt").write_text("background\nnut\nbolt\nwasher\ngear\nspring\nhex key\n")
    lines = init_own(parts)
    assert "no mask shows spring, hex key: to be learnt from the web, in a step of their own" in lines
    assert read_tasks(parts) == {"4-2web": [[0, 1, 2, 3, 4], [5, 6]]}
    config = load_config([parts / "experiment.yaml"])
    (run,) = config.experiment.runs
    assert (run.method, run.new_images, run.filters, run.replay) == ("web_wilss", "web", "both", True)
    assert config.crawl_ingest.api == "" and config.crawl_ingest.pool == "parts"
    work = Workflow(config.model_dump())
    assert work.list_inputs("web_wilss", "0", "1").keys() == {"protocol", "selection", "pseudolabels"}
    protocol = write_protocol(config.datasets, 1, tmp_path / "step1.json")
    assert protocol.train == () and protocol.new_classes == (5, 6) and protocol.class_names[6] == "hex key"
    with pytest.raises(ValueError, match="no image of the data set shows a class of step 1; use new_images: web"):
        write_train_list(tmp_path / "step1.json", tmp_path / "list.parquet")


def test_a_step_that_masks_show_must_have_images(parts: Path, tmp_path: Path) -> None:
    init_own(parts)
    (parts / "tasks.yaml").write_text("mine: [[0, 1], [2], [3, 4]]\n")
    for path in (parts / "masks").iterdir():
        mask = np.full_like(np.asarray(Image.open(path)), 2)
        mask[0] = 3
        Image.fromarray(mask).save(path)
    data = load_config([parts / "experiment.yaml"]).datasets
    data = data.model_copy(update={"task": "mine", "setting": "disjoint"})
    with pytest.raises(DatasetError, match="no training image of .* belongs to step 1"):
        write_protocol(data, 1, tmp_path / "step1.json")
