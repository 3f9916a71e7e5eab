"""The page in a browser, from a file: it draws the right pictures, its controls work, it asks for nothing else."""

from __future__ import annotations

import base64
import io
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import PIL.Image
import pytest
import torch

from benchmarks import browser as chromium
from igos import cli, metrics
from igos.base.geometry import Geometry
from igos.base.ops import top_area
from igos.cli.report import read_picture, write_page
from igos.drawing import figures
from igos.results import page, page_content
from igos.types import Target
from tests.conftest import Later
from tests.pages import explanation, letterbox, made_run, photo, rewrite, toy_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

HOSTILE = (
    "</script><script>window.taken=1</script>",
    "\"'><img src=x onerror=window.taken=1>",
    "../../etc/passwd",
    "{{7*7}}",
)
sync_api = Later("playwright.sync_api")
Opener = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if chromium.path() is None:
        pytest.fail(chromium.MISSING) if os.environ.get("CI") == "true" else pytest.skip(chromium.MISSING)
    with sync_api.sync_playwright() as playwright:
        made = chromium.launch(playwright)
        yield made
        made.close()


@pytest.fixture
def opened(browser: Browser) -> Iterator[Opener]:
    """Opens a file; at the end no message is on its console and nothing but files beside it was asked for."""
    told: list[str] = []
    pages: list[Page] = []

    def opener(path: Path, width: int = 1440, height: int = 900, **options: Any) -> Page:
        made = browser.new_page(viewport={"width": width, "height": height}, **options)
        pages.append(made)
        beside = f"file://{path.parent}/"
        made.on("console", lambda m: told.append(f"{m.type}: {m.text}"))
        made.on("pageerror", lambda e: told.append(str(e)))
        made.on("request", lambda r: None if r.url.startswith(("data:", beside)) else told.append(r.url))
        made.goto(f"file://{path}")
        return made

    yield opener
    for one in pages:
        one.close()
    assert told == []


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six explanations of cats, dogs and emus in two pictures, one of them stalled, one row without a map."""
    folder = tmp_path_factory.mktemp("page")
    toy_run(folder / "run", 6)
    gone = '{"image": "gone.jpg", "status": "unreadable", "error": "gone.jpg: no such file", "folder": null}\n'
    rewrite(folder / "run", lambda text: text.replace('"status": "ok"', '"status": "stalled"', 1) + gone)
    write_page(folder / "run")
    return folder / "run"


def pixels(canvas: Locator) -> np.ndarray:
    """(H,W,3) uint8 of what a canvas shows."""
    address = canvas.evaluate("c => c.toDataURL('image/png')")
    return np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).convert("RGB"))


def drawn(canvas: Locator, what: str) -> np.ndarray:
    """The canvas, once it shows what its data say."""
    settle(canvas, what)
    return pixels(canvas)


def settle(canvas: Locator, what: str) -> None:
    until(lambda: canvas.get_attribute("data-drawn") == what)


def until(true: Callable[[], bool], seconds: float = 10) -> None:
    """Waits; the page's policy forbids a browser's own waiting for an expression."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def slide(control: Locator, value: int) -> None:
    control.evaluate("(c, v) => { c.value = v; c.dispatchEvent(new Event('input', { bubbles: true })); }", value)


def cards(page_: Page) -> list[str]:
    return page_.locator("#gallery .card .first b").all_inner_texts()


@pytest.mark.parametrize("name", ["deletion", "insertion"])
def test_each_steps_picture_is_the_one_that_was_scored(run: Path, opened: Opener, name: str) -> None:
    shown = opened(run / "report.html")
    shown.locator("[data-open='2']").click()
    shown.locator(f"#plays input[value={name}]").check()
    shown.locator("#box").uncheck()
    source, geometry = read_picture(str(run.parent / "photos" / "photo-0.png")), letterbox(120, 160)
    step = page_content.steps(
        explanation(Path("x"), source, 2).saliency,
        page_content.playable(metrics.build_metrics(["deletion"], ["steps=10"])[0])[0],
    )
    for j in (0, 3, 10):
        slide(shown.locator("#step"), j)
        picture = drawn(shown.locator("#step-picture"), f"{name} {j}")
        height, width = picture.shape[:2]
        on = Geometry((height, width), geometry.network, (geometry.scale[0] * 120 / height,) * 2, geometry.offset)
        v = on.map_to_source(torch.from_numpy((step <= j).astype(np.float32))).numpy()[..., None]
        v = 1 - v if name == "insertion" else v
        x, x0 = (
            cv2.resize(p, (width, height), interpolation=cv2.INTER_CUBIC).astype(float)
            for p in (source, page_content.replaced(source, geometry, "blur"))
        )
        difference = np.abs(picture - (x + v * (x0 - x)))
        assert difference.mean() < 2 and np.percentile(difference, 99) < 12, j
        score = (1 - j / 10) ** 3 if name == "deletion" else (j / 10) ** 0.5
        assert shown.locator("output[for=step]").inner_text() == f"{10 * j}%: score {score:.3f}".replace(".000", "")


def test_each_style_shows_the_map_and_the_sliders_change_it(run: Path, opened: Opener) -> None:
    shown = opened(run / "report.html")
    shown.locator("[data-open='1']").click()
    shown.locator("#box").uncheck()
    canvas, source = shown.locator("#map-picture"), read_picture(str(run.parent / "photos" / "photo-1.png"))
    seen = {}
    for style in ("heat", "contour", "keep", "blur", "photo"):
        shown.locator(f"#styles input[value={style}]").check()
        seen[style] = drawn(canvas, f"{style} 1 0.1").astype(float)
    height, width = seen["photo"].shape[:2]
    assert np.abs(seen["photo"] - cv2.resize(source, (width, height), interpolation=cv2.INTER_CUBIC)).mean() < 2
    g = letterbox(120, 160)
    on = Geometry((height, width), g.network, (g.scale[0] * 120 / height,) * 2, g.offset)
    heat = on.map_to_source(figures.shown(explanation(Path("x"), source, 1).saliency)).numpy()
    box = np.array([20, 20, 120, 100]) * width / 160
    top = top_area(heat, box)
    low = heat < 0.3
    assert np.abs(seen["heat"][heat > 0.99] - figures.colour_table()[-3]).mean() < 45, (
        "the brightest colour at the peak"
    )
    assert np.abs(seen["keep"] - seen["photo"])[top].mean() < 3 and seen["keep"][low].max() < 20
    assert np.abs(seen["blur"] - seen["photo"])[low].mean() < 1 < np.abs(seen["blur"] - seen["photo"])[top].mean()
    line = np.abs(seen["contour"] - seen["photo"]).max(axis=2) > 60
    inner = cv2.erode(top.astype(np.uint8), np.ones((15, 15))).astype(bool)
    outer = ~cv2.dilate(top.astype(np.uint8), np.ones((25, 25))).astype(bool)
    assert line.sum() > 100 and not line[inner].any() and not line[outer].any(), "round the top area"
    shown.locator("#styles input[value=keep]").check()
    slide(shown.locator("#share"), 60)
    assert drawn(canvas, "keep 1 0.6").mean() > seen["keep"].mean() + 2, "more is kept"
    for style in ("heat", "keep"):
        shown.locator(f"#styles input[value={style}]").check()
        slide(shown.locator("#opacity"), 0)
        share = 0.6
        assert (drawn(canvas, f"{style} 0 {share}") == seen["photo"]).all(), "nothing over the photo"


def test_a_map_that_shows_nothing_is_grey_and_stamped(run: Path, opened: Opener) -> None:
    """On the card and in full, in every style; the score stands beside the status."""
    shown = opened(run / "report.html")
    card = shown.locator("[data-open='0']")
    assert card.locator(".first").inner_text().split() == ["cat", "0.990", "stalled"]
    until(lambda: card.locator("canvas").get_attribute("data-stamp") == "stalled")
    until(lambda: shown.locator("[data-open='1'] canvas").get_attribute("data-stamp") == "")
    assert np.ptp(pixels(card.locator("canvas")).astype(int), axis=2).mean() < 6
    card.click()
    shown.locator("#box").uncheck()
    canvas = shown.locator("#map-picture")
    for style in ("heat", "contour", "keep", "blur"):
        shown.locator(f"#styles input[value={style}]").check()
        made = drawn(canvas, f"{style} 1 0.1").astype(int)
        middle = made[made.shape[0] // 2 - 10 : made.shape[0] // 2 + 10]
        assert np.ptp(made, axis=2).mean() < 6 and middle.max() > 230 and np.median(middle) < 100
    shown.locator("#styles input[value=photo]").check()
    assert np.ptp(drawn(canvas, "photo 1 0.1").astype(int), axis=2).mean() > 15


def test_filters_and_order(run: Path, opened: Opener) -> None:
    shown = opened(run / "report.html")
    assert cards(shown) == ["cat", "dog", "emu", "cat", "dog", "emu", "–"]
    shown.select_option("#name", "dog")
    assert cards(shown) == ["dog", "dog"] and "2 of 7" in shown.locator("#shown").inner_text()
    assert shown.locator("#counts").inner_text().startswith("2 explanations of 2 objects in 2 pictures")
    shown.locator("button[type=reset]").click()
    until(lambda: shown.locator(".card").count() == 7)
    shown.select_option("#status", "stalled")
    assert cards(shown) == ["cat"] and shown.locator(".badge").inner_text() == "stalled"
    shown.select_option("#status", "unreadable")
    assert cards(shown) == ["–"]
    shown.locator("button[type=reset]").click()
    shown.fill("#search", "PHOTO-1")
    assert cards(shown) == ["dog", "cat", "emu"]
    shown.fill("#search", "")
    shown.select_option("#figure", "deletion")
    shown.fill("#least", "0.115")
    shown.fill("#most", "0.135")
    assert cards(shown) == ["emu", "cat"], "0.12 and 0.13"
    shown.fill("#most", "0.01")
    assert cards(shown) == [] and "nothing passes" in shown.locator("#shown").inner_text()
    shown.locator("button[type=reset]").click()
    until(lambda: shown.locator(".card").count() == 7)
    shown.select_option("#sort", "insertion")
    opens = "els => els.map(e => +e.dataset.open)"
    assert shown.locator(".card").evaluate_all(opens) == [5, 4, 3, 2, 1, 0, 6], "what is not known comes last"
    shown.select_option("#order", "-1")
    assert shown.locator(".card").evaluate_all(opens) == [0, 1, 2, 3, 4, 5, 6]
    shown.select_option("#sort", "class")
    assert cards(shown) == ["emu", "emu", "dog", "dog", "cat", "cat", "–"]


def test_everything_by_keyboard(run: Path, opened: Opener) -> None:
    shown = opened(run / "report.html")
    shown.locator("[data-open='0']").focus()
    shown.keyboard.press("Enter")
    title = shown.locator("#detail-title")
    assert shown.locator("dialog[open]").count() == 1 and title.inner_text() == "cat 0.990"
    shown.keyboard.press("ArrowRight")
    assert title.inner_text() == "dog 0.980" and shown.url.endswith("#1")
    shown.keyboard.press("ArrowLeft")
    shown.keyboard.press("ArrowLeft")
    assert "unreadable" in shown.locator("#detail-facts").inner_text() and not shown.locator("#map").is_visible()
    assert shown.locator("#detail-note").inner_text() == "gone.jpg: no such file"
    shown.locator("#next").press("Enter")
    shown.locator("#step").focus()
    before = shown.locator("#step").input_value()
    shown.keyboard.press("ArrowRight")
    assert title.inner_text() == "cat 0.990" and int(shown.locator("#step").input_value()) == int(before) + 1
    shown.keyboard.press("Escape")
    assert shown.locator("dialog[open]").count() == 0
    assert shown.evaluate("document.activeElement.dataset.open") == "0", "back where one was"


def test_everything_has_a_name(run: Path, opened: Opener) -> None:
    shown = opened(run / "report.html")
    shown.locator("[data-open='1']").click()
    nameless = """() => [...document.querySelectorAll('input, select, button, canvas, svg, [role=img]')].filter((e) =>
        !(e.getAttribute('aria-label') || (e.labels && e.labels.length) || e.textContent.trim()
          || (e.tagName === 'CANVAS' && !e.closest('dialog')))).map((e) => e.outerHTML.slice(0, 90))"""
    assert shown.evaluate(nameless) == []
    assert shown.locator("[data-open='1'] canvas").get_attribute("aria-label") == (
        "map of dog 0.980 by iGOS++ NAG on photo-1.png"
    )
    assert "score over the share hidden or revealed: deletion from 1 to 0" in str(
        shown.locator("#curves svg").get_attribute("aria-label")
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_it_fits_and_can_be_read(run: Path, opened: Opener, width: int, scheme: str) -> None:
    shown = opened(run / "report.html", width, 844, color_scheme=scheme)
    for part in ("#summary", "#tools") if width == 390 else ("#summary",):
        shown.locator(f"{part} > summary").click()
    assert shown.locator("#most").is_visible() and shown.locator("#charts svg").first.is_visible()
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    shown.locator("[data-open='1']").click()
    assert shown.evaluate("(d => d.scrollWidth <= d.clientWidth)(document.getElementById('detail'))")
    colours = shown.evaluate("""() => ['ground', 'card', 'ink', 'faint', 'accent', 'deletion', 'insertion'].map((n) => {
        const made = document.body.appendChild(document.createElement('i'));
        made.style.color = `var(--${n})`;
        return getComputedStyle(made).color;
    })""")
    ground, card, *letters = (light(c) for c in colours)
    for letter in letters:
        for under in (ground, card):
            high, low = max(letter, under), min(letter, under)
            assert (high + 0.05) / (low + 0.05) >= 4.5, "WCAG 2.1, 1.4.3"


def light(colour: str) -> float:
    """Relative luminance of rgb(r, g, b) (WCAG 2.1)."""
    values = np.array([int(n) for n in re.findall(r"[0-9]+", colour)]) / 255
    linear = np.where(values <= 0.03928, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_names_from_data_stay_text(tmp_path: Path, opened: Opener) -> None:
    made = []
    for n, name in enumerate(HOSTILE):
        path = tmp_path / "photos" / f"{n}-{name.replace('/', '_')}.png"
        e = explanation(path, photo(path), n)
        made.append(replace(e, target=Target(n, name, 0.5, e.target.box), warnings=(name,)))
    folder = made_run(
        tmp_path / "run", made, {"model": HOSTILE[0], "metrics": ["deletion"], "set": ["deletion.steps=10"]}
    )
    shown = opened(write_page(folder))
    assert cards(shown) == list(HOSTILE)
    for n, name in enumerate(HOSTILE):
        shown.goto(f"file://{folder}/report.html#{n}")
        shown.wait_for_selector("dialog[open]")
        until(lambda told=f"{name} 0.500": shown.locator("#detail-title").text_content() == told)  # type: ignore[misc]
        assert shown.locator("#detail-note").text_content() == name
    assert HOSTILE[0] in str(shown.locator("#runs").text_content())
    assert shown.evaluate("window.taken") is None
    assert shown.locator("script:not([type='application/json'])").count() == 1


def test_methods_of_one_object_stand_side_by_side(tmp_path: Path, opened: Opener) -> None:
    a, b = toy_run(tmp_path / "one", 4), toy_run(tmp_path / "two", 4, method="rise", opt=None)
    out = tmp_path / "pages" / "both.html"
    assert cli.main(["compare", str(a), str(b), "--out", str(out)]) == 0
    shown = opened(out)
    assert shown.locator(".object").count() == 4
    first = shown.locator(".object").first
    assert first.locator(".card .first b").all_inner_texts() == ["one: iGOS++ NAG", "two: rise"]
    shown.select_option("#method", "two: rise")
    assert shown.locator(".card").count() == 4
    shown.select_option("#group", "")
    assert cards(shown) == ["cat", "dog", "emu", "cat"]
    shown.locator(".card").first.click()
    assert shown.locator("#siblings .card").count() == 2, "all of the object, whatever the filters"
    shown.locator("#siblings .card").first.click()
    assert "one: iGOS++ NAG" in shown.locator("#detail-facts").inner_text()


def test_photos_of_a_big_run_lie_beside_the_page(
    tmp_path: Path, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "INLINE", 100)
    shown = opened(write_page(toy_run(tmp_path / "run", 2)))
    assert len(list((tmp_path / "run" / "report-photos").glob("*.webp"))) == 2
    shown.locator("[data-open='0']").click()
    for style in ("heat", "blur", "photo"):
        shown.locator(f"#styles input[value={style}]").check()
        settle(shown.locator("#map-picture"), f"{style} 1 0.1")
    shown.screenshot(path=tmp_path / "seen.png")
    seen = np.asarray(PIL.Image.open(tmp_path / "seen.png").convert("RGB"))
    box = shown.locator("#map-picture").bounding_box()
    assert box is not None
    part = seen[int(box["y"]) + 20 : int(box["y"]) + 200, int(box["x"]) + 100 : int(box["x"]) + 300]
    assert part.std() > 15, "the photo, not a grey field"


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of 5,000 rows in 2,500 pictures, with 100 rows of another class at the end."""
    place = tmp_path_factory.mktemp("many")
    gathered = page_content.Album(read_picture)
    gathered.add(toy_run(place / "run", 6))
    data, photos = gathered.data("many"), gathered.photos * 1250
    data["pictures"] = [{**data["pictures"][n % 2], "name": f"{n}.png"} for n in range(2500)]
    data["views"] = [data["views"][n % 2] for n in range(2500)]
    few = data["items"]
    data["items"] = [{**few[n % 6], "picture": n // 2, "view": n // 2, "object": n} for n in range(5000)]
    data["items"][4900:] = [{**item, "name": "yak"} for item in data["items"][4900:]]
    page.write(place / "many.html", data, photos)
    return place / "many.html"


def test_five_thousand_explanations_are_there_in_two_seconds(many: Path, opened: Opener) -> None:
    """Of its processor: how long it takes on the clock is for a machine that does nothing else."""
    (many.parent / "blank.html").touch()
    shown = opened(many.parent / "blank.html")
    client = shown.context.new_cdp_session(shown)
    client.send("Performance.enable", {"timeDomain": "threadTicks"})
    shown.goto(f"file://{many}", wait_until="commit")
    until(lambda: shown.locator("canvas[data-drawn]").count() >= 12, 20)
    metrics_ = {m["name"]: m["value"] for m in client.send("Performance.getMetrics")["metrics"]}
    assert metrics_["TaskDuration"] < 2
    shown.wait_for_load_state("load")
    assert shown.locator(".card").count() < 200


def test_of_a_long_page_only_what_is_near_the_window_stands(many: Path, opened: Opener) -> None:
    shown = opened(many)
    whole = shown.evaluate("document.documentElement.scrollHeight")
    assert whole > 100_000, "as high as with all cards"
    seen = """() => [...document.querySelectorAll('.card canvas[data-drawn]')].some((c) => {
        const r = c.getBoundingClientRect(); return r.bottom > 0 && r.top < innerHeight; })"""
    for y in (0.5, 1.0):
        shown.evaluate(f"scrollTo(0, {y} * document.documentElement.scrollHeight)")
        until(lambda: shown.evaluate(seen))
        assert shown.locator(".card").count() <= 360
    shown.evaluate("scrollTo(0, 2 * document.documentElement.scrollHeight)")
    until(lambda: shown.locator("[data-open='4999'] canvas[data-drawn]").count() == 1)
    shown.select_option("#name", "yak")
    assert shown.locator("#shown").inner_text() == "100 of 5000 rows"
    until(lambda: shown.evaluate(seen))
    shown.locator("button[type=reset]").click()
    until(lambda: shown.locator("#shown").inner_text().startswith("5000 of"))
    shown.select_option("#group", "name")
    assert shown.locator(".group").first.inner_text().startswith("cat ")


def test_any_of_five_thousand_opens_by_its_address_and_is_found_again(many: Path, opened: Opener) -> None:
    shown = opened(many)
    shown.goto(f"file://{many}#4321")
    shown.wait_for_selector("dialog[open]")
    settle(shown.locator("#map-picture"), "heat 1 0.1")
    assert "2160.png" in shown.locator("#detail-facts").inner_text()
    shown.keyboard.press("ArrowRight")
    until(lambda: shown.url.endswith("#4322"))
    shown.keyboard.press("Escape")
    until(lambda: shown.evaluate("document.activeElement.dataset.open") == "4322")


def test_the_policy_names_the_script_alone(run: Path) -> None:
    text = (run / "report.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy and "default-src 'none'" in policy[1] and re.search(r"script-src 'sha256-[\w+/=]{44}'$", policy[1])
    assert not re.search(r'<(?!a )[a-z]+ [^>]*(src|href)="(?!data:)', text)
    assert "http://" not in text.replace("http://www.w3.org", "")


def axe(page_: Page) -> list[str]:
    """What axe-core finds of level A and AA; by the browser's own door, for the page's policy lets no script in."""
    import axe_playwright_python

    script = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
    client = page_.context.new_cdp_session(page_)
    asked = "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']})"
    told = ".then(r => r.violations.map(v => `${v.id}: ${v.nodes[0].html}`))"
    client.send("Runtime.evaluate", {"expression": script})
    answer = client.send("Runtime.evaluate", {"expression": asked + told, "awaitPromise": True, "returnByValue": True})
    return [] if "value" not in answer["result"] else list(answer["result"]["value"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(run: Path, opened: Opener, scheme: str) -> None:
    shown = opened(run / "report.html", color_scheme=scheme)
    shown.locator("#summary > summary").click()
    assert axe(shown) == []
    shown.locator("[data-open='1']").click()
    assert axe(shown) == []


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods on the same four objects."""
    place = tmp_path_factory.mktemp("compared")
    runs = [toy_run(place / name, 4, method=name, opt=None) for name in ("iGOS++", "rise", "integrated_gradients")]
    assert cli.main(["compare", *map(str, runs), "--out", str(place / "both.html")]) == 0
    return place / "both.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_a_comparison(compared: Path, opened: Opener, scheme: str) -> None:
    shown = opened(compared, color_scheme=scheme)
    assert shown.locator("#pairs tbody tr").count() > 0 and shown.locator(".object").count() == 4
    assert axe(shown) == []
    shown.locator("#gallery .card").first.click()
    until(lambda: shown.locator("#difference").get_attribute("data-drawn") == "difference")
    assert axe(shown) == []


@pytest.mark.parametrize("width", [390, 1440])
def test_a_comparison_fits_and_can_be_read(compared: Path, opened: Opener, width: int) -> None:
    shown = opened(compared, width, 900)
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    high = "els => Math.max(...els.map(e => e.getBoundingClientRect().height))"
    assert shown.locator("#pairs :is(th, td)").evaluate_all(high) < 50, "two lines at most: no word is broken"
    wide = "e => e.scrollWidth <= e.clientWidth"
    assert shown.locator("#pairs .second").evaluate(wide) and shown.locator("#pairs .wide").evaluate(wide)
    first = shown.locator("#gallery canvas").first.bounding_box()
    assert first is not None and first["y"] + first["height"] / 2 < 900
    shown.locator("#gallery .card").first.click()
    until(lambda: shown.locator("output[for=step]").inner_text().count("|") == 2)
    assert shown.locator("#detail").evaluate(wide)
    out = "e => e.getBoundingClientRect().right <= document.getElementById('detail').getBoundingClientRect().right"
    assert shown.locator("output[for=step]").evaluate(out)


def test_the_first_map_is_above_the_fold(run: Path, opened: Opener) -> None:
    shown = opened(run / "report.html")
    box = shown.locator("#gallery .card canvas").first.bounding_box()
    assert box is not None and box["y"] + box["height"] < 900
    assert shown.locator("#counts").is_visible() and not shown.locator("#charts").is_visible()


def test_a_card_says_what_its_map_shows_and_which_object_it_is(run: Path, opened: Opener) -> None:
    shown = opened(run / "report.html")
    told = shown.locator("#gallery .card .told").all_inner_texts()
    alone, rest = 0.1**0.5, 0.9**3
    assert f"The top 10 % alone give {alone:.3f}, the rest {rest:.3f}." in told
    assert any(t.startswith("Shows nothing: ") for t in told)


def test_the_theme_can_be_chosen(run: Path, opened: Opener) -> None:
    shown = opened(run / "report.html", color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    system = shown.evaluate(ground)
    shown.locator("#theme").click()
    assert shown.evaluate(ground) == "rgb(246, 246, 244)" != system
    shown.locator("#theme").click()
    assert shown.evaluate(ground) == system
    shown.emulate_media(media="print")
    assert shown.evaluate(ground) == "rgb(246, 246, 244)", "paper is white whatever was chosen"


def test_every_map_is_drawn_without_scrolling_and_in_print(tmp_path: Path, opened: Opener) -> None:
    toy_run(tmp_path / "run", 30)
    write_page(tmp_path / "run")
    shown = opened(tmp_path / "run" / "report.html", height=500)
    until(lambda: shown.locator("#gallery canvas[data-drawn]").count() == 30)
    shown.emulate_media(media="print")
    assert not shown.locator("#tools").is_visible() and not shown.locator("#theme").is_visible()


def test_groups_by_class_status_and_place(run: Path, opened: Opener) -> None:
    shown = opened(run / "report.html")
    for by, titles in (("name", {"cat", "dog", "emu"}), ("status", {"ok", "stalled", "unreadable"})):
        shown.locator("#group").select_option(by)
        heads = [t.rpartition(" ")[0] for t in shown.locator("#gallery .group").all_inner_texts()]
        assert titles <= set(heads) and len(heads) == len(set(heads))
    shown.locator("#group").select_option("place")
    heads = shown.locator("#gallery .group").all_inner_texts()
    assert any(h.startswith("heat in the box") for h in heads) and any(h.startswith("no map") for h in heads)


def test_ways_to_the_files_of_an_explanation(run: Path, opened: Opener) -> None:
    shown = opened(run / "report.html")
    shown.locator("[data-open='2']").click()
    way = shown.locator("#detail-links a", has_text="explanation.npz").get_attribute("href")
    assert way is not None and (run / way).is_file() and not way.startswith("././")
    with shown.expect_download() as waiting:
        shown.locator("#download").click()
    saved = np.asarray(PIL.Image.open(waiting.value.path()))
    assert waiting.value.suggested_filename.endswith(".png") and saved.shape[1] >= 200


def test_compared_maps_stand_side_by_side_with_their_difference_and_their_statistics(
    tmp_path: Path, opened: Opener
) -> None:
    for name, better in (("one", 0.0), ("two", 0.05)):
        paths = [tmp_path / "photos" / f"photo-{i}.png" for i in range(3)]
        photos = [photo(p, seed=i) for i, p in enumerate(paths)]
        made = [explanation(paths[n % 3], photos[n % 3], n % 3) for n in range(3)]
        few = [replace(e, scores=tuple(replace(s, value=s.value + better) for s in e.scores[:2])) for e in made]
        made_run(tmp_path / name, few)
    assert cli.main(["compare", str(tmp_path / "one"), str(tmp_path / "two"), "--out", str(tmp_path / "c.html")]) == 0
    shown = opened(tmp_path / "c.html")
    rows = [r.split("\t") for r in shown.locator("#pairs tbody tr").all_inner_texts()]
    words = " | ".join(" ".join(r) for r in rows)
    assert (
        shown.locator("#pairs tbody").count() == 1 and "Only 3 pictures" in shown.locator("#pairs .second").inner_text()
    )
    assert "deletion" in words and "\N{MINUS SIGN}0.050" in words and "3 : 0 of 3" in words and "0 : 3 of 3" in words
    shown.locator("#gallery .card").first.click()
    canvases = shown.locator("#map .frames canvas")
    assert canvases.count() == 2
    until(lambda: shown.locator("#difference").get_attribute("data-drawn") == "difference")
    assert shown.locator("#curves svg").count() == 1 and shown.locator("#curves polyline").count() == 4
    slide(shown.locator("#step"), 3)
    for canvas in shown.locator("#course .frames canvas").all():
        settle(canvas, "deletion 3")
