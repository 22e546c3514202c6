"""Properties of the recent methods that no check of their specification states, and the hooks that they brought."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from pipeline.artifacts import ArtifactError
from pipeline.config import ConfigError
from pipeline.methods import Batch, Forward, Method, StepInfo, get, rasp, settings_of
from pipeline.models import SegmentationModel, build_model
from pipeline.models.deeplab import AsppHead, ConcatenatedHead
from pipeline.models.dual import dual_convolutions, split_branches
from pipeline.models.resnet import ResNetBody
from pipeline.train import engine
from pipeline.train.engine import train_step
from tests.methods.test_all_methods import batch_of
from tests.train.bench import Bench


@pytest.fixture(scope="module")
def bench(minivoc: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(minivoc, tmp_path_factory.mktemp("recent"))


def same(a: Path, b: Path) -> bool:
    first, second = (load_file(folder / "model.safetensors") for folder in (a, b))
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_rasp_without_its_prior_is_wilson_bit_for_bit(bench: Bench, tmp_path: Path) -> None:
    base = bench.base("bce", "small_cnn")
    train_step(bench.step("wilson", "small_cnn", 1, base, tmp_path / "wilson"))
    step = bench.step("rasp", "small_cnn", 1, base, tmp_path / "rasp")
    step.method.settings = step.method.settings.model_copy(update={"semantic_weight": 0.0, "sss_norm": "batch"})
    train_step(step)
    assert same(tmp_path / "wilson", tmp_path / "rasp")


def test_rasp_resumes_without_the_encoder(bench: Bench, tmp_path: Path, monkeypatch: Any) -> None:
    base = bench.base("bce", "small_cnn")
    train_step(bench.step("rasp", "small_cnn", 1, base, tmp_path / "whole"))
    real, count = engine._iterate, [0]

    def dying(*arguments: Any) -> Any:
        count[0] += 1
        if count[0] == 4:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "_iterate", dying)
        with pytest.raises(KeyboardInterrupt):
            train_step(bench.step("rasp", "small_cnn", 1, base, tmp_path / "cut"))
    monkeypatch.setattr(rasp, "embedded_similarity", lambda *arguments: pytest.fail("the table was saved"))
    train_step(bench.step("rasp", "small_cnn", 1, base, tmp_path / "cut"))
    assert same(tmp_path / "whole", tmp_path / "cut")
    saved = load_file(tmp_path / "cut" / "method_state.safetensors")["similarity"]
    assert saved.shape == (17, 17) and torch.allclose(saved.diagonal(), torch.ones(17))


def test_rasp_reads_similarities_of_the_users_own_in_channel_order(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    path.write_text('{"names": ["b", "background", "a"], "similarity": [[1, 0.2, 0.3], [0.4, 1, 0.5], [0.6, 0.7, 1]]}')
    found = rasp.read_similarity(str(path), ("background", "a", "b"))
    assert torch.allclose(found, torch.tensor([[1, 0.5, 0.4], [0.7, 1, 0.6], [0.2, 0.3, 1]]))
    with pytest.raises(ValueError, match="lacks the classes c"):
        rasp.read_similarity(str(path), ("background", "c"))
    path.write_text('{"names": ["b"], "similarity": [[1, 2]]}')
    with pytest.raises(ValueError, match="1 names need as many positive rows"):
        rasp.read_similarity(str(path), ("b",))
    with pytest.raises(ValueError, match="has no `names` and `similarity`"):
        rasp.read_similarity(str(tmp_path / "absent.json"), ("b",))


def test_rasp_says_what_it_lacks_and_what_tells_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "flat.json"
    path.write_text('{"names": ["background", "a", "x", "y"], "similarity": '
                    "[[1, 1, 1, 0.5], [1, 1, 1, 2], [1, 1, 1, 1], [0.5, 2, 1, 1]]}")  # fmt: skip
    settings = settings_of("rasp", {"similarity": "file", "similarity_file": str(path)})
    with pytest.raises(ValueError, match="needs the names of 4 classes, got 0"):
        get("rasp")(settings, StepInfo("own", "2-2", 1, (2, 2), 1, 0)).init_classifier(build_model("small_cnn", [2, 2]))
    method = get("rasp")(settings, StepInfo("own", "2-2", 1, (2, 2), 1, 0, names=("background", "a", "x", "y")))
    assert method.state()["similarity"].shape == (4, 4)
    said = capsys.readouterr().err
    assert "the targets of `x` differ by 0.000 alone" in said and "`y`" not in said


def star(first: int, later: int) -> tuple[Any, SegmentationModel, SegmentationModel]:
    torch.manual_seed(0)
    cls, settings = get("star"), settings_of("star", {"pkd": 0.0, "cont": 0.0})
    info = StepInfo("minivoc", "x", 1, (first, later), 1, 0)
    teacher = build_model("small_cnn", cls.heads(settings, (first,)).sizes).eval()
    model = build_model("small_cnn", cls.heads(settings, (first, later)).sizes)
    model.load_state_dict(teacher.state_dict(), strict=False)
    method = cls(settings, info)
    method.init_classifier(model)
    method.train_mode(model)
    return method, model, teacher


def test_star_without_old_pixels_has_the_loss_of_its_base_step() -> None:
    """Nothing to replay and no background that is free: what remains is the mean over new classes' own pixels."""
    method, model, teacher = star(4, 2)
    masks = torch.randint(4, 6, (2, 64, 64), generator=torch.Generator().manual_seed(0))
    batch = batch_of(masks, [4, 5])
    empty = torch.zeros(3, 96, dtype=torch.float64)
    numbers = torch.tensor([100.0, 0, 0, 0], dtype=torch.float64)
    method.load_state({"numbers": numbers, "prototypes": empty, "norms": empty[:2, :3], "noise": empty}, resumed=False)
    method.calibrate([batch], teacher)
    with torch.no_grad():
        output = model(batch.images)
        terms = method.losses(Forward(batch, output, teacher(batch.images), 0))
        own = method.own_losses(Forward(batch, output, None, 0)).sum()
    assert terms["mbce"].item() == pytest.approx(own.item(), rel=1e-6)
    assert terms["pkd"].item() == terms["cont"].item() == 0


def test_star_replays_what_the_images_lack_and_decides_among_seen_classes(bench: Bench, tmp_path: Path) -> None:
    base = bench.base("star", "small_cnn")
    before = load_file(base / "method_state.safetensors")
    assert before["numbers"].shape == (16,) and before["prototypes"].shape == (15, 96)
    assert torch.allclose(
        before["prototypes"].norm(dim=1)[before["numbers"][1:] > 0], torch.ones((), dtype=torch.float64)
    )
    step = bench.step("star", "small_cnn", 1, base, tmp_path)
    drawn: list[float] = []
    real = step.method._replayed

    def watched(*arguments: Any) -> Any:
        found = real(*arguments)
        drawn.append(found[1])
        return found

    step.method._replayed = watched
    train_step(step)
    seen = load_file(tmp_path / "method_state.safetensors")
    missing = (before["numbers"][1:] - seen["predicted"][1:-1]).clamp(min=0) * 2 / seen["predicted"][-1]
    assert drawn == [float(missing.long().sum())] * 6
    assert seen["numbers"].shape == (17,) and torch.equal(seen["numbers"][1:16], before["numbers"][1:])
    assert torch.equal(seen["prototypes"][:15], before["prototypes"])
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert int(step.method.decode(step.model(images).logits).max()) <= 16


@pytest.mark.parametrize("kind", ["resnet", "aspp", "concatenated"])
@torch.no_grad()
def test_every_pair_merges_into_the_mean_of_its_branches(kind: str) -> None:
    torch.manual_seed(0)
    body = ResNetBody((1, 1, 1, 1))
    heads = {"aspp": AsppHead(8, 16, 4, 4), "concatenated": ConcatenatedHead(8, 16, 4), "resnet": nn.Identity()}
    split_branches(body, heads[kind], "toy")
    module = (body if kind == "resnet" else heads[kind]).double().eval()
    duals = list(dual_convolutions(module))
    assert len(duals) == 4
    for dual in duals:
        for tensor in (*dual.parameters(), *(b for b in dual.buffers() if b.is_floating_point())):
            nn.init.uniform_(tensor, 0.5, 1.5)
        x = torch.randn(1, dual.conv.in_channels, 9, 9, dtype=torch.float64)
        expected = dual(x)
        assert torch.equal(expected, dual(x)), "evaluation draws nothing"
        dual.merge()
        found = dual.norm(dual.conv(x))
        assert (found - expected).abs().max() < 1e-12 * expected.abs().max()


def test_a_network_of_one_branch_is_no_start_for_rcil(bench: Bench, tmp_path: Path) -> None:
    base = bench.base("ce", "small_cnn")
    with pytest.raises(ArtifactError, match="built with branches None, the method needs 2; train the base.* `ce_dual`"):
        bench.step("rcil", "small_cnn", 1, base, tmp_path)


def test_a_wrapper_asks_its_base_class() -> None:
    rcil = settings_of("nest", {"base": "rcil"})
    assert get("nest").recipe_for(rcil) == "ce_dual" and get("nest").network_options(rcil) == {"branches": 2}
    with pytest.raises(ValueError, match="ewf cannot fuse the networks of `rcil`"):
        get("ewf").network_options(settings_of("ewf", {"base": "rcil"}))
    ssul = settings_of("ewf", {"base": "ssul"})
    assert get("ewf").heads(ssul, (16, 1)).kind == "conv" and get("ewf").wants_saliency(ssul, "voc")
    with pytest.raises(ConfigError, match="unknown method `mibb`; did you mean `mib`"):
        settings_of("ewf", {"base": "mibb"})
    own = settings_of("ewf", {"base_settings": {"loss_kd": 3.0}})
    info = StepInfo("ade", "100-10", 1, (101, 10), 1, 0)
    assert get("ewf")(own, info).inner.settings.loss_kd == 3.0
    assert get("ewf")(settings_of("ewf", {}), info).inner.settings.loss_kd == 100.0
    with pytest.raises(ConfigError, match="unknown key `methods.mib.loss_kdd`"):
        get("ewf")(settings_of("ewf", {"base_settings": {"loss_kdd": 3.0}}), info)


class Watched(Method):
    """Records which hooks ran, and changes the newest bias in `finish`."""

    def __init__(self, settings: Any, info: StepInfo) -> None:
        super().__init__(settings, info)
        self.seen: list[Any] = []

    def prepare(self, model: Any, teacher: Any, passes: Callable[[int], Iterable[Batch]], lr: float) -> None:
        self.seen.append(("prepare", len(list(passes(2))), lr))

    def finish(self, model: Any, teacher: Any, batches: Callable[[], Iterable[Batch]]) -> None:
        whole = {key: value.clone() for key, value in model.state_dict().items()}
        self.seen.append(("finish", teacher is not None, len(list(batches())), whole))
        with torch.no_grad():
            model.classifiers[-1].bias.fill_(7.0)


def test_finish_changes_what_is_written_after_the_best_epoch_is_back(bench: Bench, tmp_path: Path) -> None:
    base = bench.base("ce", "small_cnn")
    step = bench.step("mib", "small_cnn", 1, base, tmp_path, keep="best")
    step.method = Watched(step.method.settings, step.method.info)
    (tmp_path / ".best").mkdir()
    (tmp_path / ".best" / "facts.json").write_text('{"score": 0.99, "epoch": 5}')  # of an interrupted, other training
    scores = iter([0.1, 0.9, 0.2, 0.3, 0.1, 0.2])
    after: list[dict[str, torch.Tensor]] = []

    def score(model: SegmentationModel) -> float:
        after.append({key: value.clone() for key, value in model.state_dict().items()})
        return next(scores)

    step.score = score
    train_step(step)
    prepared, finished = step.method.seen
    assert prepared == ("prepare", 2 * step.source.batches_per_epoch, 0.005)
    assert finished[:3] == ("finish", True, step.source.batches_per_epoch)
    assert all(torch.equal(finished[3][key], value) for key, value in after[1].items()), "the best epoch's weights"
    written = load_file(tmp_path / "model.safetensors")
    assert (written["classifiers.1.bias"] == 7).all() and not (tmp_path / ".best").exists()


def test_a_base_step_finishes_without_a_teacher(bench: Bench, tmp_path: Path) -> None:
    base = bench.base("ce", "small_cnn")
    step = bench.step("ft", "small_cnn", 1, base, tmp_path)
    step.teacher = None
    step.method = Watched(step.method.settings, step.method.info)
    train_step(step)
    assert [name for name, *_ in step.method.seen] == ["finish"] and step.method.seen[0][1] is False
