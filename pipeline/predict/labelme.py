"""Masks as labelme's polygons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from contourpy import LineType, contour_generator
from numpy.typing import NDArray
from scipy import ndimage

BACKGROUND = "_background_"
"""What labelme calls pixels of no class."""
TOLERANCE = 0.75
"""How far, in pixels, an outline may leave the mask's own."""
Points = NDArray[np.float64]


def labelme_file(
    mask: NDArray[np.uint8],
    class_names: Sequence[str],
    background: int | None,
    image_path: str,
    tolerance: float = TOLERANCE,
) -> dict[str, Any]:
    """Return the content of a labelme file for a mask (H, W).

    Each connected region is the polygon of its outer outline. Polygons have no holes: what lies inside a region
    comes later in the list, the background too, and is drawn over it.
    """
    shapes = [
        {
            "label": BACKGROUND if value == background else class_names[value],
            "points": points.round(2).tolist(),
            "group_id": None,
            "description": "",
            "shape_type": "polygon",
            "flags": {},
        }
        for value, points in outlines(mask, background, tolerance)
    ]
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": image_path,
        "imageData": None,
        "imageHeight": int(mask.shape[0]),
        "imageWidth": int(mask.shape[1]),
    }


def outlines(mask: NDArray[np.uint8], background: int | None, tolerance: float) -> list[tuple[int, Points]]:
    """Return (class, outline) of every region, larger outlines first; points are (x, y), a pixel covers [i, i + 1)."""
    found: list[tuple[float, int, Points]] = []
    for value in np.unique(mask).tolist():
        regions, _ = ndimage.label(mask == value)
        for number, place in enumerate(ndimage.find_objects(regions), 1):
            rows, columns = place
            border = rows.start == 0 or columns.start == 0
            border = border or rows.stop == mask.shape[0] or columns.stop == mask.shape[1]
            if value == background and border:
                continue  # nothing can lie around it
            points = _outline(regions[place] == number) + np.array([columns.start, rows.start])
            found.append((_area(points), value, simplified(points, tolerance)))
    found.sort(key=lambda item: -item[0])
    return [(value, points) for _, value, points in found]


def _outline(region: NDArray[np.bool_]) -> Points:
    padded = np.pad(region.astype(np.float64), 1)
    lines: Any = contour_generator(z=padded, line_type=LineType.Separate).lines(0.5)
    outer = max(lines, key=_area)
    # Contours run between pixel centres; the padding moved them by one, a centre lies at one half.
    points: Points = np.asarray(outer)[:-1] - 0.5
    return points


def _area(points: Points) -> float:
    x, y = np.asarray(points).T
    return float(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2)


def simplified(points: Points, tolerance: float) -> Points:
    """Return a closed outline with fewer points, none of the others further than `tolerance` from it (Douglas and
    Peucker); one that would vanish comes back whole.
    """
    if tolerance <= 0 or len(points) < 5:
        return points
    far = int(np.argmax(((points - points[0]) ** 2).sum(axis=1)))
    closed = np.concatenate([points, points[:1]])
    keep = np.zeros(len(closed), bool)
    keep[[0, far, len(points)]] = True
    spans = [(0, far), (far, len(points))]
    while spans:
        start, end = spans.pop()
        if end - start < 2:
            continue
        distances = _distances(closed[start + 1 : end], closed[start], closed[end])
        worst = int(np.argmax(distances))
        if distances[worst] > tolerance:
            middle = start + 1 + worst
            keep[middle] = True
            spans += [(start, middle), (middle, end)]
    kept: Points = closed[:-1][keep[:-1]]
    return kept if len(kept) >= 3 else points


def _distances(points: Points, start: Points, end: Points) -> NDArray[np.float64]:
    along = end - start
    length = float(np.hypot(*along))
    offset = points - start
    if length == 0:
        return np.hypot(offset[:, 0], offset[:, 1])
    distances: NDArray[np.float64] = np.abs(along[0] * offset[:, 1] - along[1] * offset[:, 0]) / length
    return distances
