"""The report in a real browser, without a network."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.workflow.conftest import Workspace

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update",
         "--host-resolver-rules=MAP * ~NOTFOUND"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_report_is_drawn_offline(finished: Workspace, tmp_path: Path) -> None:
    page = finished.folder / "results" / "tiny" / "report" / "index.html"
    picture = tmp_path / "page.png"
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'user'}", "--window-size=1240,2400"]
    subprocess.run([*command, f"--screenshot={picture}", page.as_uri()], check=True, capture_output=True, timeout=120)
    from PIL import Image

    with Image.open(picture) as image:
        colours = image.convert("RGB").getcolors(2**24)
    assert colours is not None and len(colours) > 500, "the page is blank"
    done = subprocess.run(
        [*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    assert "Learning new classes from the web" in done.stdout and "Traceback" not in done.stdout
