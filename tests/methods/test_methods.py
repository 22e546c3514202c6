"""The registry of methods, their settings, and the recipe for adding one."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline.config import ConfigError
from pipeline.methods import Method, StepInfo, get, names, overridden, settings_of
from pipeline.methods.wilson import Localizer
from pipeline.models import build_model

ROOT = Path(__file__).parents[2]


def test_methods_of_the_story_are_registered() -> None:
    assert {"ft", "wilson", "web_wilss"} <= set(names())
    assert get("ft").losses is Method.losses, "FT is an empty class"


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("wilsen", {}, "unknown method `wilsen`; did you mean `wilson`"),
        ("wilson", {"alhpa": 1}, "unknown key `methods.wilson.alhpa`; did you mean `alpha`"),
        ("wilson", {"alpha": "high"}, "`methods.wilson.alpha` is 'high', expected float like 0.5"),
        ("wilson", {"affinity": 1}, "expected bool like True"),
        ("plop", {"median": "mean"}, "`methods.plop.median` is 'mean', expected one of published, exact$"),
        (
            "ssul",
            {"implementation": "SATS"},
            "`methods.ssul.implementation` is 'SATS', expected one of original, sats",
        ),
        ("wilson", {"pooling": "max"}, "`methods.wilson.pooling` is 'max', expected one of ngwp, att, mean$"),
        ("wilson", {"alpha": True}, "`methods.wilson.alpha` is True, expected float like 0.5"),
        ("rw", {"interval": 2.0}, "`methods.rw.interval` is 2.0, expected int like 10"),
        ("rw", {"interval": 0}, "`methods.rw.interval` is 0: Input should be greater than or equal to 1"),
        ("ft", {"alpha": 1}, "unknown key `methods.ft.alpha`; known keys: none"),
    ],
)
def test_mistakes_name_the_nearest(name: str, values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings_of(name, values)


PUBLISHED = [
    # method, data set, task, backbone, values: ciss_methods.md 4.13
    ("lwf", "voc", "15-5", "deeplabv3_resnet101", {"loss_kd": 100}),
    ("lwf_mc", "voc", "15-1", "deeplabv3_resnet101", {"icarl_importance": 10}),
    ("ilt", "voc", "15-5", "deeplabv3_resnet101", {"loss_kd": 100, "loss_de": 100}),
    ("ilt", "ade", "100-10", "segformer_b2", {"loss_kd": 10, "loss_de": 10}),
    ("ewc", "voc", "15-5", "deeplabv3_resnet101", {"reg_importance": 500, "decay": 0.9}),
    ("ewc", "voc", "15-5", "segformer_b2", {"reg_importance": 100}),
    ("pi", "ade", "100-50", "deeplabv3_resnet101", {"reg_importance": 500}),
    ("pi", "voc", "15-1", "segformer_b2", {"reg_importance": 100}),
    ("rw", "voc", "19-1", "deeplabv3_resnet101", {"reg_importance": 100, "decay": 0.9, "interval": 10}),
    ("mib", "voc", "15-5", "deeplabv3_resnet101", {"loss_kd": 10}),
    ("mib", "voc", "15-1", "deeplabv3_resnet101", {"loss_kd": 100}),
    ("mib", "voc", "15-5s", "deeplabv3_resnet101", {"loss_kd": 100}),
    ("mib", "ade", "100-10", "deeplabv3_resnet101", {"loss_kd": 10}),
    ("mib", "voc", "15-1", "segformer_b2", {"loss_kd": 40}),
    ("plop", "voc", "10-1", "segformer_b2", {"pod_factor": 0.01, "logits_factor": 0.0005, "threshold": 0.001}),
    ("plop", "ade", "50-50", "deeplabv3_resnet101", {"pod_factor": 0.001, "logits_factor": 0.00001}),
    ("ssul", "voc", "15-1", "deeplabv3_resnet101_ssul", {"threshold": 0.7, "background_lr": 1e-4}),
    ("ssul", "voc", "15-1", "deeplabv3_resnet101_ssul", {"schedule": "poly"}),
    ("ssul", "ade", "100-50", "deeplabv3_resnet101_ssul", {"schedule": "warm_poly", "threshold": 0.7}),
    ("sats", "voc", "15-1", "segformer_b2", {"loss_kd": 20, "transfer_weight": 20, "threshold": 0.001}),
    ("sats", "voc", "15-1", "deeplabv3_resnet101", {"loss_kd": 20, "feature_weight": 0.2}),
    ("wilson", "voc", "15-5", "deeplabv3_resnet101", {"alpha": 0.5, "localizer_width": 256}),
    ("wilson", "coco-voc", "60-20", "deeplabv3_resnet101", {"alpha": 0.9}),
    ("web_wilss", "coco-voc", "60-20", "deeplabv3_resnet101", {"alpha": 0.5}),
]  # fmt: skip


@pytest.mark.parametrize(("method", "dataset", "task", "backbone", "values"), PUBLISHED)
def test_published_settings_resolve_per_task(method: str, dataset: str, task: str, backbone: str, values: dict) -> None:
    settings = settings_of(method, {}, dataset, task, backbone)
    assert {key: getattr(settings, key) for key in values} == values
    assert not overridden(method, settings, dataset, task, backbone)


def test_an_overridden_value_is_said_with_the_published_one() -> None:
    settings = settings_of("mib", {"loss_kd": 3}, "voc", "15-1", "deeplabv3_resnet101")
    lines = overridden("mib", settings, "voc", "15-1", "deeplabv3_resnet101")
    assert lines == ["methods.mib.loss_kd is 3.0; published for voc 15-1 on deeplabv3_resnet101: 100.0"]


@pytest.mark.parametrize("name", names())
def test_every_method_has_a_title_and_documents_its_settings(name: str) -> None:
    cls = get(name)
    assert cls.title and cls.__doc__
    source = Path(sys.modules[cls.__module__].__file__ or "").read_text()
    assert len(source.splitlines()) <= 200, "a method file stays short"
    assert "if method ==" not in source


def test_settings_take_whole_numbers_for_floats() -> None:
    assert settings_of("wilson", {"alpha": 1}).alpha == 1.0


def test_localizer_is_as_specified() -> None:
    layers = [tuple(p.shape) for p in Localizer(2048, 21).parameters() if p.dim() == 4]
    assert layers == [(256, 2048, 3, 3), (256, 256, 3, 3), (21, 256, 1, 1)]
    assert sum(p.numel() for p in Localizer(2048, 16).parameters()) == 5_313_552
    assert sum(p.numel() for p in Localizer(2048, 21).parameters()) == 5_314_837
    assert sum(p.numel() for p in Localizer(4096, 81).parameters()) == 10_048_849


def test_learning_rates_of_wilson_s_groups() -> None:
    info = StepInfo("minivoc", "15-5", 1, (16, 5), 40, 0)
    method = get("wilson")(settings_of("wilson", {}), info)
    model = build_model("small_cnn", [16, 5])
    groups = method.param_groups(model, method.attach(model), 0.001)
    assert [round(g["lr"], 6) for g in groups] == [0.001, 0.01, 0.01]
    counted = sum(p.numel() for g in groups[:2] for p in g["params"])
    assert counted == sum(p.numel() for p in model.parameters())
    assert method.constant_epochs() == 5


def test_engine_names_no_method() -> None:
    for name in ("engine", "assemble", "data", "resume", "runlog"):
        file = ROOT / "pipeline" / "train" / f"{name}.py"
        text = file.read_text()
        assert not any(f'"{name}"' in text for name in names()), file
        assert "if method" not in text and "method ==" not in text, file


def test_old_classifier_channels_come_first() -> None:
    torch.manual_seed(0)
    model = build_model("small_cnn", [16, 5]).eval()
    images = torch.rand(2, 3, 64, 48)
    output = model(images)
    assert output.logits.shape == (2, 21, 16, 12)
    assert output.body.shape[2:] == (16, 12) and len(output.maps) == 5 and output.attention == ()
    assert torch.equal(output.logits[:, :16], model.classifiers[0](output.maps[-1]))


def test_adding_a_method_is_one_file(tmp_path: Path) -> None:
    """The README's recipe, followed literally in a copy of the package."""
    import shutil

    shutil.copytree(ROOT / "pipeline", tmp_path / "pipeline", ignore=shutil.ignore_patterns("__pycache__", "captioner"))
    recipe = (ROOT / "README.md").read_text().split("<!-- a new method -->")[1].split("```python\n")[1].split("```")[0]
    (tmp_path / "pipeline" / "methods" / "frozen.py").write_text(recipe)
    code = (
        "from pipeline.methods import get, names, settings_of\n"
        "from pipeline.workflow import Workflow\n"
        "assert 'frozen' in names()\n"
        "assert settings_of('frozen', {'weight': 3}).weight == 3.0\n"
        "Workflow({'experiment': {'runs': [{'method': 'frozen'}]}})\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
