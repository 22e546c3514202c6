"""Drawn scenes: every class in every style, masks, captions, and spectra that differ."""

import numpy as np
import pytest
import torch

from pipeline.fourier_filter import radial_profile
from pipeline.miniweb.drawing import CLASS_NAMES, STYLES, describe, draw_scene, sample_class_ids
from pipeline.miniweb.drawing.captions import _WORDS


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("class_id", range(1, 21))
def test_every_class_is_drawn_in_every_style(class_id: int, style: str) -> None:
    scene = draw_scene(np.random.default_rng((class_id, 1)), [class_id], style=style)
    assert scene.image.size == (128, 96)
    assert scene.mask.shape == (96, 128)
    assert scene.class_ids == (class_id,)
    assert set(np.unique(scene.mask)) <= {0, class_id, 255}
    assert 0.02 < (scene.mask == class_id).mean() < 0.7


def test_same_generator_same_picture() -> None:
    first, second = (draw_scene(np.random.default_rng(5), [8, 18]) for _ in range(2))
    assert first.image.tobytes() == second.image.tobytes()
    assert (first.mask == second.mask).all()


def test_borders_are_void() -> None:
    mask = draw_scene(np.random.default_rng(2), [7]).mask
    inside = mask == 7
    touching = inside[:, :-1] & (mask[:, 1:] == 0)
    assert (mask == 255).any() and not touching.any()


def test_objects_do_occlude_each_other() -> None:
    counts = [len(draw_scene(np.random.default_rng(i), [18, 8, 15]).class_ids) for i in range(40)]
    assert max(counts) == 3
    assert min(counts) < 3


@pytest.mark.parametrize(("arguments", "message"), [(([21],), "21"), (([],), "at least one")])
def test_unknown_classes_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_scene(np.random.default_rng(0), *arguments)
    with pytest.raises(ValueError, match="unknown style 'oil'"):
        draw_scene(np.random.default_rng(0), [1], style="oil")


def test_statistics_are_near_voc_s() -> None:
    rng = np.random.default_rng(0)
    drawn = [sample_class_ids(rng, i % 20 + 1) for i in range(2000)]
    assert 1.35 < np.mean([len(set(ids)) for ids in drawn]) < 1.65
    counts = np.bincount([c for ids in drawn for c in set(ids)], minlength=21)[1:]
    assert counts.argmax() + 1 == CLASS_NAMES.index("person")
    assert all(ids[0] == i % 20 + 1 for i, ids in enumerate(drawn))


def test_captions_name_every_visible_class() -> None:
    for i in range(60):
        rng = np.random.default_rng((9, i))
        scene = draw_scene(rng, sample_class_ids(rng))
        text = describe(scene, rng)
        for class_id in scene.class_ids:
            assert any(word in text for word in _WORDS[class_id]), (text, class_id)


@pytest.mark.parametrize("style", STYLES[1:])
def test_styles_leave_another_trace_in_the_spectrum(style: str) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    def profiles(which: str) -> np.ndarray:
        scenes = [draw_scene(np.random.default_rng((4, i)), [i % 20 + 1], style=which) for i in range(60)]
        stack = np.stack([np.asarray(s.image.crop((16, 0, 112, 96))) for s in scenes])
        return radial_profile(torch.from_numpy(stack).permute(0, 3, 1, 2).float() / 255).numpy()

    features = np.concatenate([profiles("photo"), profiles(style)])
    features = (features - features.mean(0)) / features.std(0)
    truth = np.r_[np.zeros(60), np.ones(60)]
    assert cross_val_score(LogisticRegression(C=0.3), features, truth, cv=4, scoring="roc_auc").mean() > 0.9
