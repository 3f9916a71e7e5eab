"""The Chromium that tests, benchmarks and the pictures of the docs open pages in."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
MISSING = f"none of {', '.join(NAMES)} is on the PATH"
# A whole Chromium keeps pages behind its address bar that take half a core where no graphics card draws.
QUIET = "--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup,WebUIOmniboxFullPopup"


def path() -> str | None:
    """The first of NAMES on the PATH, or None."""
    return next((found for found in map(shutil.which, NAMES) if found), None)


def launch(playwright: Playwright) -> Browser:
    """That browser, without a window; SystemExit with MISSING where there is none."""
    if (found := path()) is None:
        raise SystemExit(MISSING)
    return playwright.chromium.launch(executable_path=found, args=["--no-sandbox", QUIET])
