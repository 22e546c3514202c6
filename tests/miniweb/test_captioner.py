"""The shipped tiny captioner: loaded like any hub model, and as good as its card says."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.captioning.captioners import build
from pipeline.config import Captioner
from pipeline.miniweb.drawing import draw_scene
from pipeline.miniweb.drawing.captions import _WORDS

FOLDER = Path(__file__).parents[2] / "pipeline" / "miniweb" / "captioner"


@pytest.fixture(scope="module")
def captioner():  # type: ignore[no-untyped-def]
    return build(Captioner(model=str(FOLDER)))


def test_weights_are_those_of_the_card() -> None:
    about = json.loads((FOLDER / "training.json").read_text())
    weights = FOLDER / "model.safetensors"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == about["sha256"]
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 10_000_000


def test_batch_equals_single_and_images_matter(captioner) -> None:  # type: ignore[no-untyped-def]
    images = [draw_scene(np.random.default_rng((77, i)), [i + 1]).image for i in range(8)]
    batch = captioner.caption(images)
    assert batch == [captioner.caption([image])[0] for image in images]
    assert len(set(batch)) >= 6
    assert all(text and "\n" not in text for text in batch)


def test_names_what_is_drawn_and_makes_mistakes(captioner) -> None:  # type: ignore[no-untyped-def]
    scenes = [draw_scene(np.random.default_rng((78, i)), [i % 20 + 1]) for i in range(100)]
    texts = captioner.caption([scene.image for scene in scenes])
    hits = [any(w in t for c in s.class_ids for w in _WORDS[c]) for s, t in zip(scenes, texts, strict=True)]
    assert 60 <= sum(hits) < 100


@pytest.mark.slow
def test_training_rule_learns_and_reloads(tmp_path: Path) -> None:
    from pipeline.miniweb.captioner_training import train_captioner

    about = train_captioner(tmp_path / "model", seed=1, scenes=640, epochs=4)
    assert about["shown_class_named_percent"]["photo"] > 3
    again = build(Captioner(model=str(tmp_path / "model"), beams=1))
    assert again.caption([draw_scene(np.random.default_rng(0), [7]).image])[0]
