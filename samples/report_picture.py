"""The README's picture of the report page: python samples/report_picture.py [OUT.png]

An object of a scene is explained, its page opened in a headless Chromium on the PATH, and shown where the first step
of deletion has taken the emblem. Needs playwright (in the extra `test`).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.browser import launch  # noqa: E402
from igos import cli  # noqa: E402

SIZE, STEP = {"width": 920, "height": 740}, 1
SLIDE = "(c, v) => { c.value = v; c.dispatchEvent(new Event('input', { bubbles: true })); }"


def main(out: str = str(HERE.parent / "docs" / "report.png")) -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        words = ["--data", str(HERE / "scene-12.png"), "--target", "class:bars", "--output", f"{folder}/run"]
        if cli.main(words):
            raise SystemExit(1)
        chromium = launch(playwright)
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
