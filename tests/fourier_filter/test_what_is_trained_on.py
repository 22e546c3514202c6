"""Which images reach which fit, how candidates are chosen, and what a spectrum of known content is."""

import itertools
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from pipeline.artifacts import FOURIER, MANIFEST, NEW_CLASSES, NOUN_FILTER, read_json, read_table, write_table
from pipeline.config import Discriminator as Settings
from pipeline.config import Selection
from pipeline.datasets.protocol_file import ImageRecord
from pipeline.fourier_filter import candidates as candidates_module
from pipeline.fourier_filter import fit as fit_module
from pipeline.fourier_filter import training
from pipeline.fourier_filter.discriminator import Discriminator
from pipeline.fourier_filter.selection import select
from tests.protocols import protocol_at

TINY = Settings(resize=24, crop=16, epochs=4, held_out_epochs=2, held_out_repeats=5, per_class=3, batch_size=8)


def manifest_row(image_id: str, classes: list[int], status: str = "kept", rank: int = 0) -> dict[str, Any]:
    row: dict[str, Any] = {name: "" for name in MANIFEST.names}
    row |= {"http_status": 200, "width": 1, "height": 1, "bytes": 1, "shard": "base-00000"}
    return row | {"image_id": image_id, "class_ids": classes, "status": status, "rank": rank}


class Recorder:
    """Stands for images and fits: a picture's value is the number of its image, a score is that number."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.fits: list[tuple[str, list[list[str]], list[list[str]]]] = []

    def load_all(self, uris: list[str], side: int, label: str) -> torch.Tensor:
        values = [self.numbers.setdefault(uri, len(self.numbers)) for uri in uris]
        return torch.tensor(values, dtype=torch.float64).view(-1, 1, 1, 1).expand(-1, 3, 2, 2).clone()

    def names(self, pictures: torch.Tensor) -> list[str]:
        known = list(self.numbers)
        return [known[int(value)] for value in pictures[:, 0, 0, 0]]

    def fit(self, a: torch.Tensor, b: torch.Tensor, settings: Settings, epochs: int, domain: str = "fourier",
            seed: int = 0) -> tuple[Any, float]:  # fmt: skip
        tested: list[list[str]] = []
        self.fits.append((domain, [self.names(a), self.names(b)], tested))
        recorder = self

        class Model:
            def scores(self, pictures: torch.Tensor) -> torch.Tensor:
                tested.append(recorder.names(pictures))
                return pictures[:, 0, 0, 0]

            def get_buffer(self, name: str) -> torch.Tensor:
                return torch.ones(())

            def save(self, path: Path, about: dict[str, Any]) -> None:
                path.write_text(str(about))

            def decision_function(self, features: Any) -> Any:
                return features

        return Model(), 1.0


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Recorder, dict[str, set[int]], Path]:
    """A fit on 60 images of base classes, some with two, some with a future one; web images of every kind."""
    rng = np.random.default_rng(0)
    classes: dict[str, set[int]] = {}
    train = []
    for i in range(60):
        labels = {int(c) for c in rng.choice(range(1, 11), rng.integers(1, 3), replace=False)} | (
            {17} if i < 4 else set()
        )
        train.append(ImageRecord(f"d{i}", f"d{i}.jpg", "m.png", tuple(sorted(labels))))
        classes[f"d{i}.jpg"] = labels - {17}
    web = [manifest_row(f"w{i}", [1 + i % 12], "failed" if i % 7 == 0 else "kept") for i in range(120)]
    classes |= {f"{tmp_path}/base-00000.tar::w{i}.jpg": {1 + i % 12} for i in range(120)}
    protocol_at(tmp_path / "step0.json", train=tuple(train))
    write_table(tmp_path / "manifest.parquet", web, MANIFEST)
    recorder = Recorder()
    monkeypatch.setattr(fit_module, "load_all", recorder.load_all)
    monkeypatch.setattr(fit_module, "fit", recorder.fit)
    monkeypatch.setattr(fit_module, "fit_profile", lambda a, b, s: recorder.fit(a, b, s, 0, "profile")[0])
    monkeypatch.setattr(fit_module, "profile_features", lambda pictures, s: pictures[:, 0, 0, 0].numpy())
    monkeypatch.setattr(fit_module, "_encoder_control", lambda *_: 0.5)
    files = tmp_path / "step0.json", tmp_path / "manifest.parquet", tmp_path
    fit_module.fit_discriminator(*files, TINY, tmp_path / "d", tmp_path / "metrics.json")
    return recorder, classes, tmp_path


def test_held_out_classes_and_images_are_never_trained_on(recorded: Any) -> None:
    recorder, classes, _ = recorded
    repeats = recorder.fits[1:]
    assert [domain for domain, *_ in repeats] == ["fourier", "pixel", "profile"] * TINY.held_out_repeats
    halves = []
    for domain, trained, tested in repeats:
        seen = set().union(*(classes[name] for part in trained for name in part))
        if domain != "profile":
            unseen = set().union(*(classes[name] for part in tested for name in part))
            assert len(tested) == 2 and all(tested) and all(trained)
            assert not seen & unseen, "a class of the test was trained on"
            assert not {n for part in trained for n in part} & {n for part in tested for n in part}
            halves.append(frozenset(seen))
    assert len(set(halves)) > 1, "the halves are drawn anew in every repeat"
    assert all(halves[2 * i] == halves[2 * i + 1] for i in range(TINY.held_out_repeats)), "the control sees the same"


def test_scores_of_held_out_images_are_stored_by_image(recorded: Any) -> None:
    recorder, _, folder = recorded
    kept = read_json(folder / "metrics.json")["held_out"]["scores"]
    for part, (_, _, tested) in zip([p for p in kept if p["features"] == "fourier"], recorder.fits[1::3], strict=True):
        expected = {name.rsplit("::")[-1].removesuffix(".jpg"): float(recorder.numbers[name]) for name in tested[1]}
        assert part["web"] == expected
        assert part["dataset"] == [float(recorder.numbers[name]) for name in tested[0]]


def test_as_many_web_images_per_class_as_the_data_set_has_and_the_budget_allows(recorded: Any) -> None:
    recorder, classes, folder = recorded
    _, (dataset, web), _ = recorder.fits[0]
    assert len(dataset) == 60
    available = Counter(c for name in dataset for c in classes[name])
    expected, taken = [], Counter[int]()
    for row in read_table(folder / "manifest.parquet", MANIFEST):
        [class_id] = row["class_ids"]
        if row["status"] == "kept" and taken[class_id] < min(available[class_id], TINY.per_class):
            taken[class_id] += 1
            expected.append(f"{folder}/base-00000.tar::{row['image_id']}.jpg")
    assert web == expected and set(taken.values()) == {3} and set(taken) == set(range(1, 11))


def values_of(pictures: torch.Tensor) -> set[int]:
    return set(pictures[:, 0, 0, 0].int().tolist())


def numbered(start: int, count: int) -> torch.Tensor:
    values = torch.arange(start, start + count, dtype=torch.uint8)
    return values.view(-1, 1, 1, 1).expand(-1, 3, TINY.resize, TINY.resize).clone()


def test_validation_images_are_never_in_a_batch_and_batches_are_balanced(monkeypatch: pytest.MonkeyPatch) -> None:
    batches, scored, statistics = [], [], []
    monkeypatch.setattr(training, "_step", lambda m, o, halves, g: batches.append(halves))
    monkeypatch.setattr(training.torch.optim.lr_scheduler.CosineAnnealingLR, "step", lambda *_: None)
    real = Discriminator.scores
    monkeypatch.setattr(Discriminator, "scores", lambda self, p: scored.append(values_of(p)) or real(self, p))
    monkeypatch.setattr(Discriminator, "standardise_by", lambda self, p: statistics.append(values_of(p)))
    training.fit(numbered(0, 20), numbered(100, 80), TINY, 8)
    assert all(len(a) == len(b) == TINY.batch_size // 2 for a, b in batches)
    trained = [set().union(*(values_of(half[i]) for half in batches)) for i in (0, 1)]
    assert max(trained[0]) < 100 <= min(trained[1]), "data set first, web second"
    held = set().union(*scored)
    assert len({v for v in held if v < 100}) == 2 and len({v for v in held if v >= 100}) == 8
    assert not held & (trained[0] | trained[1] | statistics[0])
    assert statistics == [set(range(20)) - held], "mean and deviation are of the data set's training images alone"


def test_best_epoch_is_kept_and_a_tie_goes_to_the_later_one(monkeypatch: pytest.MonkeyPatch) -> None:
    values, states = iter([0.5, 0.9, 0.9, 0.7]), []

    def mark(model: Discriminator, *_: Any) -> None:
        next(model.network.parameters()).data.add_(1)

    def score(*_: Any) -> float:
        states.append(None)
        return next(values)

    monkeypatch.setattr(training, "_step", mark)
    monkeypatch.setattr(training, "auroc", score)
    start: list[torch.Tensor] = []
    real = Discriminator.standardise_by
    monkeypatch.setattr(
        Discriminator, "standardise_by",
        lambda self, p: start.append(next(self.network.parameters()).detach().clone()) or real(self, p),
    )  # fmt: skip
    pictures = [torch.randint(256, (10, 3, 24, 24), dtype=torch.uint8) for _ in range(2)]
    model, best = training.fit(*pictures, TINY, 4)
    steps = max(1, 9 // (TINY.batch_size // 2))
    assert best == 0.9 and len(states) == 4
    assert torch.allclose(next(model.network.parameters()).detach(), start[0] + 3 * steps, atol=1e-4)


def test_temperature_minimises_the_balanced_log_loss() -> None:
    rng = np.random.default_rng(4)
    logits = {"a": rng.normal(5, 9, 60), "b": rng.normal(-2, 9, 900)}

    class Model:
        temperature = torch.ones(())

        def scores(self, which: Any) -> torch.Tensor:
            return torch.tensor(logits[which])

        def get_buffer(self, name: str) -> torch.Tensor:
            return self.temperature

    training._calibrate(Model(), "a", "b")  # type: ignore[arg-type]

    def loss(log_t: float) -> float:
        t = math.exp(log_t)
        return float(np.log1p(np.exp(-logits["a"] / t)).mean() + np.log1p(np.exp(logits["b"] / t)).mean())

    found = minimize_scalar(loss, bounds=(math.log(0.1), math.log(10**1.5)), method="bounded").x
    step = 2.5 * math.log(10) / 59
    assert abs(math.log(float(Model.temperature)) - found) <= step
    assert loss(0.0) > loss(found) + 0.01, "without a temperature the loss would be worse"


RULES = ("threshold", "topk", "threshold_then_topk")


@pytest.mark.parametrize("rule", RULES)
def test_ties_are_broken_by_name_whatever_the_order(rule: Any) -> None:
    items = [("c", 1.0), ("a", 1.0), ("d", 0.0), ("b", 2.0), ("e", -1.0)]
    expected = {"threshold": ["b", "a", "c"], "topk": ["b", "a", "c", "d"], "threshold_then_topk": ["b", "a", "c", "d"]}
    for order in itertools.permutations(items):
        names, scores = [n for n, _ in order], [s for _, s in order]
        assert [names[i] for i in select(scores, 4, rule, names)] == expected[rule], order
        assert [names[i] for i in select(scores, 2, rule, names)] == ["b", "a"]
    assert select([1.0, 1.0, 2.0], 2, rule) == [2, 0], "without names the earlier comes first"


@pytest.mark.parametrize("rule", RULES)
def test_every_candidate_of_every_class_is_judged_under_each_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: Any
) -> None:
    scores = dict(zip([f"im{i:02d}" for i in range(24)], [2.0, -1, 0, 2, 1, -3, 2, 0.5, -1, 2, 0, 1] * 2, strict=True))
    rows = [manifest_row(name, [16 + i // 12], rank=(i * 5) % 12) for i, name in enumerate(scores)]
    nouns = []
    for i, name in enumerate(scores):
        blank: dict[str, Any] = {key: "" for key in NOUN_FILTER.names}
        passed = i % 3 != 0
        blank |= {"image_id": name, "class_id": 16 + i // 12, "nouns": [], "labels": [1, 16 + i // 12]}
        reason = "" if passed else "below_threshold"
        nouns.append(blank | {"score": 0.9, "threshold": 0.6, "kept": passed, "reason": reason})
    write_table(tmp_path / "m.parquet", rows, MANIFEST)
    write_table(tmp_path / "n.parquet", nouns, NOUN_FILTER)

    class Fixed:
        settings = TINY

        def scores(self, pictures: list[str]) -> torch.Tensor:
            return torch.tensor([scores[uri.split("::")[1][:4]] for uri in pictures])

    monkeypatch.setattr(candidates_module, "load_all", lambda uris, side, label: uris)
    monkeypatch.setattr(candidates_module.Discriminator, "load", lambda path: Fixed())
    settings = Selection(rule=rule, budget=5)
    files = [tmp_path / name for name in ("m.parquet", "n.parquet", "", "d", "f.parquet", "c.parquet")]
    candidates_module.select_images(*files[:4], settings, *files[4:])
    ranks, passes = {r["image_id"]: r["rank"] for r in rows}, {r["image_id"]: r["kept"] for r in nouns}
    chosen = read_table(files[5], NEW_CLASSES)
    assert len(chosen) == 4 * 24
    for class_id, filters in itertools.product((16, 17), ("none", "noun", "fourier", "both")):
        pool = [r["image_id"] for r in rows if r["class_ids"] == [class_id]]
        pool = [name for name in pool if passes[name] or filters in ("none", "fourier")]
        if filters in ("none", "noun"):
            best = sorted(pool, key=lambda name: ranks[name])[:5]
        else:
            best = sorted(pool, key=lambda name: (-scores[name], name))
            best = [name for name in best if scores[name] > 0 or rule != "threshold"][:5]
        mine = [r for r in chosen if (r["class_id"], r["filters"]) == (class_id, filters)]
        assert {r["image_id"] for r in mine if r["kept"]} == set(best), (class_id, filters)
        for row in mine:
            name = row["image_id"]
            passed = passes[name] or filters in ("none", "fourier")
            positive, by_score = scores[name] > 0, filters in ("fourier", "both")
            if not passed:
                expected = "noun:below_threshold"
            elif row["kept"]:
                expected = "" if positive or not by_score else "filled"
            else:
                expected = "over_budget" if positive or not by_score else "below_threshold"
            assert row["reason"] == expected, row
    for row in read_table(files[4], FOURIER):
        assert row["p_dataset"] == pytest.approx(1 / (1 + math.exp(-row["score"])))
        assert row["p_dataset"] + row["p_web"] == pytest.approx(1) and row["score"] == scores[row["image_id"]]


def test_spectrum_of_one_wave_has_two_peaks_and_the_mean() -> None:
    side, u, v = 16, 3, 2
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    wave = 0.5 + 0.25 * torch.cos(2 * math.pi * (u * x + v * y).double() / side)
    images = torch.stack([wave, wave * 0 + 0.5, wave]).unsqueeze(0)
    model = Discriminator(TINY)
    expected = torch.zeros(3, side, side, dtype=torch.float64)
    middle = side // 2
    expected[:, middle, middle] = 0.5 * side
    for sign in (1, -1):
        expected[[0, 2], middle + sign * v, middle + sign * u] = 0.25 / 2 * side
    assert torch.allclose(model.features(images)[0], torch.log(expected + 1e-3), atol=1e-6)
    plain = Discriminator(TINY.model_copy(update={"amplitude": "linear"}))
    assert torch.allclose(plain.features(images)[0], expected, atol=1e-9)
    assert torch.equal(Discriminator(TINY, "pixel").features(images), images), "the control sees pixels"


def test_features_are_standardised_by_the_data_set_per_frequency_and_channel() -> None:
    torch.manual_seed(0)
    pictures = torch.randint(256, (12, 3, TINY.resize, TINY.resize), dtype=torch.uint8)
    model = Discriminator(TINY)
    model.standardise_by(pictures)
    middle = pictures[..., 4:20, 4:20].double() / 255
    spectra = np.log(np.abs(np.fft.fftshift(np.fft.fft2(middle.numpy(), norm="ortho"), axes=(-2, -1))) + 1e-3)
    assert model.get_buffer("mean").numpy() == pytest.approx(spectra.mean(axis=0), abs=1e-4)
    assert model.get_buffer("deviation").numpy() == pytest.approx(spectra.std(axis=0, ddof=1), abs=1e-3)
    seen = []
    model.network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 2))
    model.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.scores(pictures)
    assert float(seen[0].mean()) == pytest.approx(0, abs=1e-4) and float(seen[0].std()) == pytest.approx(1, abs=0.1)
