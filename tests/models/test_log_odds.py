"""Softmax logits as sigmoid logits: same decisions, same probabilities, finite gradients."""

from pathlib import Path

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.models import build_model, load_model, save_model
from pipeline.models.log_odds import log_odds

# Steps of 1/64: two logits are equal or differ by more than rounding, as bfloat16's own would.
logits = arrays.arrays(
    np.float32,
    st.tuples(st.just(1), st.integers(2, 9), st.integers(1, 3), st.integers(1, 3)),
    elements=st.integers(-1500, 1500).map(lambda n: n / 64),
)


@given(logits)
@settings(deadline=None)
def test_decisions_stay(values: np.ndarray) -> None:
    scores = log_odds(torch.from_numpy(values)).numpy()
    assert np.isfinite(scores).all()
    # Of logits that are equal either may be chosen.
    chosen = np.take_along_axis(values, scores.argmax(axis=1)[:, None], axis=1)
    np.testing.assert_array_equal(chosen[:, 0], values.max(axis=1))


@given(logits)
@settings(deadline=None)
def test_a_sigmoid_gives_the_softmax_probabilities(values: np.ndarray) -> None:
    exact = np.exp(values.astype(np.float64) - values.max(axis=1, keepdims=True))
    exact /= exact.sum(axis=1, keepdims=True)
    found = 1 / (1 + np.exp(-log_odds(torch.from_numpy(values)).numpy().astype(np.float64)))
    np.testing.assert_allclose(found, exact, rtol=2e-4, atol=1e-12)


@pytest.mark.parametrize("gap", [0.0, 1.0, 90.0, 3000.0])
def test_a_sure_model_has_finite_scores_and_gradients(gap: float) -> None:
    z = torch.tensor([gap, 0.0, -gap]).view(1, 3, 1, 1).requires_grad_()
    scores = log_odds(z)
    # z_0 - log(1 + exp(-gap)), written out for the greatest of three
    expected = gap - float(np.log1p(np.exp(-gap)))
    assert float(scores.detach()[0, 0, 0, 0]) == pytest.approx(expected, abs=1e-4)
    torch.nn.functional.binary_cross_entropy_with_logits(scores, torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1)).backward()
    assert z.grad is not None and bool(torch.isfinite(z.grad).all())


def test_gradient_is_that_of_the_formula() -> None:
    torch.manual_seed(0)
    z = torch.randn(2, 4, 3, 3, requires_grad=True)
    weight = torch.randn(2, 4, 3, 3)
    (log_odds(z) * weight).sum().backward()
    ours, other = z.grad, z.detach().clone().requires_grad_()
    rows = [other[:, c] - torch.cat([other[:, :c], other[:, c + 1 :]], dim=1).logsumexp(dim=1) for c in range(4)]
    (torch.stack(rows, dim=1) * weight).sum().backward()
    torch.testing.assert_close(ours, other.grad, rtol=1e-4, atol=1e-5)


def test_the_option_reads_the_first_channels_alone_and_is_saved(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = build_model("small_cnn", [3, 2]).eval()
    read = build_model("small_cnn", [3, 2], options={"log_odds": 3}).eval()
    read.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        before, after = plain(images).logits, read(images).logits
        torch.testing.assert_close(after[:, :3], log_odds(before[:, :3]))
        torch.testing.assert_close(after[:, 3:], before[:, 3:])
        save_model(tmp_path / "m.safetensors", read, {})
        torch.testing.assert_close(load_model(tmp_path / "m.safetensors")(images).logits, after)


@pytest.mark.parametrize("value", [1, 6, -2, "3"])
def test_a_wrong_option_is_one_line(value: object) -> None:
    with pytest.raises(ValueError, match=r"option log_odds is .*, expected 0 or a number of channels from 2 to 5"):
        build_model("small_cnn", [3, 2], options={"log_odds": value})
