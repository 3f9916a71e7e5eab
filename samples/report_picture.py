"""The README's picture of the report page: python samples/report_picture.py [OUT.png]

An object of a scene is explained, its page opened in a headless Chromium on the PATH, and shown where the first step
of deletion has taken the emblem. Needs playwright (in the extra `test`).
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from igos import cli

HERE = Path(__file__).resolve().parent
SIZE, STEP = {"width": 920, "height": 740}, 1
SLIDE = "(c, v) => { c.value = v; c.dispatchEvent(new Event('input', { bubbles: true })); }"


def main(out: str = str(HERE.parent / "docs" / "report.png")) -> None:
    browser = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
    if browser is None:
        raise SystemExit("no chromium, chromium-browser or google-chrome on the PATH")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        words = ["--data", str(HERE / "scene-12.png"), "--target", "class:bars", "--output", f"{folder}/run"]
        if cli.main(words):
            raise SystemExit(1)
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chromium.new_page(viewport=SIZE)  # type: ignore[arg-type]
        page.goto(f"file://{folder}/run/report.html")
        page.locator("[data-open='0']").click()
        page.locator("#step").evaluate(SLIDE, STEP)
        page.wait_for_timeout(500)
        page.screenshot(path=out)
        chromium.close()
    print(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
