"""The sample that stands for a person's labels."""

import csv
from pathlib import Path
from typing import Any

from pipeline.artifacts import MANIFEST, TRUTH, write_table
from pipeline.captioning.noun_filter.calibration import read_sample
from pipeline.miniweb.__main__ import main


def test_a_share_of_the_kept_candidates_is_labelled_as_the_truth_says(tmp_path: Path) -> None:
    rows, truth = [], []
    for i in range(400):
        row: dict[str, Any] = {name: "" for name in MANIFEST.names} | {"class_ids": [16 + i % 5], "rank": i}
        row |= {"http_status": 200, "width": 1, "height": 1, "bytes": 1, "status": "kept" if i % 4 else "failed"}
        rows.append(row | {"image_id": f"im{i}", "url": f"http://a.test/{i}"})
        known: dict[str, Any] = {name: "" for name in TRUTH.names} | {"query_class": 16, "alt_is_misleading": False}
        truth.append(known | {"url": f"http://a.test/{i}", "class_ids": [16, 17]})
    write_table(tmp_path / "m.parquet", rows, MANIFEST)
    write_table(tmp_path / "t.parquet", truth, TRUTH)
    files = ["--truth", str(tmp_path / "t.parquet"), "--manifest", str(tmp_path / "m.parquet")]
    assert main(["label-sample", *files, "--share", "0.5", "--out", str(tmp_path / "s.csv")]) == 0
    sample = read_sample(tmp_path / "s.csv")
    assert 110 < len(sample) < 190, "half of 300"
    for (image, class_id), right in sample.items():
        number = int(image[2:])
        assert number % 4 and class_id == 16 + number % 5 and right == (class_id in (16, 17))
    with (tmp_path / "s.csv").open(newline="") as file:
        assert next(csv.reader(file)) == ["image_id", "class_id", "right"]
