"""The pictures of the live page: python samples/live_pictures.py

docs/live.jpg and live-answer.jpg, two screenshots, and mask.gif, a mask while it forms, of a photo of
../shared/data. Needs playwright and a Chromium on the PATH.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
DOCS = HERE.parent / "docs"
MOST, WIDTH, SLOW = 2_000_000, 560, 160  # bytes and width of the GIF, milliseconds of a frame


def main() -> None:
    from benchmarks.live import DATA, MODEL, WEIGHTS, ask, browsing, done, served, until

    words = ["--model", "darknet", "--model_file", WEIGHTS, *(w for k, v in MODEL.items() for w in (f"--{k}", v))]
    photos = [str(p) for p in sorted((DATA / "photos").glob("darknet_*.jpg"))]  # in the public domain
    with served(*words, "--data", *photos) as (address, _), browsing() as page:
        page.goto(address)
        page.get_by_role("button", name="darknet_dog.jpg").click()
        page.get_by_role("img", name="darknet_dog.jpg").wait_for()
        until(page, "view.dataset.drawn && document.querySelectorAll('#strip img').length > 4")
        page.wait_for_timeout(1500)
        page.screenshot(path=DOCS / "live.jpg", type="jpeg", quality=86)
        page.evaluate("""() => { window.shots = []; const view = document.getElementById('view');
            new MutationObserver(() => shots.push(view.toDataURL('image/png')))
                .observe(view, {attributes: true, attributeFilter: ['data-step']}); }""")
        ask(page)
        done(page)
        page.wait_for_timeout(500)
        last = page.evaluate("document.getElementById('view').toDataURL('image/png')")
        shots = [*page.evaluate("shots"), *[last] * 6]
        page.locator("#step").evaluate("c => { c.value = 4; c.dispatchEvent(new Event('input', {bubbles: true})); }")
        page.locator("#understand").evaluate("e => e.scrollIntoView()")
        page.wait_for_timeout(500)
        page.screenshot(path=DOCS / "live-answer.jpg", type="jpeg", quality=86)
    page_shots = [_picture(s) for s in shots]
    first, *more = (p.quantize(128, dither=Image.Dither.NONE) for p in page_shots)
    first.save(DOCS / "mask.gif", save_all=True, append_images=more, duration=SLOW, loop=0, optimize=True)
    size = (DOCS / "mask.gif").stat().st_size
    if size > MOST:
        raise SystemExit(f"mask.gif: {size} bytes, more than {MOST}")
    print(DOCS / "live.jpg", DOCS / "live-answer.jpg", DOCS / "mask.gif", f"({size / 1e6:.2f} MB)")


def _picture(address: str) -> Image.Image:
    import base64

    made = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGB")
    return made.resize((WIDTH, round(WIDTH * made.height / made.width)), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
