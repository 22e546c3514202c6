"""The page as a page: what it says, its structure, its colours, and that nothing in it asks a network."""

import itertools
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.eval.__main__ import main
from pipeline.eval.report import write_report
from pipeline.eval.report.colours import colour, overlay
from tests.eval.finished import Finished

WEB = [{"method": "ft"}, {"method": "web_wilss", "new_images": "web", "replay": True}]


def written(done: Finished) -> str:
    out = Path(done.paths.report())
    write_report(done.config, 1, out, command="webseg eval report --steps 1")
    return out.read_text()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    patch = pytest.MonkeyPatch()
    patch.setenv("SOURCE_DATE_EPOCH", "86400")
    folder = tmp_path_factory.mktemp("page")
    done = Finished(folder).with_web()
    Path(done.paths.summary()).write_text("method\n")
    text = written(done)
    patch.undo()
    return text


UNCLOSED = {"meta", "img", "br", "input", "path", "use", "rect", "line"}


class Tree(HTMLParser):
    """Every start tag with its attributes, and whether tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in UNCLOSED:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in UNCLOSED:
            while self.open and self.open[-1] in ("li", "tr", "td", "th", "option", "p") and self.open[-1] != tag:
                self.open.pop()
            assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"


def test_contents_lead_to_their_sections_and_tags_are_closed(page: str) -> None:
    tree = Tree(page)
    assert tree.open == []
    ids = [attributes["id"] for tag, attributes in tree.tags if tag == "h2"]
    links = [str(a["href"]) for tag, a in tree.tags if tag == "a" and str(a["href"]).startswith("#")]
    assert links == [f"#{name}" for name in ids] and len(ids) == len(set(ids)) == 8


def test_pictures_have_texts_and_tables_headers(page: str) -> None:
    tree = Tree(page)
    assert all("alt" in attributes for tag, attributes in tree.tags if tag == "img")
    drawings = [attributes for tag, attributes in tree.tags if tag == "svg"]
    assert drawings and all(a["role"] == "img" and a["aria-label"] for a in drawings)
    tables = re.findall(r"<table.*?</table>", page, re.DOTALL)
    assert len(tables) >= 8 and all("<thead>" in table and 'scope="col"' in table for table in tables)
    for table in tables:
        heads = re.findall(r"<th [^>]*>", table)
        for row in re.findall(r"<tr[^>]*>(.*?)</tr>", table.split("<tbody>")[1], re.DOTALL):
            cells = re.findall(r"<td[^>]*>", row)
            assert len(cells) == len(heads)
            assert ["n" if 'class="n"' in c else "" for c in cells] == ["n" if 'class="n"' in h else "" for h in heads]


def test_page_is_one_offline_file(page: str) -> None:
    for tag, attributes in Tree(page).tags:
        for name in ("src", "href"):
            address = attributes.get(name) or attributes.get(f"xlink:{name}") or ""
            assert address.startswith(("data:", "#")) or not re.match(r"(\w+:)?//", address), (tag, address)
        assert (tag != "link" and "src" not in attributes) or tag == "img"
    assert "@import" not in page and "fetch(" not in page


def test_foot_says_where_the_page_came_from(page: str) -> None:
    foot = page.split('id="provenance"')[1]
    for part in ("1970-01-02 00:00 UTC", "webseg eval report --steps 1", "box (x86_64, no GPU)", "0, 1", "torch 2",
                 'href="../summary.csv"', "eval_size: 32", "results_dir:"):  # fmt: skip
        assert part in foot, part
    assert re.search(r"<code>([0-9a-f]{40}( \+ changes)?|not known|no checkout|installed)", foot)


@pytest.mark.parametrize(
    ("runs", "title", "said"),
    [
        ([{"method": "ft"}], "Learning new classes step by step", "the data set is one draw"),
        (
            [*WEB[:1], {"method": "plop", "replay": True}],
            "old ones replayed from the web",
            "the data set and the crawl are",
        ),
        (WEB, "Learning new classes from the web", "the data set, the crawl and the discriminator are one draw"),
    ],
)
def test_title_and_notes_say_what_the_experiment_was(tmp_path: Path, runs: list[Any], title: str, said: str) -> None:
    done = Finished(tmp_path, runs=runs)
    text = written(done.with_web() if len(runs) > 1 else done)
    assert f"<h1>{title}" in text.replace("Learning new classes, with old", "old") and said in text
    assert "cow: without a ground-truth pixel" in text.replace("No validation mask shows ", "")
    assert ("captions of step 0" in text) is (len(runs) > 1)
    assert "base model (" not in text or len(runs) > 1


def test_scores_of_weights_chosen_on_test_images_are_warned_of(tmp_path: Path, page: str) -> None:
    done = Finished(tmp_path, runs=[{"method": "ft"}])
    assert "chosen on the test images" not in page
    for folder, result in done.evals.items():
        (folder / "eval.json").write_text(json.dumps(result | {"chosen_on_test_images": True}))
    assert "chosen on the test images (<code>train.keep: best</code>)" in written(done)


def test_gallery_names_the_filter_that_refused_an_image(page: str) -> None:
    shown = page.split('id="gallery"')[1].split('id="training"')[0]
    groups = re.findall(r'data-outcome="([^"]+)">(.*?)</div></div>', shown, re.DOTALL)
    seen = set()
    for outcome, group in groups:
        for caption in re.findall(r"<figcaption>(.*?)</figcaption>", group, re.DOTALL):
            seen.add(outcome)
            expected = {"rejected by the noun filter": "noun filter: below threshold 0.60",
                        "rejected by the Fourier filter": "Fourier filter: below 0", "kept": ""}[outcome]  # fmt: skip
            assert caption.endswith(expected) and ("filter" in caption) is bool(expected)
    assert len(seen) == 3


def lab(colour: tuple[int, int, int]) -> np.ndarray:
    c = np.array(colour) / 255
    c = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ c
    f = [math.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116 for v in xyz / (0.9505, 1, 1.089)]
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_classes_up_to_21_are_told_apart_by_colour() -> None:
    colours = [lab(colour(i)) for i in range(1, 21)]
    assert min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(colours, 2)) > 40


def test_an_overlay_keeps_the_hue_over_any_image_and_stripes_tell_further_classes_apart() -> None:
    import colorsys

    labels = np.full((64, 64), 3, np.uint8)
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
    pixels = np.asarray(overlay(image, labels)).reshape(-1, 3) / 255
    hue = colorsys.rgb_to_hsv(*(v / 255 for v in colour(3)))[0]
    assert max(abs(colorsys.rgb_to_hsv(*p)[0] - hue) for p in pixels) < 0.02
    plain, striped, other = (np.asarray(overlay(image, np.full((64, 64), i, np.uint8)), int) for i in (3, 23, 43))
    for a, b in itertools.combinations((plain, striped, other), 2):
        assert 0.2 < (np.abs(a - b).max(axis=2) > 20).mean() < 0.8
    labels[:, :32] = 0
    half = np.asarray(overlay(image, labels))
    assert np.array_equal(half[:, :32], np.asarray(image)[:, :32]), "the background shows as it is"
    assert {tuple(p) for p in half[:, 32].tolist()} == {colour(3)}, "the outline is the colour itself"


def test_compare_without_published_rows_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = Finished(tmp_path, runs=[{"method": "ft"}])
    sections = {"experiment": done.config.experiment.model_dump(mode="json")}
    for datasets, said in (
        ({"task": "2-2"}, "none of these methods has a row"),
        ({"task": "15-5"}, "a rank correlation needs three"),
        ({"name": "ade", "root": "x", "task": "100-50"}, "the published column is of VOC, this is ade"),
    ):
        assert main(["compare", "--steps", "1", "--settings", json.dumps(sections | {"datasets": datasets})]) == 0
        out = capsys.readouterr().out
        assert said in out and "nan" not in out, datasets


def contrast(a: str, b: str) -> float:
    """WCAG 2.1 contrast ratio of two colours."""
    light = []
    for word in (a, b):
        c = np.array([int(word[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        c = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        light.append(float(c @ (0.2126, 0.7152, 0.0722)))
    return (max(light) + 0.05) / (min(light) + 0.05)


def test_texts_have_enough_contrast_light_and_dark(page: str) -> None:
    roots = re.findall(r":root \{(.*?)\}", page, re.DOTALL)
    light, dark = (dict(re.findall(r"--(\w+): (#\w{6})", root)) for root in roots[:2])
    assert light.keys() == dark.keys()
    for shown in (light, dark):
        for ink in ("ink", "soft", "accent"):
            assert min(contrast(shown[ink], shown[ground]) for ground in ("paper", "card")) >= 4.5, ink
        assert min(contrast(shown["ink"], shown[ground]) for ground in ("code", "warn")) >= 4.5
