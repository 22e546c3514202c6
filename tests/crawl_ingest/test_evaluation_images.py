"""No image that a protocol evaluates on is kept from a crawl, whichever of its evaluation sets it is of."""

import json
from pathlib import Path

import pytest

from tests.crawl_ingest.pool import Pool, jpeg


@pytest.mark.parametrize("place", ["val", "other_val"])
def test_images_of_every_evaluation_set_are_refused(pool: Pool, tmp_path: Path, place: str) -> None:
    tested = tmp_path / "tested.jpg"
    tested.write_bytes(jpeg(3))
    row = {"id": "2007_000033", "image": str(tested), "mask": "m.png", "labels": [1]}
    path = pool.folder / "step0.json"
    facts = json.loads(path.read_text())
    facts |= {"val": [row]} if place == "val" else {"other_val": {"voc": [row]}}
    path.write_text(json.dumps(facts))
    assert pool.ingest() == ["", "", "", "duplicate_of_evaluation", "", ""]


def test_without_evaluation_images_all_are_kept(pool: Pool) -> None:
    assert pool.ingest() == [""] * 6
