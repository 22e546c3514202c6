"""Every figure of the report, computed again from the raw tables by code that shares nothing with it."""

import itertools
import json
import math
import re
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pyarrow.parquet import read_table

from pipeline.eval.report import pictures, write_report
from pipeline.eval.report.filters import filter_section
from pipeline.eval.report.results import Results, forgetting_rows, story
from pipeline.eval.summary import summary_rows
from tests.eval.finished import NEW, SIDE, Finished


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return Finished(tmp_path_factory.mktemp("finished")).with_web()


@pytest.fixture(scope="module")
def section(done: Finished) -> dict[str, Any]:
    return filter_section(done.config, 1)


@pytest.fixture(scope="module")
def page(done: Finished) -> str:
    out = Path(done.paths.report())
    write_report(done.config, 1, out, command="python -m pipeline.eval report")
    return out.read_text()


def rows_of(path: str) -> list[dict[str, Any]]:
    return read_table(path).to_pylist()


def truth_of(done: Finished) -> dict[str, dict[str, Any]]:
    """Truth by image id."""
    by_url = {row["url"]: row for row in rows_of(done.paths.truth())}
    return {name: by_url[url] for name, url in done.urls.items()}


def test_funnel_counts_rows_of_the_raw_tables(done: Finished, section: dict[str, Any]) -> None:
    shown = {row["plan"]: [(count, share) for _, count, share in row["stages"]] for row in section["funnel"]}
    paths = done.paths
    nouns, fourier, chosen = (rows_of(paths.selection(1, n)) for n in ("noun_filter", "fourier", "new_classes"))
    step = [80, len(done.kept("step1")), sum(r["kept"] for r in nouns), len([r for r in fourier if r["score"] > 0])]
    step.append(len([r for r in chosen if r["filters"] == "both" and r["kept"]]))
    replay = [50, len(done.kept("replay1")), sum(r["kept"] for r in rows_of(paths.selection(1, "noun_filter_replay")))]
    replay.append(sum(r["kept"] for r in rows_of(paths.selection(1, "replay"))))
    expected = {"base": [60, len(done.kept("base"))], "step1": step, "replay1": replay}
    assert {plan: [count for count, _ in stages] for plan, stages in shown.items()} == expected
    for stages in shown.values():
        assert [share for _, share in stages] == pytest.approx([100 * c / stages[0][0] for c, _ in stages])


def test_refusals_are_counted_over_all_plans(done: Finished, section: dict[str, Any]) -> None:
    counts: Counter[tuple[str, str]] = Counter()
    for plan in ("base", "step1", "replay1"):
        counts.update((r["status"], r["reason"]) for r in rows_of(done.paths.manifest(plan)) if r["status"] != "kept")
    assert {(status, reason): n for status, reason, n in section["refusals"]} == counts
    numbers = [n for _, _, n in section["refusals"]]
    assert numbers == sorted(numbers, reverse=True)


def test_shares_of_right_and_in_domain_images(done: Finished, section: dict[str, Any]) -> None:
    truth, table = truth_of(done), rows_of(done.paths.selection(1, "new_classes"))
    groups = {"all candidates": [r for r in table if r["filters"] == "none"]}
    titles = {
        "first in search order": "none",
        "noun filter": "noun",
        "Fourier filter": "fourier",
        "both filters": "both",
    }
    groups |= {title: [r for r in table if r["filters"] == key and r["kept"]] for title, key in titles.items()}
    assert [row["name"] for row in section["quality"]] == list(groups)
    for row in section["quality"]:
        group = groups[row["name"]]
        right = [r["class_id"] in truth[r["image_id"]]["class_ids"] for r in group]
        photo = [truth[r["image_id"]]["style"] == "photo" for r in group]
        both = [a and b for a, b in zip(right, photo, strict=True)]
        assert row["images"] == len(group) > 5
        values = [row[key] for key in ("right", "in_domain", "useful")]
        assert values == pytest.approx([100 * np.mean(part) for part in (right, photo, both)])


def confusion(kept: list[bool], right: list[bool]) -> dict[str, float]:
    tp, fp, fn = (sum((k, r) == pair for k, r in zip(kept, right, strict=True)) for pair in
                  ((True, True), (True, False), (False, True)))  # fmt: skip
    f1 = 200 * tp / (2 * tp + fp + fn)
    base = 100 * (tp + fn) / len(kept)
    return {"base_rate": base, "precision": 100 * tp / (tp + fp), "recall": 100 * tp / (tp + fn), "f1": f1}


def test_precision_and_recall_of_each_filter(done: Finished, section: dict[str, Any]) -> None:
    truth = truth_of(done)
    nouns = {r["image_id"]: r["kept"] for r in rows_of(done.paths.selection(1, "noun_filter"))}
    scores = {r["image_id"]: r["score"] for r in rows_of(done.paths.selection(1, "fourier"))}
    wanted = {r["image_id"]: r["class_ids"][0] for r in done.kept("step1")}
    right = {i: wanted[i] in truth[i]["class_ids"] for i in wanted}
    photo = {i: truth[i]["style"] == "photo" for i in wanted}
    noun, fourier = section["by_filter"]
    for row, kept, true in ((noun, nouns, right), (fourier, {i: s > 0 for i, s in scores.items()}, photo)):
        expected = confusion([kept[i] for i in wanted], [true[i] for i in wanted])
        assert {key: row[key] for key in expected} == pytest.approx(expected)


def test_precision_and_recall_of_every_similarity_and_rule(done: Finished, section: dict[str, Any]) -> None:
    truth, shown = truth_of(done), section["by_similarity"]
    assert len(shown) == 4
    for row in shown:
        suffix = "_replay" if row["role"] == "replay" else ""
        table = [r for r in rows_of(done.paths.selection(1, f"noun_comparison{suffix}")) if r["rule"] == row["rule"]]
        right = [bool(set(r["class_ids"]).intersection(truth[r["image_id"]]["class_ids"])) for r in table]
        expected = confusion([r["kept"] for r in table], right)
        assert {key: row[key] for key in expected} == pytest.approx(expected), row


def pairs_won(a: list[float], b: list[float]) -> float:
    return sum(1.0 if x > y else 0.5 if x == y else 0.0 for x, y in itertools.product(a, b)) / (len(a) * len(b))


def test_auroc_of_the_discriminator_is_the_share_of_pairs_it_orders(done: Finished, section: dict[str, Any]) -> None:
    truth = truth_of(done)
    scores = json.loads(Path(done.paths.fourier("metrics.json")).read_text())["held_out"]["scores"]
    names = ("fourier", "pixel", "radial_profile")
    assert [row["name"].split(",")[0] for row in section["style"]] == ["spectrum", "pixels", "radial profile"]
    for row, features in zip(section["style"], names, strict=True):
        found: dict[str, list[float]] = {"dataset_off": [], "photo_off": [], "raw": []}
        for part in [p for p in scores if p["features"] == features]:
            off = [s for i, s in part["web"].items() if truth[i]["style"] != "photo"]
            photo = [s for i, s in part["web"].items() if truth[i]["style"] == "photo"]
            found["dataset_off"].append(pairs_won(part["dataset"], off))
            found["photo_off"].append(pairs_won(photo, off))
            found["raw"].append(pairs_won(part["dataset"], off + photo))
        assert {key: row[key] for key in found} == pytest.approx({k: statistics.mean(v) for k, v in found.items()})
    styles = [truth[r["image_id"]]["style"] for r in done.kept("base")]
    off_share = np.mean([style != "photo" for style in styles])
    assert section["ceiling"] == pytest.approx(off_share + (1 - off_share) / 2)


def evals(done: Finished, run: str, step: int = 1) -> list[dict[str, Any]]:
    recipe = "ce" if run == "ft" else "bce"
    folder = f"base/{recipe}/seed{{}}" if step == 0 else f"{run}/seed{{}}/step1"
    results = Path(done.paths.results)
    return [json.loads((results / folder.format(seed) / "eval.json").read_text()) for seed in (0, 1)]


def test_main_table_is_mean_and_spread_over_seeds_of_each_runs_own_files(done: Finished, page: str) -> None:
    lines = re.findall(r"<tr><td>([^<]+)</td><td class=\"n\">(.*?)</tr>", page.split('id="classes"')[0], re.DOTALL)
    shown = {name: re.findall(r"([\d.]+) ± ([\d.]+)", rest) for name, rest in lines}
    assert list(shown) == ["FT", "WILSON, unfiltered web", "Web-WILSS"]
    for run, cells in zip(("ft", "wilson", "web_wilss"), shown.values(), strict=True):
        wanted = [[e["old"] for e in evals(done, run, 0)]]
        wanted += [[e[key] for e in evals(done, run)] for key in ("old", "new", "all", "all_no_background", "harmonic")]
        expected = [(f"{statistics.mean(v):.1f}", f"{abs(v[0] - v[1]) / math.sqrt(2):.1f}") for v in wanted]
        assert cells == expected


def test_forgetting_is_averaged_over_seeds_and_leaves_the_background_out(done: Finished) -> None:
    results = Results(done.config, 1, summary_rows(done.config, 1))
    for run, row in zip(("ft", "wilson", "web_wilss"), forgetting_rows(results), strict=True):
        first, second = (e["forgetting"] for e in evals(done, run))
        lost = {name: (first[name] + second[name]) / 2 for name in first if name != "background"}
        assert row["mean"] == pytest.approx(sum(lost.values()) / len(lost))
        worst = sorted(lost, key=lambda name: -lost[name])[:4]
        assert [(name, pytest.approx(lost[name])) for name in worst] == row["worst"]


def test_sentences_hold_the_measured_numbers(done: Finished, section: dict[str, Any]) -> None:
    results = Results(done.config, 1, summary_rows(done.config, 1))
    sentences = story(results, section)
    for run, sentence in zip(("ft", "wilson", "web_wilss"), sentences, strict=False):
        base, old, new, every = (
            statistics.mean(e[key] for e in evals(done, run, step))
            for step, key in ((0, "old"), (1, "old"), (1, "new"), (1, "all"))
        )
        for part in (
            f"{100 * old / base:.0f} %",
            f"{base:.1f} to {old:.1f}",
            f"{new:.1f} on the new",
            f"{every:.1f} over",
        ):
            assert part in sentence, part
    quality = {row["name"]: row for row in section["quality"]}
    assert f"Of the candidates {quality['all candidates']['right']:.0f} %" in sentences[-1]
    assert f"both filters {quality['both filters']['right']:.0f} %" in sentences[-1]


def test_masks_are_never_interpolated(done: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []
    real = pictures.overlay
    monkeypatch.setattr(pictures, "overlay", lambda image, labels: seen.append(labels) or real(image, labels))
    shown = pictures.overlay_rows(Results(done.config, 1, summary_rows(done.config, 1)))
    assert all(labels.shape == (SIDE, SIDE) for labels in seen)
    per_row = len(shown["columns"]) - 1
    for truth in seen[::per_row]:
        assert set(np.unique(truth)) <= {0, 2, 9, 20, 255}, "only classes of the mask, none between them"
        assert {2, 20} <= set(np.unique(truth))
    for row, base in zip(("v0", "v1"), seen[1::per_row], strict=True):
        stored = np.asarray(Image.open(Path(done.paths.base("ce", 0, "overlays")) / f"{row}.png"))
        assert np.array_equal(base, stored), "the first base column shows the recipe that its title names"
    assert shown["columns"][:4] == ["image", "truth", "base model (ce)", "base model (bce)"]
    assert {name for name, _ in shown["legend"]} >= {"bicycle", "tvmonitor", *NEW}


def test_every_base_recipe_has_its_own_bar(done: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    from pipeline.eval.report.figures import bars

    drawn: list[list[float]] = []
    real = Axes.bar
    monkeypatch.setattr(
        Axes, "bar", lambda self, x, height, *a, **k: drawn.append(list(height)) or real(self, x, height, *a, **k)
    )
    svg = bars(Results(done.config, 1, summary_rows(done.config, 1)))
    assert 'role="img"' in svg and "base model (ce), base model (bce), FT" in svg
    for key, heights in zip(("old", "new", "all"), drawn, strict=True):
        places = [("ft", 0), ("wilson", 0), ("ft", 1), ("wilson", 1), ("web_wilss", 1)]
        values = [[e[key] for e in evals(done, run, step)] for run, step in places]
        assert heights == pytest.approx([0.0 if None in v else statistics.mean(v) for v in values])


PUBLISHED = [
    {"method": "ft", "old": 10.0, "new": 20.0, "all": 12.0, "avg": 30.0},
    {"method": "wilson", "old": 60.0, "new": 50.5, "all": 58.0, "avg": 61.0},
    {"method": "web_wilss", "old": 70.0, "all": 57.0},
]


@pytest.mark.parametrize(
    ("convention", "skipped"), [("plop", ()), ("mib", ("old", "all", "avg")), ("wilson", ("old",))]
)
def test_columns_beside_the_papers_are_those_of_the_confusion_matrices(
    tmp_path: Path, convention: str, skipped: tuple[str, ...]
) -> None:
    """`skipped` are the columns that leave the background out (ciss_methods.md 6)."""
    rows = [{**row, "source": "a paper", "convention": convention} for row in PUBLISHED]
    done = Finished(tmp_path, published=rows).with_web()
    out = Path(done.paths.report())
    write_report(done.config, 1, out)
    text = out.read_text().split('id="papers"')[1].split('id="published"')[0].split('id="classes"')[0]
    assert f"a paper ({convention} convention)" in text
    body = text.split("<tbody>")[1].split("</tbody>")[0]
    shown = {
        name: re.findall(r">([^<]+)</td>", rest)
        for name, rest in re.findall(r"<tr><td>([^<]+)</td>(.*?)</tr>", body, re.DOTALL)
    }
    mine = {run: paper_columns(Path(done.paths.results), run, skipped) for run in ("ft", "wilson", "web_wilss")}
    assert list(shown) == sorted(mine, key=lambda run: -mine[run]["all"])
    theirs = {row["method"]: row for row in PUBLISHED}
    for run, cells in shown.items():
        ranks = [sorted((-t[run2]["all"] for run2 in t), key=float).index(-t[run]["all"]) + 1 for t in (mine, theirs)]
        assert [int(cell) for cell in cells[:2]] == ranks
        expected = []
        for column in ("old", "new", "all", "avg"):
            published = theirs[run].get(column)
            expected += [f"{mine[run][column]:.2f}", "–" if published is None else f"{published:.2f}"]
        assert cells[2:10] == expected
        assert cells[10] == f"{mine[run]['all'] - theirs[run]['all']:+.2f}"
    ranks = [[sorted(t.values(), key=lambda r: -r["all"]).index(t[run]) for run in mine] for t in (mine, theirs)]
    spearman = 1 - 6 * sum((a - b) ** 2 for a, b in zip(*ranks, strict=True)) / (3 * 8)
    assert f"Spearman {spearman:.2f}" in text


def paper_columns(results: Path, run: str, skipped: tuple[str, ...]) -> dict[str, float]:
    found: dict[str, list[float]] = {"old": [], "new": [], "all": [], "avg": []}
    for seed in (0, 1):
        base = results / "base" / ("ce" if run == "ft" else "bce") / f"seed{seed}" / "confusion.npy"
        ious = []
        for path in (base, results / run / f"seed{seed}" / "step1" / "confusion.npy"):
            m = np.load(path).astype(float)
            ious.append([100 * m[i, i] / (m[i].sum() + m[:, i].sum() - m[i, i]) for i in range(len(m))])
        found["old"].append(np.mean(ious[1][int("old" in skipped) : 16]))
        found["new"].append(np.mean(ious[1][16:]))
        found["all"].append(np.mean(ious[1][int("all" in skipped) :]))
        found["avg"].append(np.mean([np.mean(row[int("avg" in skipped) :]) for row in ious]))
    return {column: float(np.mean(values)) for column, values in found.items()}
