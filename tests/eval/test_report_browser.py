"""What a reader does on the page, in a real browser without a network: sort, filter, open a picture, on a phone."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.eval.report import write_report
from tests.eval.finished import Finished

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=500,900"]  # fmt: skip
PROBE = """<script>addEventListener("load", () => {
  const said = {};
  const table = document.querySelector("table.sort");
  const column = (i) => [...table.tBodies[0].rows].map((row) => row.cells[i].textContent);
  const choose = (key, value) => {
    const select = document.querySelector(`select[data-key="${key}"]`);
    select.value = value;
    select.dispatchEvent(new Event("change"));
  };
  said.width = [document.documentElement.scrollWidth, innerWidth];
  const heads = table.querySelectorAll("thead th button");
  heads[3].click(); said.down = column(3);
  heads[3].click(); said.up = column(3);
  said.sorted = table.querySelectorAll("th")[3].getAttribute("aria-sort");
  heads[0].click(); said.names = column(0);
  choose("classes", "bird"); said.birds = document.querySelectorAll("#overlays tbody tr:not([hidden])").length;
  choose("classes", ""); said.all = document.querySelectorAll("#overlays tbody tr:not([hidden])").length;
  choose("outcome", "kept");
  said.shown = [...document.querySelectorAll("#pages .group:not([hidden])")].map((group) => group.dataset.outcome);
  const box = document.querySelector('input[data-column="2"]');
  box.click();
  const heading = [...document.querySelectorAll("#overlays thead th")];
  said.columns = heading.map((head) => getComputedStyle(head).display !== "none");
  document.querySelector("button.open").click();
  const dialog = document.querySelector("dialog");
  said.open = dialog.open && dialog.querySelector("img").src.startsWith("data:image");
  document.body.innerHTML = `<pre id="said">${JSON.stringify(said)}</pre>`;
});</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_page_sorts_filters_and_opens_pictures(tmp_path: Path) -> None:
    done = Finished(tmp_path).with_web()
    out = Path(done.paths.report())
    write_report(done.config, 1, out)
    out.write_text(out.read_text().replace("</body>", PROBE))
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'user'}", "--dump-dom", out.as_uri()]
    page = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True).stdout
    found = re.search(r'<pre id="said">(.*?)</pre>', page)
    assert found, "a script of the page failed"
    said = json.loads(found[1])
    assert said["width"][0] <= said["width"][1], "a phone scrolls the page sideways"
    numbers = [float(cell.split()[0]) for cell in said["down"]]
    assert numbers == sorted(numbers, reverse=True) and said["up"] == said["down"][::-1]
    assert said["sorted"] == "ascending" and said["names"] == sorted(said["names"], key=str.lower)
    assert said["birds"] == 0 and said["all"] == 2, "no picture shows a bird, whatever is predicted"
    assert set(said["shown"]) == {"kept"}
    assert said["columns"] == [True, True, False, True, True, True, True] and said["open"]
