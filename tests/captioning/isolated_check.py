"""Runs inside the isolated environment: writes the tiny 3B-shaped parts and prints the settings of the captioner."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.captioning import flamingo_parts as parts


def main(folder: Path) -> None:
    """Write the parts into `folder`."""
    (folder / "language").mkdir(parents=True)
    digest = parts.save_code(folder / "language")
    more = {"trust_remote_code": True, "revision": digest}
    settings = parts.save_parts(folder, str(folder / "language"), 1, more)
    settings["openflamingo"]["environment"] = "isolated"
    (folder / "settings.json").write_text(json.dumps({"captioning": {"captioner": settings}}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
