"""The built site: what is on disk, that the truth is true, that it is deterministic and atomic."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pytest
from PIL import Image

from pipeline.artifacts import TRUTH, read_table
from pipeline.config import MiniWeb
from pipeline.miniweb import __main__ as command_line
from pipeline.miniweb.drawing import CLASS_NAMES, STYLES
from pipeline.miniweb.faults import LISTED_ONCE
from pipeline.miniweb.site import build_site, read_index
from tests.protocols import protocol_at


def originals(web_site: Any) -> list[dict[str, Any]]:
    return [row for row in web_site.truth.values() if not row["duplicate_of"]]


def test_every_class_has_its_number_of_candidates(web_site: Any) -> None:
    counts = Counter((row["kind"], row["query_class"]) for row in originals(web_site))
    assert counts == {("new", 17): 24, ("new", 20): 24, ("base", 3): 16, ("base", 8): 16, ("base", 12): 16}


def test_index_and_truth_name_the_same_addresses_and_files_exist(web_site: Any) -> None:
    assert len(web_site.by_url) == len(web_site.entries) == len(web_site.truth)
    assert set(web_site.by_url) == set(web_site.truth)
    for entry in web_site.entries:
        with Image.open(web_site.root / "images" / entry["file"]) as image:
            image.load()
            assert image.size == (entry["width"], entry["height"])


def test_the_server_side_index_holds_no_truth(web_site: Any) -> None:
    assert not {"class_ids", "style", "wrong", "duplicate_of"} & set(web_site.entries[0])


def test_wrong_results_never_show_the_queried_class_and_right_ones_do(web_site: Any) -> None:
    wrong = [row for row in originals(web_site) if row["alt_is_misleading"]]
    right = [row for row in originals(web_site) if not row["alt_is_misleading"]]
    assert all(row["query_class"] not in row["class_ids"] for row in wrong)
    assert all(row["query_class"] in row["class_ids"] for row in right)
    assert 0.15 < len(wrong) / len(originals(web_site)) < 0.45, "wrong_class is 0.3"


def test_titles_are_honest_misleading_or_missing(web_site: Any) -> None:
    from pipeline.miniweb.search import tokens

    for row in originals(web_site):
        title = web_site.by_url[row["url"]]["title"]
        name = CLASS_NAMES[row["query_class"]]
        said = set(tokens(title)) & (set(CLASS_NAMES) | {"bird", "cat", "dog", "sheep"})
        if row["alt_is_misleading"]:
            assert said == {name}
        elif title:
            assert {CLASS_NAMES[c] for c in row["class_ids"]} == said
    empty = sum(not web_site.by_url[row["url"]]["title"] for row in originals(web_site))
    assert 0 < empty < 0.3 * len(originals(web_site))


def test_off_style_is_spread_over_the_other_styles(tmp_path: Path, two_steps: list[Path]) -> None:
    settings = MiniWeb(images_per_new_class=30, images_per_base_class=4, off_style=1.0, faults=0, duplicates=0)
    build_site(tmp_path / "s", settings, two_steps)
    styles = Counter(row["style"] for row in read_table(tmp_path / "s" / "truth.parquet", TRUTH))
    assert set(styles) == set(STYLES[1:])
    assert max(styles.values()) < 3 * min(styles.values())


@pytest.mark.parametrize("fraction", [0.01, 0.3])
def test_every_fault_is_planted_even_when_the_fraction_is_small(
    tmp_path: Path, two_steps: list[Path], fraction: float
) -> None:
    settings = MiniWeb(images_per_new_class=20, images_per_base_class=4, faults=fraction, duplicates=0)
    build_site(tmp_path / "s", settings, two_steps)
    counts = Counter(entry["fault"] for entry in read_index(tmp_path / "s"))
    assert set(LISTED_ONCE) <= set(counts)
    assert all(counts[slow] == 1 for slow in ("endless", "slow", "oversized", "bomb"))


def test_no_faults_were_asked_for_and_none_are_planted(tmp_path: Path, two_steps: list[Path]) -> None:
    settings = MiniWeb(images_per_new_class=4, images_per_base_class=4, faults=0, duplicates=0, off_style=0)
    build_site(tmp_path / "s", settings, two_steps)
    truth = read_table(tmp_path / "s" / "truth.parquet", TRUTH)
    assert {row["fault"] for row in truth} == {""}
    assert {row["style"] for row in truth} == {"photo"}
    assert {row["duplicate_of"] for row in truth} == {""}


def test_copies_look_like_their_originals(web_site: Any) -> None:
    copies = [row for row in web_site.truth.values() if row["duplicate_of"] not in ("", "evaluation")]
    exact = near = 0
    for row in copies:
        source = web_site.entries[int(row["duplicate_of"])]
        assert web_site.truth[source["url"]]["class_ids"] == row["class_ids"]
        first, second = web_site.bytes_of(source["url"]), web_site.bytes_of(row["url"])
        exact += first == second
        if first != second:
            near += hash_of(first) - hash_of(second) <= 4
    assert exact >= 3
    assert exact + near >= 0.9 * len(copies), "four bits are what the default configuration calls near"


def test_evaluation_images_are_planted_and_recognisable(web_site: Any, two_steps: list[Path]) -> None:
    planted = [url for url, row in web_site.truth.items() if row["duplicate_of"] == "evaluation"]
    assert len(planted) >= 3
    known = [imagehash.phash(Image.open(path)) for path in sorted(two_steps[0].parent.glob("val*.jpg"))]
    for url in planted:
        assert min(hash_of(web_site.bytes_of(url)) - other for other in known) <= 4


def hash_of(data: bytes) -> imagehash.ImageHash:
    return imagehash.phash(Image.open(io.BytesIO(data)))


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path, two_steps: list[Path]) -> None:
    settings = MiniWeb(images_per_new_class=4, images_per_base_class=4, duplicates=0.5, faults=0.5)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        build_site(tmp_path / name, settings.model_copy(update={"seed": seed}), two_steps)
    a, b, c = (content(tmp_path / name) for name in "abc")
    assert a == b
    assert a != c


def content(root: Path) -> dict[str, bytes]:
    files = [path for path in root.rglob("*") if path.is_file() and path.suffix != ".parquet"]
    tables = {"truth": repr(read_table(root / "truth.parquet", TRUTH)).encode()}
    return {str(path.relative_to(root)): path.read_bytes() for path in files} | tables


def test_a_failed_build_leaves_the_old_site(web_site: Any, tmp_path: Path, two_steps: list[Path]) -> None:
    root = tmp_path / "s"
    small = MiniWeb(images_per_new_class=4, images_per_base_class=4)
    build_site(root, small, two_steps)
    before = content(root)
    broken = tmp_path / "step0.json"
    broken.write_text(two_steps[0].read_text().replace("val0.jpg", "gone.jpg").replace("val1.jpg", "gone.jpg"))
    greedy = small.model_copy(update={"duplicates": 1.0, "images_per_new_class": 20})
    with pytest.raises(OSError, match="gone"):
        build_site(root, greedy, [broken])
    assert content(root) == before
    assert not list(tmp_path.glob(".s.*")), "the temporary folder must be gone"


def test_command_line_builds_the_site(tmp_path: Path, two_steps: list[Path]) -> None:
    settings = '{"miniweb": {"images_per_new_class": 4, "images_per_base_class": 4}}'
    options = ["--root", str(tmp_path / "s"), "--protocol", *map(str, two_steps), "--settings", settings]
    assert command_line.main(["site", *options]) == 0
    assert len([e for e in read_index(tmp_path / "s")]) >= 20


def test_command_line_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--root", str(tmp_path / "s"), "--protocol", str(tmp_path / "none.json")]
    assert command_line.main(["site", *options]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "none.json" in error


def test_masks_are_not_on_the_web(web_site: Any) -> None:
    assert {path.suffix for path in (web_site.root / "images").iterdir()} == {".jpg"}
    pixels = np.asarray(Image.open(next((web_site.root / "images").iterdir())))
    assert pixels.shape[2] == 3


def test_classes_are_drawn_by_name_and_the_truth_has_the_protocols_ids(tmp_path: Path) -> None:
    names = {1: "cat", 2: "potted plant", 3: "bird"}
    steps = ((0, 1), (2, 3))
    files = [
        protocol_at(tmp_path / f"step{step}.json", step=step, classes_per_step=steps, class_names=names,
                    order=tuple(c for classes in steps[: step + 1] for c in classes))
        for step in (0, 1)
    ]  # fmt: skip
    settings = MiniWeb(images_per_new_class=5, images_per_base_class=4, wrong_class=0, faults=0, duplicates=0)
    build_site(tmp_path / "site", settings, files)
    truth = {row["url"]: row for row in read_table(tmp_path / "site" / "truth.parquet", TRUTH)}
    tags = {entry["tags"][0]: truth[entry["url"]] for entry in read_index(tmp_path / "site")}
    assert {tag: (row["query_class"], row["kind"]) for tag, row in tags.items()} == {
        "cat": (1, "base"), "pottedplant": (2, "new"), "bird": (3, "new")
    }  # fmt: skip
    assert all(row["query_class"] in row["class_ids"] and set(row["class_ids"]) <= {1, 2, 3} for row in truth.values())


def test_a_class_that_is_not_drawn_is_one_line(tmp_path: Path) -> None:
    path = protocol_at(tmp_path / "p.json", classes_per_step=((0, 1),), order=(0, 1), class_names={1: "forklift"})
    with pytest.raises(ValueError, match="the mini web draws no `forklift`; it has aeroplane"):
        build_site(tmp_path / "site", MiniWeb(), [path])
    assert not (tmp_path / "site").exists()
