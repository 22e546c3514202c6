"""What optimises SSUL and mixes its exemplars, and the switches of SATS and replay (ciss_methods.md 2.7, 4.10, 5)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.artifacts import TRAIN_LIST, write_table
from pipeline.artifacts.rows import TrainRow
from pipeline.config import ConfigError, Datasets, Phase, Train
from pipeline.datasets.protocol_file import read_protocol
from pipeline.methods import Method, StepInfo, get, settings_of
from pipeline.methods.recipes import get_recipe, recipe_settings
from pipeline.models import SegmentationModel, build_model
from pipeline.pseudolabel import write_train_list
from pipeline.train.assemble import assemble_base
from pipeline.train.data import BatchSource, Loading
from pipeline.train.engine import Step, _optimizer, _set_rates, train_step
from pipeline.workflow import Workflow
from tests.train.bench import Bench

DEEPLAB = "deeplabv3_resnet101_ssul"


def base_method(dataset: str, backbone: str = DEEPLAB, **values: object) -> Method:
    info = StepInfo(dataset, "15-1", 0, (16,), 10, 0, backbone)
    return get_recipe("ssul")(recipe_settings("ssul", values, dataset, "15-1", backbone), info)


def step_method(dataset: str, **values: object) -> Method:
    info = StepInfo(dataset, "15-5", 1, (16, 5), 10, 0, DEEPLAB)
    return get("ssul")(settings_of("ssul", values, dataset, "15-5", DEEPLAB), info)


def rates(method: Method, model: SegmentationModel, lr: float, at: list[int]) -> list[list[float]]:
    """Rates of all groups as the engine sets them, at iterations of a step of 100."""
    source = type("Source", (), {"batches_per_epoch": 10})()
    phase = Phase(epochs=10, lr=lr, iterations=100)
    step = Step(method, model, None, source, Train(), phase, Path(), {}, "")  # type: ignore[arg-type]
    optimizer = _optimizer(step, None)
    found = []
    for iteration in at:
        _set_rates(step, optimizer, iteration)
        found.append([group["lr"] for group in optimizer.param_groups])
    return found


def small(*heads: int) -> SegmentationModel:
    return build_model("small_cnn", list(heads), classifier="conv")


def test_step_0_of_ssul_has_the_authors_fixed_rates() -> None:
    # 4.10.7: 0.001 for the body and 0.01 for the rest, whatever lr is.
    model = small(1, 1, 15)
    groups = base_method("voc").param_groups(model, None, 0.05)
    rate_of = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert {rate_of[id(p)] for p in model.body.parameters()} == {0.001}
    rest = [*model.head.parameters(), *model.classifiers.parameters()]
    assert {rate_of[id(p)] for p in rest} == {0.01}
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


@pytest.mark.parametrize(
    ("dataset", "backbone", "values", "expected"),
    [
        ("ade", DEEPLAB, {}, [0.001, 0.01]),
        ("minivoc", "small_cnn", {}, [0.05, 0.05]),
        ("voc", "segformer_b2", {}, [0.05, 0.05]),
        ("voc", DEEPLAB, {"lr_body": 0.002, "lr_rest": 0}, [0.002, 0.05]),
    ],
)
def test_rates_of_step_0_are_by_task_and_can_be_set(
    dataset: str, backbone: str, values: dict, expected: list[float]
) -> None:
    groups = base_method(dataset, backbone, **values).param_groups(small(1, 1, 15), None, 0.05)
    assert [group["lr"] for group in groups] == expected


def test_a_mistaken_recipe_setting_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown key `train.recipes.ssul.lr_bdy`; did you mean `lr_body`"):
        recipe_settings("ssul", {"lr_bdy": 1})
    with pytest.raises(ConfigError, match="unknown base recipe `sul`; did you mean"):
        recipe_settings("sul", {})


@pytest.mark.parametrize("at_step", [0, 1])
def test_ssul_on_ade_warms_up_over_a_tenth(at_step: int) -> None:
    # assembled_methods.md 8: at 0, 5, 10, 50 of 100 iterations.
    model = small(1, 1, 15, *([5] * at_step))
    method = step_method("ade") if at_step else base_method("ade", lr_body=0, lr_rest=0)
    found = [groups[0] for groups in rates(method, model, 0.05, [0, 5, 10, 50])]
    assert found == pytest.approx([0.05 * f for f in (0.001, 0.4779201, 0.9095326, 0.5358867)], rel=1e-6)


def test_ssul_on_voc_decays_to_a_floor() -> None:
    # assembled_methods.md 8: never below 1e-6, so that the background head's rate is constant at 0.01.
    found = np.array(rates(step_method("voc"), small(1, 1, 15, 5), 0.01, [0, 1, 50, 99]))
    assert found[:, 2] == pytest.approx([1e-6] * 4, rel=1e-9)
    assert found[:, 0] == pytest.approx([0.01, 0.0099099548, 0.0053588673, 0.00015848932], rel=2e-6)
    released_with_sats = np.array(rates(step_method("ade", implementation="sats"), small(1, 1, 15, 5), 0.01, [0, 99]))
    assert released_with_sats[:, 0] == pytest.approx([0.01, 0.00015848932], rel=2e-6)


def test_steps_of_ssul_freeze_norms_and_keep_dropout() -> None:
    # assembled_methods.md 9, third point: every dropout in training mode and every norm in evaluation mode.
    model = build_model(DEEPLAB, [1, 1, 15, 5], classifier="conv")
    step_method("voc").train_mode(model.eval())
    dropouts = [m for m in model.modules() if isinstance(m, nn.Dropout)]
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert dropouts and all(m.training for m in dropouts)
    assert len(norms) > 100 and not any(m.training for m in norms)
    step_method("voc", implementation="sats").train_mode(model)
    assert all(m.training for m in norms)


def source(
    protocols: list[Path], method: Method, n_first: int, n_second: int, role: str, **loading: str
) -> BatchSource:
    protocol = read_protocol(protocols[1])
    new = protocol.train[:n_first]
    known = {r.id for r in protocol.train}
    found = [*new, *[r for r in read_protocol(protocols[0]).train if r.id not in known][:n_second]]
    assert len(found) == n_first + n_second
    rows: list[TrainRow] = [
        {"image_id": r.id, "role": "dataset" if i < n_first else role, "image": r.image, "mask": r.mask,
         "labels": list(r.labels)}
        for i, r in enumerate(found)
    ]  # fmt: skip
    return BatchSource(rows, protocol, Datasets(train_size=48), method, Loading(4, **loading))  # type: ignore[arg-type]


def method_of(name: str, **values: object) -> Method:
    info = StepInfo("minivoc", "15-5", 1, (16, 5), 2, 3)
    return get(name)(settings_of(name, values), info)


def test_exemplars_overwrite_half_of_every_batch_of_ssul(protocols: list[Path]) -> None:
    # 2.7: full batches of both; a random half of the step's batch takes the memory's sample of the same place.
    batches = source(protocols, method_of("ssul"), 17, 7, "memory")
    assert batches.batches_per_epoch == 17 // 4, "an epoch is one pass of the step's images"
    orders = [np.array(batches._order(epoch)).reshape(-1, 4) for epoch in range(60)]
    for order in orders:
        assert ((order >= 17).sum(axis=1) == 2).all(), "half of each batch"
        own = order[order < 17]
        assert len(set(own.tolist())) == len(own), "no image of the step twice in a pass"
    places = (np.concatenate(orders) >= 17).mean(axis=0)
    assert places.min() > 0.35 and places.max() < 0.65, "any place may be overwritten"
    drawn = np.concatenate([order[order >= 17] for order in orders])
    assert set(drawn.tolist()) == set(range(17, 24))
    assert batches._order(3) == batches._order(3) != batches._order(4)
    assert source(protocols, method_of("ssul", implementation="sats"), 17, 7, "memory").batches_per_epoch == 9


def test_the_epoch_with_replay_is_chosen(protocols: list[Path]) -> None:
    # web_wilss.md 5.5: 2 max(n0, n1) samples as released, one pass of the new-class images by default.
    method = method_of("wilson")
    assert source(protocols, method, 8, 20, "replay").batches_per_epoch == 2 * 8 // 4
    assert source(protocols, method, 8, 20, "replay", epoch="larger").batches_per_epoch == 2 * 20 // 4


@pytest.mark.parametrize(("chosen", "old"), [("step", False), ("ids", True)])
def test_the_median_pass_of_sats_may_see_unmasked_labels(protocols: list[Path], chosen: str, old: bool) -> None:
    # 8.8 and 2.3: the release masks labels in the training loop alone, so that old classes are not background here.
    method = method_of("sats", median_labels=chosen)
    batches = source(protocols, method, 20, 0, "")
    seen = torch.cat([batch.masks for batch in batches.calibration(ids=method.calibrates_on_ids)])
    assert bool(((seen > 0) & (seen <= 15)).any()) is old
    after = torch.cat([batch.masks for batch in batches.batches(0, batches.batches_per_epoch)])
    assert not ((after > 0) & (after <= 15)).any(), "training sees the step's labels"


@pytest.fixture(scope="module")
def bench(minivoc: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(minivoc, tmp_path_factory.mktemp("bench"))


def test_assembly_hands_the_settings_on(bench: Bench, tmp_path: Path) -> None:
    def base(**train: object) -> Step:
        return assemble_base(bench.config("small_cnn", **train), "ssul", 0, bench.protocols[0], listed, tmp_path)

    listed = tmp_path / "list.parquet"
    rows = write_train_list(bench.protocols[0], listed)[:28]
    write_table(listed, [{**row, "role": "memory" if i > 7 else "dataset"} for i, row in enumerate(rows)], TRAIN_LIST)
    plain, own = base(), base(recipes={"ssul": {"lr_body": 0.5}}, replay_epoch="larger")
    assert [s.method.param_groups(s.model, None, 0.1)[0]["lr"] for s in (plain, own)] == [0.1, 0.5]
    assert (plain.source.batches_per_epoch, own.source.batches_per_epoch) == (2 * 8 // 2, 2 * 20 // 2)
    assert plain.fingerprint != own.fingerprint != base(recipes={"ssul": {"lr_body": 0.25}}).fingerprint


@pytest.mark.parametrize(("chosen", "classes"), [("step", False), ("ids", True)])
def test_thresholds_are_measured_on_the_chosen_labels(
    chosen: str, classes: bool, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(get("sats"), "calibrate", lambda _, batches, __: seen.extend(b.masks for b in batches))
    step = bench.step("sats", "small_cnn", 1, bench.base("ce", "small_cnn"), tmp_path, phase={"iterations": 1})
    step.method.settings = step.method.settings.model_copy(update={"median_labels": chosen})
    train_step(step)
    masks = torch.cat(seen)
    assert bool(((masks > 16) & (masks <= 20)).any()) is classes, "classes of later steps are background to the step"


def test_recipes_concern_step_0_and_the_epoch_of_replay_the_others() -> None:
    plain = Workflow({})
    recipes = Workflow({"train": {"recipes": {"ssul": {"lr_body": 0.5}}}})
    larger = Workflow({"train": {"replay_epoch": "larger"}})
    assert recipes.run_settings("ft") == plain.run_settings("ft") != larger.run_settings("ft")
    assert larger.base_settings() == plain.base_settings() != recipes.base_settings()
    with pytest.raises(ConfigError, match=r"unknown key `train.recipes.ssul.lr_bdy`; did you mean `lr_body`"):
        Workflow({"train": {"recipes": {"ssul": {"lr_bdy": 0.5}}}})
