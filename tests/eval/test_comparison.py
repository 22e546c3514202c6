"""Ranks beside the published ones, and the columns of tasks with many steps."""

import math

import pytest

from pipeline.eval.comparison import comparison
from pipeline.eval.published import agreement, displaced, published


def rows(values: dict[str, list[float]]) -> list[dict]:
    return [
        {"method": m, "variant": "", "seed": seed, "step": step, "all": v + 50 * (step == 0)}
        for m, seeds in values.items()
        for seed, v in enumerate(seeds)
        for step in (0, 1)
    ]


def test_the_published_order_agrees_with_itself_and_its_reverse_does_not() -> None:
    column = {m: row.all for m, row in published("15-5").items()}
    assert agreement(column, "15-5").spearman == pytest.approx(1)
    assert agreement({m: -v for m, v in column.items()}, "15-5").kendall == pytest.approx(-1)
    assert agreement(column, "15-5").methods == 17, "every method but SATS, DFT* and one that wraps another"
    assert column["ft"] == 9.8 and column["mib"] == 69.0 and column["web_wilss"] == 71.7
    assert not displaced(column, "15-5")


def test_unknown_methods_and_tasks_are_not_ranked() -> None:
    found = agreement({"ft": 1.0, "sats": 2.0, "mib": 3.0}, "15-5")
    assert found.methods == 2 and math.isnan(found.spearman)
    assert published("2-1") == {} and published("15-5s") == published("15-1")


def test_means_over_seeds_are_ranked_at_the_last_step() -> None:
    found = comparison(rows({"ft": [30, 34], "mib": [20, 22], "plop": [60, 61], "sats": [70]}), "15-5")
    assert [line.method for line in found.lines] == ["sats", "plop", "ft", "mib"]
    assert found.lines[1].ours == "60.5 ± 0.7" and found.lines[0].theirs is None
    assert set(found.displaced) == {("ft", 2, 3), ("mib", 3, 2)}
    text = found.text()
    assert "ft: rank 2 here, 3 published" in text and "over 3 methods: Spearman 0.50" in text


@pytest.mark.parametrize(("name", "ranked"), [("minivoc", True), ("own", False), ("ade", False)])
def test_only_voc_and_its_drawing_are_ranked_beside_vocs_column(name: str, ranked: bool) -> None:
    from pipeline.config import parse_config
    from pipeline.eval.report import _comparison
    from pipeline.eval.report.results import Results

    config = parse_config({"datasets": {"task": "15-5"}})
    config = config.model_copy(update={"datasets": config.datasets.model_copy(update={"name": name})})
    results = Results(config, 1, rows({"ft": [30], "mib": [20], "plop": [60], "ewc": [40], "lwf": [50]}))
    assert (_comparison(results) is not None) == ranked
