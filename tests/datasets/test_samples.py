"""Samples of training lists (checks W50 and W51 in our own layout) and evaluation samples."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config import Datasets
from pipeline.datasets.protocol_file import Protocol, read_protocol
from pipeline.datasets.samples import EvalDataset, TrainListDataset

SETTINGS = Datasets(train_size=48, eval_size=48)


def row(protocol: Protocol, role: str, **values: Any) -> dict[str, Any]:
    image = protocol.train[0]
    return {"image_id": image.id, "role": role, "image": image.image, "mask": "", "labels": []} | values


@pytest.fixture
def step1(protocols: list[Path]) -> Protocol:
    return read_protocol(protocols[1])


def test_W50_web_image_is_void_all_over_with_its_class(step1: Protocol) -> None:
    for class_id, position in ((16, 15), (20, 19)):
        item = TrainListDataset([row(step1, "web", labels=[class_id])], step1, SETTINGS, "wilson", 0)[0]
        assert item["labels"].shape == (20,)
        assert torch.nonzero(item["labels"]).flatten().tolist() == [position]
        assert item["image"].shape == (3, 48, 48) and item["mask"].dtype == torch.int64
        assert (item["mask"] == 255).all()


def test_W51_replay_image_names_the_old_classes_in_its_crop(step1: Protocol, tmp_path: Path) -> None:
    size = Image.open(step1.train[0].image).size
    label = np.zeros(size[::-1], np.uint8)
    label[:, size[0] // 3 : 2 * size[0] // 3] = 3
    label[size[1] // 2 :, : size[0] // 3 + 1] = 7
    Image.fromarray(label).save(tmp_path / "l.png")
    item = TrainListDataset([row(step1, "replay", mask=str(tmp_path / "l.png"))], step1, SETTINGS, "wilson", 0)[0]
    shown = sorted(set(item["mask"].unique().tolist()) - {0})
    assert torch.nonzero(item["labels"]).flatten().tolist() == [c - 1 for c in shown]
    assert item["labels"].shape == (20,) and set(shown) <= {3, 7}


def test_old_labels_of_web_images_count_only_if_asked(step1: Protocol) -> None:
    web = row(step1, "web", labels=[8, 18])
    for every, expected in ((False, [17]), (True, [7, 17])):
        item = TrainListDataset([web], step1, SETTINGS, "wilson", 0, all_labels=every)[0]
        assert torch.nonzero(item["labels"]).flatten().tolist() == expected


@pytest.mark.parametrize("rule", ["plop", "wilson"])
def test_masks_of_a_step_hold_its_classes_alone(step1: Protocol, rule: Any) -> None:
    rows = [row(step1, "dataset", image=r.image, mask=r.mask, labels=r.labels) for r in step1.train]
    values = {int(v) for item in TrainListDataset(rows, step1, SETTINGS, rule, 0) for v in item["mask"].unique()}
    assert values - {255} <= {0, *range(16, 21)} and len(values) > 3
    assert (255 in values) == (rule == "plop")


def test_geometry_depends_on_seed_epoch_and_index_alone(step1: Protocol) -> None:
    rows = [row(step1, "web", labels=[16])] * 3

    def draw(seed: int, epoch: int, index: int) -> torch.Tensor:
        data = TrainListDataset(rows, step1, SETTINGS, "wilson", seed)
        data.set_epoch(epoch)
        image: torch.Tensor = data[index]["image"]
        return image

    assert torch.equal(draw(1, 2, 0), draw(1, 2, 0))
    others = [draw(1, 2, 1), draw(1, 3, 0), draw(2, 2, 0)]
    assert not any(torch.equal(draw(1, 2, 0), other) for other in others)


def test_evaluation_samples(protocols: list[Path]) -> None:
    data = EvalDataset(read_protocol(protocols[0]), 48)
    items = [data[i] for i in range(len(data))]
    assert all(item["image"].shape == (3, 48, 48) and item["mask"].shape == (48, 48) for item in items)
    values = {int(v) for item in items for v in np.unique(item["mask"])}
    assert values <= {*range(16), 255}, "future classes are background at step 0"
