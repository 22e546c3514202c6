"""The small SegFormer: its maps, that it learns, and that methods for either kind of body run on it."""

import pytest
import torch
import torch.nn.functional as F

from pipeline.losses import attention_transfer, cross_entropy
from pipeline.methods import Batch, Forward, StepInfo, get, settings_of
from pipeline.models import build_model
from pipeline.models.network import SegmentationModel


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def test_shapes_at_the_training_crop() -> None:
    output = build_model("small_segformer", [16, 5]).eval()(torch.randn(2, 3, 96, 96))
    assert output.logits.shape == (2, 21, 24, 24) and output.body.shape == (2, 96, 24, 24)
    assert [tuple(x.shape[1:]) for x in output.maps] == [
        *((32, 24, 24), (48, 12, 12), (96, 6, 6), (128, 3, 3)),
        (96, 24, 24),
    ]
    assert [tuple(x.shape[1:]) for x in output.attention] == [(1, 576, 36), (2, 144, 36), (3, 36, 36), (4, 9, 9)]


def test_images_need_not_be_multiples_of_the_stride() -> None:
    output = build_model("small_segformer", [3]).eval()(torch.randn(1, 3, 75, 54))
    assert output.logits.shape == (1, 3, 19, 14) and output.body.shape[2:] == (19, 14)


def _squares(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise with a square of brighter red (class 1) or brighter blue (class 2)."""
    images, masks = torch.randn(n, 3, 48, 48), torch.zeros(n, 48, 48, dtype=torch.int64)
    for i in range(n):
        row, column = torch.randint(0, 24, (2,)).tolist()
        box = (slice(row, row + 24), slice(column, column + 24))
        images[i, 2 * (i % 2)][box] += 2
        masks[i][box] = 1 + i % 2
    return images, masks


def test_it_learns_with_the_engine_s_optimiser() -> None:
    model = build_model("small_segformer", [3])
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=1e-4)
    for _ in range(40):
        images, masks = _squares(8)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(images).logits
        loss = cross_entropy(F.interpolate(logits.float(), size=(48, 48), mode="bilinear"), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    images, masks = _squares(16)
    with torch.inference_mode():
        predicted = F.interpolate(model.eval()(images).logits, size=(48, 48), mode="bilinear").argmax(dim=1)
    for c in (1, 2):
        union = ((predicted == c) | (masks == c)).sum()
        assert ((predicted == c) & (masks == c)).sum() / union > 0.6, f"IoU of class {c}"


def _student_and_teacher(images: torch.Tensor) -> tuple[SegmentationModel, Forward]:
    student, teacher = build_model("small_segformer", [3, 2]), build_model("small_segformer", [3]).eval()
    masks = torch.randint(0, 5, (len(images), *images.shape[2:]))
    batch = Batch(images, masks, torch.eye(4)[: len(images)], ("a", "b"), ("dataset", "dataset"))
    with torch.no_grad():
        old = teacher(images)
    return student, Forward(batch, student(images), old, epoch=5)


def test_attention_transfer_reaches_the_queries_of_every_stage() -> None:
    student, forward = _student_and_teacher(torch.randn(2, 3, 64, 64))
    assert forward.teacher is not None
    attention_transfer(forward.student.attention, forward.teacher.attention, forward.batch.masks).backward()
    for stage in student.body.encoder.stages:
        assert stage.blocks[-1].attn.q.weight.grad.abs().sum() > 0


def test_wilson_runs_on_it_unchanged() -> None:
    """Its localizer, on the body, and the teacher's logits must have one resolution."""
    student, forward = _student_and_teacher(torch.randn(2, 3, 64, 64))
    method = get("wilson")(settings_of("wilson", {}), StepInfo("minivoc", "15-5", 1, (3, 2), 40, 0))
    method.attach(student)
    terms = method.losses(forward)
    assert set(terms) == {"cls", "loc", "enc", "sss", "seg"}
    assert all(torch.isfinite(term) for term in terms.values())
