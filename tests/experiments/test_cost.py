"""The estimate of an experiment's cost, against the real network where that is cheap."""

from dataclasses import replace

import pytest
import torch

from pipeline.config import Config, load_config, parse_config
from pipeline.eval.published_table import ROOT
from pipeline.experiments.__main__ import main
from pipeline.experiments.estimate import cost_lines, probe, step_costs
from pipeline.models import build_model

pytestmark = pytest.mark.usefixtures("one_thread")


def test_shapes_without_values_cost_what_the_real_network_costs() -> None:
    real = build_model("small_cnn", [16, 5])
    with torch.device("meta"):
        shapes = build_model("small_cnn", [16, 5])
    assert probe(shapes, 64) == probe(real, 64)
    flops, held = probe(shapes, 64)
    more_flops, more_held = probe(shapes, 128)
    assert more_flops / flops == pytest.approx(4, rel=0.05) and more_held / held == pytest.approx(4, rel=0.05)


def test_a_convolution_by_hand() -> None:
    model = build_model("small_cnn", [16])
    before = probe(model, 64)[0]
    wide = build_model("small_cnn", [16, 16])
    channels = wide.classifiers[1].in_channels
    features = (64 // wide.body.stride) ** 2
    # 16 more 1x1 outputs: 2 operations per input channel, output channel and position.
    assert probe(wide, 64)[0] - before == 2 * channels * 16 * features


def test_iterations_and_parameters_of_a_published_experiment() -> None:
    config = load_config([ROOT / "experiments" / "voc_15-5_overlap_resnet101.yaml"])
    (plop,) = [run for run in config.experiment.runs if run.name == "plop"]
    base, step = step_costs(config, plop)
    # web_wilss.md 3.8 for the parameters; 30 epochs of 9568 and 2145 images in whole batches of 24.
    assert (base.parameters, step.parameters) == (58_039_376, 58_040_661)
    assert (base.iterations, step.iterations) == (30 * 398, 30 * 89)
    assert step.flops > base.flops, "the teacher's forward pass counts"
    assert 5 < base.memory / 2**30 < 40
    assert base.hours(24, 60.0) == pytest.approx(base.hours(24, 30.0) / 2)


def drawn(method: str, **run: object) -> list[int | None]:
    phase = {"epochs": 30, "batch_size": 24, "iterations": 0}
    config = parse_config(
        {
            "experiment": {"runs": [{"method": method, **run}]},
            "fourier_filter": {"selection": {"budget": 30}},
            "datasets": {"name": "voc", "task": "10-10", "train_size": 32},
            "train": {"base": phase, "step": phase},
        }
    )
    costs = step_costs(config, config.experiment.runs[0])
    assert [cost.iterations for cost in costs] == [30 * (cost.images // 24) for cost in costs if cost.images]
    return [cost.images for cost in costs]


def test_an_epoch_draws_what_the_run_trains_on() -> None:
    # VOC 10-10 overlap has 6139 and 6876 images, 10,582 in all (web_wilss.md 2.4).
    assert drawn("ft") == [6139, 6876]
    assert drawn("joint") == [6139, 10582]
    assert drawn("mib", memory=100) == [6139, 2 * 6876]
    assert drawn("ssul", memory=100) == [6139, 6876], "exemplars overwrite half of each batch"
    assert drawn("ssul", memory=100, settings={"implementation": "sats"}) == [6139, 2 * 6876]
    assert drawn("web_wilss", replay=True) == [6139, 2 * 6876]
    assert drawn("web_wilss", new_images="web", filters="both", replay=True) == [6139, 2 * 30 * 10]
    assert drawn("wilson", new_images="web", filters="none") == [6139, 30 * 10]


def test_unknown_counts_are_not_invented() -> None:
    config = Config()
    costs = step_costs(config, config.experiment.runs[0])
    assert [cost.images for cost in costs] == [None, None]
    assert costs[0].hours(24, 30.0) is None and "in all -" in cost_lines(config, 30.0)[-1]
    assert replace(costs[0], iterations=100).hours(24, 30.0) > 0


def test_shared_base_steps_stand_once(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [{"method": "ft"}, {"method": "ilt"}, {"method": "wilson"}]
    lines = cost_lines(parse_config({"experiment": {"runs": runs}}), 30.0)
    assert [line.split()[:2] for line in lines[2:-1]] == [
        ["ft", "0"],
        ["ft", "1"],
        ["ilt", "1"],
        ["wilson", "0"],
        ["wilson", "1"],
    ]
    assert main(["dry-cost", str(ROOT / "config.yaml"), "--tflops", "1"]) == 0
    assert "at 1 TFLOP/s sustained" in capsys.readouterr().out
