"""The transformers captioner on tiny random models, and the captioning stage with its resume."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.captioning import beams
from pipeline.artifacts import CAPTIONS, read_table
from pipeline.captioning.captioners import Captioner as AnyCaptioner
from pipeline.captioning.captioners import Source, build
from pipeline.captioning.captions import caption, dataset_sources
from pipeline.config import Captioner
from pipeline.datasets.images import open_image
from pipeline.miniweb.drawing import draw_scene
from tests.captioning.tiny_models import ARCHITECTURES
from tests.conftest import CAPTIONER, ROOT

BUILD = """
import sys
from pipeline.captioning.captioners import build
from pipeline.config import Captioner
print(build(Captioner(model="someone/tiny", revision=sys.argv[1])).revision)
"""


def images(n: int = 4) -> list[Image.Image]:
    return [draw_scene(np.random.default_rng(i), [i + 1]).image for i in range(n)]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    import torch

    if request.param == "smolvlm":
        pytest.importorskip("num2words", reason="SmolVLM's processor needs it; envs/main.lock.txt holds it")
    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    ARCHITECTURES[request.param](folder)
    return request.param, str(folder)


@pytest.mark.parametrize("prompt", ["", "a photo of"])
def test_any_architecture_batch_equals_single(model: tuple[str, str], prompt: str, one_thread: None) -> None:
    captioner: Any = build(Captioner(model=model[1], prompt=prompt, max_new_tokens=6))
    batch = captioner.caption(images())
    assert len(batch) == 4 and all("\n" not in text for text in batch)
    assert batch == [captioner.caption([image])[0] for image in images()]
    assert len(captioner.revision) == 64
    if prompt:
        assert not any(text.startswith(prompt) for text in batch)


@pytest.mark.slow
def test_commit_of_a_hub_model_is_recorded(tmp_path: Path) -> None:
    """By name from the hub's own cache folder, which holds two commits; `main` is the newer one."""
    old, new = "a" * 40, "b" * 40
    cache = tmp_path / "models--someone--tiny"
    for commit in (old, new):
        ARCHITECTURES["git"](cache / "snapshots" / commit)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(new)
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path)}
    for wanted, found in ((old, old), ("main", new), ("", new)):
        command = [sys.executable, "-c", BUILD, wanted]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.stdout.strip() == found, done.stderr
    done = subprocess.run([sys.executable, "-c", BUILD, "c" * 40], cwd=ROOT, env=environment, capture_output=True)
    assert b"captioner `someone/tiny` cannot be loaded" in done.stderr.splitlines()[-1]


def test_images_reach_the_language_model(model: tuple[str, str], one_thread: None) -> None:
    """Logits after the prompt depend on the pixels, for every architecture."""
    import torch

    captioner: Any = build(Captioner(model=model[1], prompt="a photo of"))
    with torch.inference_mode():
        for weight in captioner.network.parameters():
            weight.mul_(5 if weight.ndim > 1 else 1)
        first, second = (captioner.network(**captioner.prepare([i])).logits[:, -1] for i in images(2))
    assert (first - second).abs().max() > 1e-5


def test_float64_captions_do_not_depend_on_the_batch(tmp_path: Path, one_thread: None) -> None:
    """Even those of a drawing whose two best beams are so close that in float32 the batch size decides."""
    import torch

    drawn = draw_scene(np.random.default_rng((5, 119)), [20]).image
    drawn.resize((3 * drawn.width, 3 * drawn.height)).save(tmp_path / "tied.jpg", quality=90)
    batch = [open_image(str(tmp_path / "tied.jpg")), *images(7)]
    captioner: Any = build(Captioner(model=str(CAPTIONER), dtype="float64"))
    assert captioner.caption(batch) == [captioner.caption([image])[0] for image in batch]
    alone, among = (beams(captioner, found, torch.float64) for found in (batch[:1], batch))
    assert alone == among
    best, second, *_ = sorted(alone.values(), reverse=True)
    assert 0 < best - second < 1e-5, "the drawing is no tie any more; find another"


@pytest.mark.parametrize(
    ("text", "prompt", "line"),
    [
        ("An image of  a dog\non grass \n", "An image of", "a dog on grass"),
        ("a dog on grass", "An image of", "a dog on grass"),
        (" a photo\n of a dog", "a photo of", "a dog"),
        ("a photo of a dog", "", "a photo of a dog"),
    ],
)
def test_a_caption_is_one_line_without_the_prompt(text: str, prompt: str, line: str) -> None:
    from pipeline.captioning.captioners.generation import one_line

    assert one_line(text, prompt) == line


def test_missing_model_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="captioner `.*` cannot be loaded"):
        build(Captioner(model=str(tmp_path)))


class Recorder(AnyCaptioner):
    """A captioner that says how bright an image is, and may be told to die."""

    model, revision = "recorder", "1"

    def __init__(self, dies_after: int = 10**9) -> None:
        self.calls: list[int] = []
        self.dies_after = dies_after

    def generate(self, images: Sequence[Image.Image]) -> list[str]:
        if len(self.calls) >= self.dies_after:
            raise KeyboardInterrupt
        self.calls.append(len(images))
        return [f"brightness {np.asarray(image).mean():.3f}" for image in images]


def rows_of(path: Path) -> list[tuple[str, str, str]]:
    return [(row["image_id"], row["caption"], row["reason"]) for row in read_table(path, CAPTIONS)]


def test_interrupted_captioning_continues_batch_by_batch(protocols: list[Path], tmp_path: Path) -> None:
    sources = dataset_sources(protocols[0])[:23]
    settings = Captioner(batch_size=5)
    caption(sources, settings, tmp_path / "whole.parquet", Recorder())
    with pytest.raises(KeyboardInterrupt):
        caption(sources, settings, tmp_path / "cut.parquet", Recorder(dies_after=2))
    assert not (tmp_path / "cut.parquet").exists()
    partial = tmp_path / ".cut.parquet.partial.jsonl"
    partial.write_text(partial.read_text() + '[{"image_id": "half a li')
    again = Recorder()
    caption(sources, settings, tmp_path / "cut.parquet", again)
    assert again.calls == [5, 5, 3]
    assert rows_of(tmp_path / "cut.parquet") == rows_of(tmp_path / "whole.parquet")
    assert not partial.exists()


def test_other_settings_do_not_reuse_old_captions(protocols: list[Path], tmp_path: Path) -> None:
    sources = dataset_sources(protocols[0])[:10]
    with pytest.raises(KeyboardInterrupt):
        caption(sources, Captioner(batch_size=5), tmp_path / "c.parquet", Recorder(dies_after=1))
    again = Recorder()
    caption(sources, Captioner(batch_size=5, prompt="other"), tmp_path / "c.parquet", again)
    assert again.calls == [5, 5]


def test_broken_image_is_a_row_with_a_reason(protocols: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"not an image")
    sources = [Source("bad", str(bad)), *dataset_sources(protocols[0])[:2], Source("gone", "nowhere.jpg")]
    caption(sources, Captioner(), tmp_path / "c.parquet", Recorder())
    rows = rows_of(tmp_path / "c.parquet")
    assert [bool(reason) for _, _, reason in rows] == [True, False, False, True]
    assert "cannot be decoded" in rows[0][2] and "does not exist" in rows[3][2] and rows[0][1] == ""


def no_memory_on_gpu() -> None:
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def no_memory_on_cpu() -> None:
    import torch

    torch.empty(10**15)


def no_memory_for_python() -> None:
    raise MemoryError


@pytest.mark.parametrize("fail", [no_memory_on_gpu, no_memory_on_cpu, no_memory_for_python])
def test_out_of_memory_halves_the_batch_and_goes_on(
    fail: Callable[[], None], protocols: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Small(Recorder):
        def generate(self, images: Sequence[Image.Image]) -> list[str]:
            if len(images) > 2:
                fail()
            return super().generate(images)

    small = Small()
    sources = dataset_sources(protocols[0])[:13]
    caption(sources, Captioner(batch_size=8), tmp_path / "a.parquet", small)
    caption(sources, Captioner(batch_size=8), tmp_path / "b.parquet", Recorder())
    assert small.calls == [2] * 6 + [1], "the second batch is not tried whole again"
    assert rows_of(tmp_path / "a.parquet") == rows_of(tmp_path / "b.parquet")
    said = capsys.readouterr().err
    assert [f"for {size} images, going on with {size // 2}" in said for size in (8, 4, 5, 2)] == [
        True,
        True,
        False,
        False,
    ]


def test_other_errors_of_the_model_are_not_taken_for_lack_of_memory(protocols: list[Path], tmp_path: Path) -> None:
    class Broken(Recorder):
        def generate(self, images: Sequence[Image.Image]) -> list[str]:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        caption(dataset_sources(protocols[0])[:4], Captioner(batch_size=4), tmp_path / "c.parquet", Broken())


def test_importing_light_stages_does_not_import_torch() -> None:
    light = "captioning crawl_ingest datasets.images datasets.protocol fourier_filter pseudolabel train eval miniweb"
    imports = ", ".join(f"pipeline.{name}" for name in light.split())
    code = f"import sys, {imports}\nassert 'torch' not in sys.modules, 'torch was imported'"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
