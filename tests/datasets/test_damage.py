"""Damaged images, masks and shards: one line with the file's name, and never wrong pixels without a word."""

import io
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.datasets import DatasetError
from pipeline.datasets.images import open_image, open_mask, read_bytes
from pipeline.datasets.readers.voc import Item, presence

LABELS = np.kron(np.random.default_rng(0).integers(0, 21, (6, 8)), np.ones((5, 5))).astype(np.uint8)
COLOURS = np.random.default_rng(1).integers(0, 255, (24, 32, 3), dtype=np.uint8)


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


MASK, PHOTO, DRAWING = encoded(LABELS, "PNG"), encoded(COLOURS, "JPEG"), encoded(COLOURS, "PNG")
damaging = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def refusal(read: Callable[[str], object], path: Path, content: bytes) -> str | None:
    """The message of the DatasetError that reading `content` raises, None if it was read."""
    path.write_bytes(content)
    try:
        read(str(path))
    except DatasetError as error:
        return str(error)
    return None


def assert_clear(message: str | None, path: Path) -> None:
    assert message and str(path) in message and "\n" not in message and "object at 0x" not in message
    assert any(advice in message for advice in ("replace", "rerun the ingestion", "expected"))


def test_a_mask_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    # The last four bytes are the checksum of an empty chunk: every pixel is there without them.
    for end in range(len(MASK) - 4):
        assert_clear(refusal(open_mask, path, MASK[:end]), path)
    assert refusal(open_mask, path, MASK) is None


@pytest.mark.parametrize("content", [PHOTO, DRAWING], ids=["jpeg", "png"])
def test_an_image_cut_in_its_pixels_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "i"
    for end in range(0, len(content) - 40, 7):
        assert_clear(refusal(open_image, path, content[:end]), path)
    assert refusal(open_image, path, content) is None


def test_every_flipped_bit_of_a_mask_is_noticed_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    for position in range(len(MASK)):
        flipped = bytearray(MASK)
        flipped[position] ^= 1 << (position % 8)
        message = refusal(open_mask, path, bytes(flipped))
        if message is None:
            assert np.array_equal(open_mask(str(path)), LABELS), f"byte {position} changed labels"
        else:
            assert_clear(message, path)


@damaging
@given(
    st.sampled_from([PHOTO, DRAWING, MASK]), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=8)
)
def test_any_damage_of_an_image_is_a_dataset_error_or_an_image(
    tmp_path: Path, content: bytes, changes: list[tuple[int, int]]
) -> None:
    path, damaged = tmp_path / "i", bytearray(content)
    for position, value in changes:
        damaged[position % len(damaged)] = value
    for read in (open_image, open_mask):
        message = refusal(read, path, bytes(damaged))
        if message is not None:
            assert_clear(message, path)


def test_empty_files_other_formats_and_folders(tmp_path: Path) -> None:
    assert "the file is empty" in (refusal(open_image, tmp_path / "a.jpg", b"") or "")
    assert "no known image format" in (refusal(open_mask, tmp_path / "b.png", b"<html>not found</html>") or "")
    for read in (open_image, open_mask, read_bytes):
        with pytest.raises(DatasetError, match=r"cannot be read \(Is a directory\)"):
            read(str(tmp_path))


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    bomb = MASK[:12] + header + struct.pack(">I", zlib.crc32(header)) + MASK[33:]
    for read in (open_image, open_mask):
        message = refusal(read, tmp_path / "bomb.png", bomb)
        assert message and "decompression bomb" in message and "bomb.png" in message


def shard(path: Path, names: tuple[str, ...] = ("a.jpg", "b.jpg")) -> Path:
    with tarfile.open(path, "w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(PHOTO)
            tar.addfile(info, io.BytesIO(PHOTO))
    return path


def test_a_shard_cut_anywhere_gives_the_member_or_a_clear_line(tmp_path: Path) -> None:
    whole = shard(tmp_path / "whole.tar").read_bytes()
    assert read_bytes(f"{tmp_path}/whole.tar::b.jpg") == PHOTO
    blocks = -(-len(PHOTO) // 512) * 512
    path = tmp_path / "s.tar"
    for end in [*range(0, 1030, 13), *range(1030, 2 * (512 + blocks), 57), 2 * (512 + blocks) - 1]:
        path.write_bytes(whole[:end])
        for name, last in (("a.jpg", 512 + len(PHOTO)), ("b.jpg", 512 + blocks + 512 + len(PHOTO))):
            try:
                assert read_bytes(f"{path}::{name}") == PHOTO and end >= last
            except DatasetError as error:
                assert_clear(str(error), path)


@damaging
@given(st.lists(st.tuples(st.integers(0, 1535), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_damaged_shard_is_a_clear_line_or_bytes_of_the_right_length(
    tmp_path: Path, changes: list[tuple[int, int]]
) -> None:
    content = bytearray(shard(tmp_path / "whole.tar").read_bytes())
    for position, value in changes:
        content[position] = value
    path = tmp_path / "s.tar"
    message = refusal(lambda uri: read_bytes(f"{uri}::b.jpg"), path, bytes(content))
    if message is not None:
        assert_clear(message, path)


def test_a_missing_member_a_missing_shard_and_a_compressed_shard(tmp_path: Path) -> None:
    path = shard(tmp_path / "s.tar")
    with pytest.raises(DatasetError, match=r"s\.tar holds no member c\.jpg; rerun the ingestion"):
        read_bytes(f"{path}::c.jpg")
    with pytest.raises(DatasetError, match=r"t\.tar::a\.jpg does not exist; rerun the ingestion"):
        open_image(f"{tmp_path}/t.tar::a.jpg")
    with tarfile.open(tmp_path / "z.tar", "w:gz") as tar:
        tar.add(path, "a.jpg")
    with pytest.raises(DatasetError, match=r"shard \S+z\.tar is damaged"):
        read_bytes(f"{tmp_path}/z.tar::a.jpg")


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"not a table"])
def test_a_damaged_table_of_labels_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "splits").mkdir()
    (tmp_path / "m.png").write_bytes(MASK)
    items = [Item("m", str(tmp_path / "m.jpg"), str(tmp_path / "m.png"))]
    expected = presence(tmp_path, "val", items)
    (cache,) = (tmp_path / "splits").glob(".presence_val_*.npy")
    cache.write_bytes(content)
    with pytest.raises(DatasetError, match=r"presence_val_\S+\.npy cannot be read .*; delete it, it is built again"):
        presence(tmp_path, "val", items)
    cache.unlink()
    assert np.array_equal(presence(tmp_path, "val", items), expected)
    (tmp_path / "voc_1h_labels_val.npy").write_bytes(content)
    with pytest.raises(DatasetError, match=r"voc_1h_labels_val\.npy cannot be read .*; replace or delete it"):
        presence(tmp_path, "val", items)


def test_a_mended_shard_is_read_again(tmp_path: Path) -> None:
    path = shard(tmp_path / "s.tar")
    good = path.read_bytes()
    path.write_bytes(b"\x07" * 700)
    with pytest.raises(DatasetError, match="is damaged"):
        open_image(f"{path}::a.jpg")
    path.write_bytes(good)
    assert open_image(f"{path}::a.jpg").size == (32, 24)
