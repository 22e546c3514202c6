"""Fitting a discriminator to two sets of pictures, and measuring it."""

from __future__ import annotations

import copy

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config import Discriminator as Settings
from pipeline.fourier_filter.discriminator import Discriminator
from pipeline.fourier_filter.pictures import augment, centre
from pipeline.fourier_filter.spectra import radial_profile
from pipeline.metrics.auroc import auroc


def fit(
    dataset: Tensor, web: Tensor, settings: Settings, epochs: int, domain: str = "fourier", seed: int = 42
) -> tuple[Discriminator, float]:
    """Return (discriminator, validation AUROC) trained on uint8 pictures of both domains.

    90/10 split by image, balanced batches, AdamW with cosine decay; the epoch of best validation AUROC is
    kept and its temperature fitted on the validation split.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    parts = [_split(pictures, generator) for pictures in (dataset, web)]
    (train_a, held_a), (train_b, held_b) = parts
    model = Discriminator(settings, domain)
    model.standardise_by(train_a)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    half = settings.batch_size // 2
    steps = max(1, max(len(train_a), len(train_b)) // half)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps)
    best, kept = -1.0, model.state_dict()
    for _ in range(epochs):
        model.train()
        for _ in range(steps):
            _step(model, optimizer, [_sample(p, half, generator) for p in (train_a, train_b)], generator)
            schedule.step()
        value = auroc(model.scores(held_a).numpy(), model.scores(held_b).numpy())
        # Ties go to the later epoch: a perfect ranking comes long before a calibrated one.
        if value >= best:
            best, kept = value, copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)
    _calibrate(model, held_a, held_b)
    return model.eval(), best


def fit_profile(dataset: Tensor, web: Tensor, settings: Settings) -> object:
    """Return the light baseline: logistic regression on standardised radial profiles."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=1000))
    features = np.concatenate([profile_features(p, settings) for p in (dataset, web)])
    model.fit(features, np.r_[np.ones(len(dataset)), np.zeros(len(web))])
    return model


def profile_features(pictures: Tensor, settings: Settings) -> NDArray[np.float32]:
    """Return the radial profiles (N, crop / 2) of uint8 pictures."""
    profile: NDArray[np.float32] = radial_profile(centre(pictures, settings.crop)).float().numpy()
    return profile


def _split(pictures: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    if len(pictures) < 2:
        raise ValueError(f"the discriminator needs at least 2 images of each domain, got {len(pictures)}")
    order = torch.randperm(len(pictures), generator=generator)
    held = max(1, len(pictures) // 10)
    return pictures[order[held:]], pictures[order[:held]]


def _sample(pictures: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return pictures[torch.randint(len(pictures), (count,), generator=generator)]


def _step(
    model: Discriminator, optimizer: torch.optim.Optimizer, halves: list[Tensor], generator: torch.Generator
) -> None:
    images = augment(torch.cat(halves), model.settings.crop, generator)
    target = torch.arange(2).repeat_interleave(len(halves[0]))
    loss = F.cross_entropy(model(images), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _calibrate(model: Discriminator, dataset: Tensor, web: Tensor) -> None:
    # Both domains weigh the same, as in training, whatever their numbers.
    a, b = model.scores(dataset).clone(), model.scores(web).clone()
    best = min(
        (float(F.softplus(-a / t).mean() + F.softplus(b / t).mean()), t) for t in torch.logspace(-1, 1.5, 60).tolist()
    )
    model.get_buffer("temperature").fill_(best[1])
