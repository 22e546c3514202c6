"""WILSON and Web-WILSS: the five terms of the weak step (web_wilss.md 4.2-4.10)."""

from __future__ import annotations

import numpy as np

from tests.oracle.pixels import Array, bce, sigmoid, softmax

DILATIONS = (1, 2, 4, 8, 12)
RING = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]


def masks_of(z: Array) -> Array:
    """Return the softmax of one image's logits (N, h, w)."""
    return np.stack([[softmax(z[:, i, j]) for j in range(z.shape[2])] for i in range(z.shape[1])]).transpose(2, 0, 1)


def classification(z: Array, labels: Array) -> float:
    """Return l_CLS (4.3); labels (B, K) name the last K channels."""
    values = []
    for b in range(len(z)):
        m = masks_of(z[b])
        for k, present in enumerate(labels[b]):
            c = z.shape[1] - labels.shape[1] + k
            size = m[c].mean()
            score = (m[c] * z[b, c]).sum() / (1 + m[c].sum()) + (1 - size) ** 3 * np.log(0.01 + size)
            values.append(bce(score, present))
    return float(np.mean(values))


def refined(image: Array, masks: Array) -> Array:
    """Return PAMR of one image (3, h, w) in [0, 1] and its masks (N, h, w) (4.6)."""
    _, height, width = masks.shape

    def around(i: int, j: int) -> list[tuple[int, int]]:
        near = [(i + d * dy, j + d * dx) for d in DILATIONS for dy, dx in RING]
        return [(min(max(y, 0), height - 1), min(max(x, 0), width - 1)) for y, x in near]

    weights = {}
    for i, j in np.ndindex(height, width):
        near = np.array([image[:, y, x] for y, x in around(i, j)])
        centre = image[:, i, j]
        sigma = np.std([*near, *[centre] * len(DILATIONS)], axis=0, ddof=1)
        weights[i, j] = softmax(-(np.abs(centre - near) / (1e-8 + 0.1 * sigma)).mean(axis=1))
    for _ in range(10):
        new = np.zeros_like(masks)
        for (i, j), w in weights.items():
            new[:, i, j] = sum(w[n] * masks[:, y, x] for n, (y, x) in enumerate(around(i, j)))
        masks = new
    return masks


def labelled(masks: Array, y: Array) -> Array:
    """Return the masks with absent classes at zero."""
    return masks * np.concatenate([[1.0], y])[:, None, None]


def hard_mask(masks: Array) -> Array:
    """Return G (4.7)."""
    ratio = [0.7] + [0.6] * (len(masks) - 1)
    g = np.stack([m > max(r * m.max(), 0.2) for r, m in zip(ratio, masks, strict=True)]).astype(float)
    return g * (g.sum(axis=0) <= 1)


def self_supervised(z: Array, g: Array, y: Array) -> float:
    """Return one image's part of l_SSS (4.8)."""
    count = g.sum(axis=(1, 2))
    if (count > 0).sum() != 1 + y.sum():
        return 0.0
    class_weight = (count.sum() - count) / (1 + count.sum())
    values = []
    for i, j in np.ndindex(*g.shape[1:]):
        loss = -np.log(softmax(z[:, i, j])[g[:, i, j].argmax()]) if g[:, i, j].any() else 0.0
        values.append((g[:, i, j] * class_weight).sum() * loss)
    return float(np.mean(values))


def mixed(z_eval: Array, y: Array, alpha: float) -> Array:
    """Return q of 4.9."""
    m = labelled(masks_of(z_eval), y)
    return alpha * (m == m.max(axis=0)) + (1 - alpha) * m


def segmentation(p: Array, old: Array, z_eval: Array, labels: Array, n_new: int, alpha: float) -> float:
    """Return l_SEG (4.9, 4.10) with the minimum as background target."""
    n_old, total, weight = old.shape[1], 0.0, 0.0
    for b, y in enumerate(labels):
        q, taught = mixed(z_eval[b], y, alpha), sigmoid(old[b])
        target = np.concatenate([[np.minimum(taught[0], q[0])], taught[1:], q[n_old:]])
        shown = [bool(q[c].sum() > 0) == bool(y[c - 1] == 1) for c in range(len(q) - n_new, len(q))]
        total += all(shown) * bce(p[b], target).sum(axis=0).mean()
        weight += all(shown)
    return float(total / (weight + 1e-5))


def terms(
    p: Array, old: Array, body: Array, old_body: Array, z_train: Array, z_eval: Array, images: Array, labels: Array,
    n_new: int, alpha: float, pseudo: bool,
) -> dict[str, float]:  # fmt: skip
    """Return the terms; l_SSS and l_SEG only where `pseudo`. images are in [0, 1] at the logits' size."""
    n_old = old.shape[1]
    found = {
        "cls": classification(z_train, labels[:, -n_new:]),
        "loc": float(bce(z_train[:, :n_old], sigmoid(old)).mean()),
        "enc": float(((body - old_body) ** 2).mean()),
    }
    if pseudo:
        hard = [hard_mask(labelled(refined(x, masks_of(z)), y)) for x, z, y in zip(images, z_eval, labels, strict=True)]
        parts = [self_supervised(z, g, y) for z, g, y in zip(z_train, hard, labels, strict=True)]
        found |= {"sss": float(np.mean(parts)), "seg": segmentation(p, old, z_eval, labels, n_new, alpha)}
    return found
