"""Checkpoints of MiB's layout, and replay folders of the original repositories."""

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.artifacts import PSEUDOLABELS, ArtifactError, read_table
from pipeline.datasets import DatasetError
from pipeline.datasets.protocol_file import read_protocol
from pipeline.migration.__main__ import main
from pipeline.migration.checkpoint import convert_original, import_checkpoint
from pipeline.migration.replay import import_replay
from pipeline.models import build_model, load_model

pytestmark = pytest.mark.usefixtures("one_thread")
BACKBONE = "deeplabv3_resnet50"
HEAD = {"branches.": "map_convs.", "fuse.0.0.": "map_bn.", "fuse.1.": "red_conv.", "pooled.0.": "global_pooling_conv.",
        "pooled.1.0.": "global_pooling_bn.", "pooled.2.": "pool_red_conv.", "out.0.": "red_bn."}  # fmt: skip


def theirs(key: str) -> str:
    """The name that MiB's code gives to a tensor of ours."""
    if key.startswith("classifiers."):
        return key.replace("classifiers.", "cls.")
    if key.startswith("head."):
        part = next(ours for ours in HEAD if key.startswith(f"head.{ours}"))
        return key.replace(f"head.{part}", f"head.{HEAD[part]}")
    key = key.replace("body.stem.conv.", "body.mod1.conv1.").replace("body.stem.norm.", "body.mod1.bn1.")

    def block(m: re.Match[str]) -> str:
        return f"body.mod{int(m[1]) + 2}.block{int(m[2]) + 1}."

    key = re.sub(r"body\.stages\.(\d)\.(\d+)\.", block, key)
    key = key.replace(".project.", ".proj_conv.").replace(".project_norm.", ".proj_bn.")
    return re.sub(r"\.norm(\d)\.", r".convs.bn\1.", re.sub(r"\.(conv\d)\.(?=weight)", r".convs.\1.", key, count=1)) if (
        "block" in key
    ) else key  # fmt: skip


def original() -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint as MiB names them; norm weights of either sign, convolutions constant."""
    torch.manual_seed(0)
    with torch.device("meta"):
        model = build_model(BACKBONE, [16, 5])
    return {
        theirs(key): torch.randn(value.shape) if value.ndim == 1 else torch.rand(1).expand(value.shape)
        for key, value in model.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }


def test_a_checkpoint_loads_with_the_same_weights(protocols: list[Path], tmp_path: Path) -> None:
    state = original()
    stored = {f"module.{key}": value for key, value in state.items()}
    path = tmp_path / "15-5-voc_MiB_1.pth"
    torch.save({"epoch": 30, "model_state": stored, "optimizer_state": {}, "best_score": np.mean([0.5])}, path)
    command = ["checkpoint", str(path), "--protocol", str(protocols[1]), "--backbone", BACKBONE]
    assert main([*command, "--out", str(tmp_path / "model.safetensors")]) == 0
    model = load_model(tmp_path / "model.safetensors", expect={"task": "15-5", "step": 1})
    for key, value in model.state_dict().items():
        if key.endswith("num_batches_tracked"):
            continue
        expected = state[theirs(key)]
        is_scale = expected.ndim == 1 and key.endswith("weight")
        assert torch.equal(value, expected.abs() + 1e-5 if is_scale else expected), key


def test_a_plain_abn_checkpoint_keeps_its_signs(
    protocols: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = original()
    negative = sum(int((v < 0).sum()) for k, v in state.items() if v.ndim == 1 and k.endswith("weight"))
    path, out = tmp_path / "x.pth", tmp_path / "m.safetensors"
    torch.save({"model_state": state}, path)
    command = ["checkpoint", str(path), "--protocol", str(protocols[1]), "--backbone", BACKBONE, "--out", str(out)]
    assert main([*command, "--norm-act", "abn"]) == 0
    assert f"WARNING: {negative} norm weights are negative and were read with their sign" in capsys.readouterr().out
    for key, value in load_model(out).state_dict().items():
        assert key.endswith("num_batches_tracked") or torch.equal(value, state[theirs(key)]), key
    assert main(command) == 0
    said = capsys.readouterr().out
    assert f"{negative} norm weights are negative and were read by their magnitude" in said
    assert "if trained with plain ABN, import with --norm-act abn" in said
    scales = {key: v.abs() if v.ndim == 1 and key.endswith("weight") else v for key, v in state.items()}
    torch.save({"model_state": scales}, path)
    assert main(command) == 0
    assert "WARNING" not in capsys.readouterr().out, "without a negative weight both read the same to 1e-5"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("cls.1.weight"), r"classifiers of \[16\] outputs, step 1 needs \[16, 5\]"),
        (lambda s: s.pop("head.red_bn.bias"), r"1 missing \(our names\): head\.out\.0\.bias$"),
        (lambda s: s.update({"head.extra.weight": torch.zeros(1)}), r"1 unknown: head\.extra\.weight$"),
        (lambda s: s.update({"prototypes": torch.zeros(1)}), "1 unknown: prototypes$"),
        (lambda s: s.update({"cls.0.gain": torch.zeros(1)}), r"1 unknown: classifiers\.0\.gain$"),
        (
            lambda s: s.update({"head.red_bn.bias": torch.zeros(7)}),
            r"1 of another shape: head\.out\.0\.bias .* \(7,\), expected \(256,\)$",
        ),
        (lambda s: s.update({"body.layer9.weight": torch.zeros(7)}), r"1 unknown: body\.layer9\.weight$"),
        (lambda s: [s.pop(k) for k in list(s) if "cls." in k], "is of another code base"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(
    protocols: list[Path],
    change,  # type: ignore[no-untyped-def]
    message: str,
) -> None:
    state = original()
    change(state)
    with pytest.raises(ArtifactError, match=message):
        convert_original(Path("x.pth"), state, read_protocol(protocols[1]), BACKBONE)


class Payload:
    """What an unsafe pickle would run."""

    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("ran"),))


def test_a_pickle_that_runs_code_is_refused(protocols: list[Path], tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Payload()))
    torch.save({"model_state": Payload()}, tmp_path / "evil2.pth")
    for name in ("evil.pth", "evil2.pth"):
        with pytest.raises(ArtifactError, match=r"is refused: it (holds a `|cannot be read without)"):
            import_checkpoint(tmp_path / name, protocols[1], tmp_path / "m.safetensors", BACKBONE)
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def replay(tmp_path: Path) -> Path:
    """Two sources of three images, listed under paths of another machine."""
    for source in ("2007_000032", "2007_000039"):
        folder = tmp_path / "replay" / source
        for i in range(3):
            (folder / "image").mkdir(parents=True, exist_ok=True)
            (folder / "label").mkdir(exist_ok=True)
            pixels = np.full((20, 30, 3), 40 * i + len(source) + int(source[-1]), np.uint8)
            Image.fromarray(pixels).save(folder / "image" / f"0000{i}.jpg")
            label = np.zeros((20, 30), np.uint8)
            label[:, :9], label[0] = 3 + i, 255
            Image.fromarray(label).save(folder / "label" / f"0000{i}.png")
        root = f"/home/author/{source}"
        lines = [f"{root}/image/0000{i}.jpg {root}/label/0000{i}.png\n" for i in range(3)]
        (folder / "train_fullPath.txt").write_text("".join(lines))
    return tmp_path / "replay"


def test_replay_folders_become_pseudo_labels(replay: Path, tmp_path: Path) -> None:
    assert main(["replay", str(replay), "--out", str(tmp_path / "p.parquet")]) == 0
    rows = read_table(tmp_path / "p.parquet", PSEUDOLABELS)
    assert [row["class_ids"] for row in rows] == [[3], [4], [3], [4]]
    assert len({row["image_id"] for row in rows}) == 4, "the same file name under two sources is two images"
    assert all(row["reason"] == "" and Path(row["image"]).exists() and Path(row["label"]).exists() for row in rows)


def test_unusable_replay_images_stay_with_their_reason(replay: Path, tmp_path: Path) -> None:
    (replay / "2007_000032" / "image" / "00000.jpg").unlink()
    Image.new("L", (3, 3)).save(replay / "2007_000039" / "label" / "00001.png")
    text = import_replay(replay, tmp_path / "p.parquet")
    assert "2 replay images, 2 unusable" in text
    reasons = [row["reason"] for row in read_table(tmp_path / "p.parquet", PSEUDOLABELS)]
    assert "does not exist" in reasons[0] and "its label (3, 3)" in reasons[3] and reasons[1:3] == ["", ""]
    with pytest.raises(DatasetError, match=r"no folder with a train_fullPath\.txt"):
        import_replay(tmp_path / "nowhere", tmp_path / "q.parquet")


def test_imported_replay_joins_a_training_list(replay: Path, protocols: list[Path], tmp_path: Path) -> None:
    from pipeline.pseudolabel.__main__ import main as pseudolabel

    import_replay(replay, tmp_path / "p.parquet")
    listing = ["list", "--protocol", str(protocols[1]), "--pseudolabels", str(tmp_path / "p.parquet")]
    assert pseudolabel([*listing, "--out", str(tmp_path / "list.parquet")]) == 0
    from pipeline.artifacts import TRAIN_LIST

    rows = read_table(tmp_path / "list.parquet", TRAIN_LIST)
    assert sum(row["role"] == "replay" for row in rows) == 4
    assert json.loads(protocols[1].read_text())["step"] == 1


@pytest.mark.parametrize("place", ["val", "other_val"])
def test_imported_evaluation_images_are_left_out_or_refused(
    replay: Path, protocols: list[Path], tmp_path: Path, place: str
) -> None:
    from pipeline.pseudolabel.listing import Sources, write_train_list

    facts = json.loads(protocols[1].read_text())
    tested, smaller = facts["val"][0], Image.open(facts["val"][0]["image"]).convert("RGB")
    if place == "other_val":
        facts |= {"val": facts["val"][1:], "other_val": {"second": [tested]}}
    (tmp_path / "step1.json").write_text(json.dumps(facts))
    # Another size and quality: neither its name nor its bytes say whose image it is.
    smaller = smaller.resize((smaller.width * 3 // 4, smaller.height * 3 // 4))
    smaller.save(replay / "2007_000039" / "image" / "00001.jpg", quality=80)
    Image.new("L", smaller.size, 3).save(replay / "2007_000039" / "label" / "00001.png")
    import_replay(replay, tmp_path / "blind.parquet")
    blind, known = (Sources(pseudolabels=tmp_path / name) for name in ("blind.parquet", "p.parquet"))
    with pytest.raises(ValueError, match=r"1 imported replay images look like evaluation images, .*00001\.jpg"):
        write_train_list(tmp_path / "step1.json", tmp_path / "l.parquet", blind)
    assert not (tmp_path / "l.parquet").exists()

    checked = ["replay", str(replay), "--protocol", str(tmp_path / "step1.json"), "--out", str(tmp_path / "p.parquet")]
    assert main(checked) == 0
    reasons = [row["reason"] for row in read_table(tmp_path / "p.parquet", PSEUDOLABELS)]
    assert reasons == ["", "", "", "duplicate_of_evaluation"]
    rows = write_train_list(tmp_path / "step1.json", tmp_path / "l.parquet", known)
    assert sum(row["role"] == "replay" for row in rows) == 3
