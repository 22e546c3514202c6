"""Evaluation of a checkpoint, forgetting, and the summary table."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.artifacts import ArtifactError, Layout, write_json
from pipeline.config import Config, parse_config
from pipeline.eval import evaluate, write_summary
from pipeline.eval.__main__ import main
from pipeline.eval.summary import table
from pipeline.models import build_model, save_model


def checkpoint(path: Path, protocol: Path, classes: list[int]) -> Path:
    facts = json.loads(protocol.read_text())
    torch.manual_seed(1)
    about = {key: facts[key] for key in ("dataset", "task", "setting", "step", "order")}
    save_model(path, build_model("small_cnn", classes), about)
    return path


@pytest.fixture
def config() -> Config:
    return parse_config({"datasets": {"eval_size": 48}, "eval": {"overlays": 3}, "train": {"threads": 1}})


def test_outputs_of_an_evaluation(protocols: list[Path], tmp_path: Path, config: Config) -> None:
    model = checkpoint(tmp_path / "m.safetensors", protocols[1], [16, 5])
    result = evaluate(model, protocols[1], tmp_path / "out", config)
    assert json.loads((tmp_path / "out" / "eval.json").read_text()) == result
    counts = np.load(tmp_path / "out" / "confusion.npy")
    assert counts.shape == (21, 21) and counts.sum() > 40 * 48 * 48 * 0.7
    assert len(list((tmp_path / "out" / "overlays").glob("*.png"))) == 3
    iou = {k: v for k, v in result["iou"].items() if v is not None}
    assert result["all"] == pytest.approx(np.mean(list(iou.values())), abs=1e-3)
    new = [iou[n] for n in ("pottedplant", "sheep", "sofa", "train", "tvmonitor") if n in iou]
    assert result["new"] == pytest.approx(np.mean(new), abs=1e-3)


@pytest.mark.parametrize("rule", ["method", "mib"])
@pytest.mark.parametrize("counted", [True, False])
def test_every_output_says_what_counts_and_has_both_means(
    protocols: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], rule: str, counted: bool
) -> None:
    raw = {"datasets": {"eval_size": 48, "label_map": rule}, "eval": {"background_in_mean": counted, "overlays": 0}}
    model = checkpoint(tmp_path / "m.safetensors", protocols[0], [16])
    files = ["--model", str(model), "--protocol", str(protocols[0]), "--out", str(tmp_path), "--settings"]
    assert main(["evaluate", *files, json.dumps(raw)]) == 0
    result = json.loads((tmp_path / "eval.json").read_text())
    classes = list(result["iou"].values())
    shown = [np.mean([v for v in part if v is not None]) for part in (classes, classes[1:])]
    assert [result["all_with_background"], result["all_no_background"]] == pytest.approx(shown, abs=1e-3)
    assert result["all"] == result["all_with_background" if counted else "all_no_background"]
    said = capsys.readouterr().err
    ignored = "void and classes not yet learned are" if rule == "mib" else "void is"
    for part in (f"{shown[0]:.2f} with background and {shown[1]:.2f} without", f"all {'in' if counted else 'ex'}cludes",
                 f"{ignored} ignored", "shorter side of 48"):  # fmt: skip
        assert part in said, part


def test_base_step_has_no_new_classes_and_forgetting_needs_a_past(
    protocols: list[Path], tmp_path: Path, config: Config
) -> None:
    base = evaluate(checkpoint(tmp_path / "b.safetensors", protocols[0], [16]), protocols[0], tmp_path / "b", config)
    assert base["new"] is None and base["harmonic"] is None and base["forgetting"] == {}
    best = {**base, "best_iou": {**base["best_iou"], "cat": 80.0}}
    write_json(tmp_path / "b" / "eval.json", best)
    model = checkpoint(tmp_path / "m.safetensors", protocols[1], [16, 5])
    later = evaluate(model, protocols[1], tmp_path / "s", config, previous=tmp_path / "b" / "eval.json")
    assert later["forgetting"]["cat"] == pytest.approx(80.0 - later["iou"]["cat"], abs=1e-3)
    assert later["best_iou"]["cat"] == 80.0


def test_checkpoint_of_another_step_is_refused(protocols: list[Path], tmp_path: Path, config: Config) -> None:
    model = checkpoint(tmp_path / "m.safetensors", protocols[0], [16])
    with pytest.raises(ArtifactError, match="has step 0, this run needs 1"):
        evaluate(model, protocols[1], tmp_path / "out", config)
    assert not (tmp_path / "out").exists()


def test_summary_has_a_row_per_method_seed_and_step(tmp_path: Path) -> None:
    raw: dict[str, Any] = {"experiment": {"name": "x", "seeds": [0, 1], "results_dir": str(tmp_path)}}
    config = parse_config(raw)
    paths = Layout.of(config)
    keys = ("old", "new", "all", "all_no_background", "harmonic")
    for seed in (0, 1):
        for recipe in ("ce", "bce"):
            write_json(paths.base(recipe, seed, "eval.json"), dict.fromkeys(keys, 60.0) | {"new": None})
        for run in config.experiment.runs:
            write_json(paths.step(run.name, seed, 1, "eval.json"), dict.fromkeys(keys, 40.0 + seed))
    rows = write_summary(config, 1, tmp_path / "summary.csv")
    with (tmp_path / "summary.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert len(rows) == len(written) == 3 * 2 * 2
    assert list(written[0]) == ["method", "variant", "seed", "step", *keys]
    assert {row["method"] for row in written} == {"ft", "wilson", "web_wilss"} and written[0]["new"] == ""
    assert "40.5 ± 0.7" in table(rows)


def test_whole_images_are_evaluated_one_by_one(protocols: list[Path], tmp_path: Path) -> None:
    settings = {"datasets": {"eval_crop": "full"}, "eval": {"overlays": 1}, "train": {"threads": 1}}
    model = checkpoint(tmp_path / "m.safetensors", protocols[1], [16, 5])
    result = evaluate(model, protocols[1], tmp_path / "out", parse_config(settings))
    pixels = sum(
        int((np.asarray(Image.open(row["mask"])) != 255).sum()) for row in json.loads(protocols[1].read_text())["val"]
    )
    assert np.load(tmp_path / "out" / "confusion.npy").sum() == pixels, "every pixel that is not void counts"
    assert "whole images" in result["conventions"]


def test_further_evaluation_sets_stand_beside_val(protocols: list[Path], tmp_path: Path, config: Config) -> None:
    facts = json.loads(protocols[1].read_text())
    facts["other_val"] = {"half": facts["val"][:20]}
    (tmp_path / "p.json").write_text(json.dumps(facts))
    (tmp_path / "h.json").write_text(json.dumps({**facts, "val": facts["val"][:20]}))
    model = checkpoint(tmp_path / "m.safetensors", protocols[1], [16, 5])
    both = evaluate(model, tmp_path / "p.json", tmp_path / "a", config)
    half = evaluate(model, tmp_path / "h.json", tmp_path / "b", config)
    assert both["other_sets"]["half"] == {key: half[key] for key in both["other_sets"]["half"]}
    assert both["all"] != half["all"]


@pytest.mark.parametrize("implementation", ["original", "sats"])
def test_ssul_is_decoded_by_its_own_rule_in_scores_and_overlays(
    protocols: list[Path], tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch, implementation: str
) -> None:
    from pipeline.eval import evaluation

    model = checkpoint(tmp_path / "m.safetensors", protocols[1], [1, 1, 15, 5])
    config = config.model_copy(update={"methods": {"ssul": {"implementation": implementation}}})
    logits: list[torch.Tensor] = []
    real = evaluation.predict

    def watched(network: Any, batches: Any, decide: Any, **options: Any) -> Any:
        def noisy(outputs: torch.Tensor) -> Any:
            # A fresh network prefers one class everywhere.
            shuffled = outputs + 3 * torch.randn(outputs.shape, generator=torch.Generator().manual_seed(len(logits)))
            logits.append(shuffled)
            return decide(shuffled)

        return real(network, batches, noisy, **options)

    monkeypatch.setattr(evaluation, "predict", watched)
    result = evaluate(model, protocols[1], tmp_path / "ssul", config, method="ssul")
    best = torch.cat(logits).double().numpy()
    # Channels begin with unknown and background (the reverse in SATS's), which are both background in the answer:
    # their probabilities are added in the original, the better one counts in SATS's.
    scores = 1 / (1 + np.exp(-best))
    both = scores[:, :2].sum(axis=1) if implementation == "original" else scores[:, :2].max(axis=1)
    merged = np.concatenate([both[:, None], scores[:, 2:]], axis=1).argmax(axis=1)
    assert best.shape[1] == 22 and merged.max() == 20
    rows = json.loads(protocols[1].read_text())["val"]
    counts = np.load(tmp_path / "ssul" / "confusion.npy")
    assert counts.shape == (21, 21)
    assert (counts.sum(axis=0) <= np.bincount(merged.ravel(), minlength=21)).all()
    scored = counts.sum() / merged.size
    assert counts.sum(axis=0) / counts.sum() == pytest.approx(np.bincount(merged.ravel()) / merged.size, abs=0.02)
    assert scored > 0.7 and len(result["iou"]) == 21
    overlays = list((tmp_path / "ssul" / "overlays").glob("*.png"))
    assert len(overlays) == 3
    for path in overlays:
        shown = merged[[row["id"] for row in rows].index(path.stem)]
        assert np.array_equal(np.asarray(Image.open(path)), shown)


def test_masks_are_scored_as_they_are_and_never_interpolated(
    protocols: list[Path], tmp_path: Path, config: Config
) -> None:
    facts = json.loads(protocols[1].read_text())
    mask = np.zeros((60, 80), np.uint8)
    # Lines one pixel wide: whatever interpolates finds classes between 2 and 20.
    mask[:, ::2], mask[::2] = 2, 20
    Image.fromarray(mask).save(tmp_path / "lines.png")
    Image.new("RGB", (80, 60), "grey").save(tmp_path / "lines.jpg")
    row = {"id": "lines", "image": str(tmp_path / "lines.jpg"), "mask": str(tmp_path / "lines.png"), "labels": [2, 20]}
    (tmp_path / "p.json").write_text(json.dumps(facts | {"val": [row]}))
    model = checkpoint(tmp_path / "m.safetensors", protocols[1], [16, 5])
    evaluate(model, tmp_path / "p.json", tmp_path / "out", config)
    truth = np.load(tmp_path / "out" / "confusion.npy").sum(axis=1)
    assert set(np.flatnonzero(truth)) <= {0, 2, 20} and truth.sum() == 48 * 48
    assert truth[2] > 0 and truth[20] > 0


def test_scores_of_weights_chosen_on_the_test_images_say_so(
    protocols: list[Path], tmp_path: Path, config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    model = checkpoint(tmp_path / "m.safetensors", protocols[0], [16])
    for keep in ("last", "best"):
        raw = {"datasets": {"eval_size": 48}, "eval": {"overlays": 0}, "train": {"keep": keep}}
        files = ["--model", str(model), "--protocol", str(protocols[0]), "--out", str(tmp_path / keep), "--settings"]
        assert main(["evaluate", *files, json.dumps(raw)]) == 0
        result = json.loads((tmp_path / keep / "eval.json").read_text())
        assert result["chosen_on_test_images"] is (keep == "best")
        said = "scored best on these same test images"
        assert (said in result["conventions"]) is (said in capsys.readouterr().err) is (keep == "best")


def test_the_workflow_tells_evaluation_what_chose_the_weights() -> None:
    from pipeline.workflow import Workflow

    for keep in ("last", "best"):
        work = Workflow({"train": {"keep": keep}})
        for settings in (work.base_eval_settings(), work.eval_settings("ft")):
            assert json.loads(settings).get("train", {}) == ({"keep": "best"} if keep == "best" else {})
