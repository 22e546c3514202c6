"""Checks W40-W43 and tests T1, T2, T4, T5 of web_wilss.md 6.8."""

import numpy as np
import pytest
import torch

from pipeline.config import Discriminator as Settings
from pipeline.fourier_filter import log_amplitude, radial_profile, select
from pipeline.fourier_filter.discriminator import efficientnet_b0
from pipeline.fourier_filter.spectra import amplitude, swapped_entries
from pipeline.fourier_filter.training import fit_profile, profile_features
from pipeline.metrics.auroc import auroc

RAMP = (torch.arange(16, dtype=torch.float64) / 16).view(1, 1, 4, 4)
WAVE = torch.sin(torch.arange(64, dtype=torch.float64)).view(1, 1, 8, 8)


def test_W40_small_ramp() -> None:
    expected = [[0, 0, 0.5, 0], [0, 0, 0.707107, 0], [0.125, 0.176777, 1.875, 0.176777], [0, 0, 0.707107, 0]]
    assert np.allclose(amplitude(RAMP)[0, 0], expected, atol=1e-5)
    logs = log_amplitude(RAMP)[0, 0]
    assert [float(logs[2, 2]), float(logs[0, 2]), float(logs[0, 0])] == pytest.approx(
        [0.629142, -0.691149, -6.907755], abs=1e-5
    )
    assert radial_profile(RAMP)[0].tolist() == pytest.approx([0.546003, -0.876761], abs=1e-5)


def test_W41_wave() -> None:
    a = amplitude(WAVE)[0, 0]
    assert float(a.sum()) == pytest.approx(24.009258, abs=1e-5)
    assert float(a[4, 4]) == pytest.approx(0.012073, abs=1e-5)
    assert float(log_amplitude(WAVE).mean()) == pytest.approx(-1.670083, abs=1e-5)
    assert float((a**2).sum()) == pytest.approx(31.461033, abs=1e-5)
    assert float((WAVE**2).sum()) == pytest.approx(31.461033, abs=1e-5)
    assert radial_profile(WAVE)[0].tolist() == pytest.approx([-3.836323, -1.030327, 0.225907, -0.830961], abs=1e-5)


def test_W42_T1_shifts_do_not_matter() -> None:
    rolled = torch.roll(WAVE, (1, 2), dims=(2, 3))
    assert float((log_amplitude(rolled) - log_amplitude(WAVE)).abs().max()) < 1e-12


def test_W42_parameters_of_efficientnet_b0() -> None:
    assert sum(p.numel() for p in efficientnet_b0().parameters()) == 4_010_110


def test_W42_T2_point_symmetry() -> None:
    a = amplitude(torch.rand(1, 1, 9, 9, dtype=torch.float64))[0, 0]
    assert torch.allclose(a, a.flip(0, 1))


def test_W42_T5_selection() -> None:
    scores = [2, -1, 0.5, 0, 3]
    assert select(scores, 2, "threshold") == [4, 0]
    assert select(scores, 4, "threshold") == [4, 0, 2]
    assert select(scores, 4, "threshold_then_topk") == [4, 0, 2, 3]
    assert select(scores, 3, "topk") == [4, 0, 2]
    assert select([1, 1, 1], 2, "topk", names=["c", "a", "b"]) == [1, 2]
    with pytest.raises(ValueError, match="unknown selection rule `best`"):
        select(scores, 2, "best")  # type: ignore[arg-type]


def test_W43_fda_window() -> None:
    assert [swapped_entries(6, 6, share) for share in (0.01, 0.2, 0.34)] == [0, 4, 16]


def pink(rng: np.random.Generator, slope: float, shape: str) -> np.ndarray:
    """64x64 noise whose power falls as f^-slope, with a shape drawn on it."""
    fy, fx = np.meshgrid(np.fft.fftfreq(64), np.fft.rfftfreq(64), indexing="ij")
    f = np.hypot(fy, fx)
    f[0, 0] = 1
    field = np.fft.irfft2(f ** (-slope / 2) * np.exp(2j * np.pi * rng.random(f.shape)), s=(64, 64))
    image = 0.5 + 0.15 * field / field.std()
    y, x = np.mgrid[:64, :64] - rng.integers(22, 42, 2)[:, None, None]
    r = rng.integers(6, 12)
    inside = {
        "disk": x**2 + y**2 < r**2,
        "rectangle": (abs(x) < r) & (abs(y) < r / 2),
        "bar": (abs(x) < r / 3) & (abs(y) < 2 * r),
        "cross": ((abs(x) < r / 3) & (abs(y) < r)) | ((abs(y) < r / 3) & (abs(x) < r)),
    }[shape]
    image[inside] += 0.1
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


def pictures(seed: int, slope: float, shapes: tuple[str, str], count: int = 300) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    stack = np.stack([pink(rng, slope, shapes[i % 2]) for i in range(count)])
    return torch.from_numpy(stack)[:, None].repeat(1, 3, 1, 1)


def test_W42_T4_synthetic_domains() -> None:
    settings = Settings(crop=64, resize=64)
    seen, unseen = ("disk", "rectangle"), ("bar", "cross")
    model = fit_profile(pictures(0, 2.0, seen), pictures(1, 2.4, seen), settings)
    test = pictures(2, 2.0, unseen), pictures(3, 2.4, unseen)
    scores = [model.decision_function(profile_features(p, settings)) for p in test]  # type: ignore[attr-defined]
    assert auroc(*scores) >= 0.98

    def pooled(p: torch.Tensor) -> np.ndarray:
        return torch.nn.functional.avg_pool2d(p[:, :1].float(), 8).flatten(1).numpy()

    from sklearn.linear_model import LogisticRegression

    pixels = LogisticRegression(max_iter=2000)
    train = [pooled(pictures(seed, slope, seen)) for seed, slope in ((0, 2.0), (1, 2.4))]
    pixels.fit(np.concatenate(train), [1] * 300 + [0] * 300)
    assert auroc(*(pixels.decision_function(pooled(p)) for p in test)) <= 0.65
    same = fit_profile(pictures(4, 2.2, seen), pictures(5, 2.2, seen), settings)
    twins = [profile_features(pictures(seed, 2.2, unseen), settings) for seed in (6, 7)]
    assert abs(auroc(*(same.decision_function(f) for f in twins)) - 0.5) <= 0.08  # type: ignore[attr-defined]
