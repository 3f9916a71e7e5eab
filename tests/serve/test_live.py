"""The live page in a browser: every step by mouse and by keyboard, wide and narrow, light and dark. One server with a
detector and a classifier, one browser.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
import pytest

from igos import cli
from tests.commands import Command
from tests.conftest import ROOT, Later
from tests.results.test_page import browser as browser
from tests.serve.test_guard import bomb

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

HOSTILE = "z'\"><img src=x onerror=window.taken=1>.png"
WIDE, NARROW = (1440, 900), (390, 844)
SLIDE = "(c, v) => { c.value = v; c.dispatchEvent(new Event('input', { bubbles: true })); }"
axe = Later("axe_playwright_python.sync_playwright")
Opener = Callable[..., Any]


class Live:
    """The server: its address, its process, the folder of its run."""

    def __init__(self, folder: Path) -> None:
        self.data, self.output = folder / "data", folder / "run"
        self.data.mkdir()
        for name, new in (("scene-04", "a.png"), ("scene-07", "b.png"), ("scene-12", HOSTILE)):
            shutil.copy(ROOT / "samples" / f"{name}.png", self.data / new)
        words = ["--model", "emblem-yolov3spp", "--model", "emblem-vgg", "--data", str(self.data)]
        steps = ["--set", "deletion.steps=10", "insertion.steps=10", "--metrics", "deletion", "insertion", "pointing"]
        self.command = Command("-m", "igos", "serve", *words, *steps, "--output", str(self.output), cwd=folder)
        self.out = Path(self.command._files[0].name)
        end = time.monotonic() + 120
        while not (found := re.search(r"http://127.0.0.1:\d+/\?token=\S+", self.out.read_text())):
            assert time.monotonic() < end and self.command.alive(), Path(self.command._files[1].name).read_text()
            time.sleep(0.05)
        self.address = found[0]

    def network(self) -> int:
        """The id of the process that runs the network."""
        children = Path(f"/proc/{self.command.pid}/task/{self.command.pid}/children").read_text().split()
        found = [int(c) for c in children if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]
        return found[-1]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    made = Live(tmp_path_factory.mktemp("live"))
    yield made
    if made.command.alive():
        made.command.process.kill()


@pytest.fixture
def opened(browser: Browser, live: Live) -> Iterator[Opener]:
    """Opens the page; at the end no error is on its console, and no other host was asked for anything."""
    told: list[str] = []
    pages: list[Page] = []
    base = live.address.partition("?")[0]

    def opener(size: tuple[int, int] = WIDE, scheme: Any = "light") -> Page:
        made = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
        made.set_default_timeout(30_000)
        pages.append(made)
        made.on("console", lambda m: told.append(f"{m.type}: {m.text}") if "400 (Bad Request)" not in m.text else None)
        made.on("pageerror", lambda e: told.append(str(e)))
        made.on("request", lambda r: None if r.url.startswith((base, "data:", "blob:")) else told.append(r.url))
        made.goto(live.address)
        made.locator("#boxes li").first.wait_for(state="attached")
        assert "token" not in made.url
        return made

    yield opener
    for one in pages:
        one.close()
    assert told == []


def until(true: Callable[[], Any], seconds: float = 40) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def box(page: Page, nth: int = 0) -> Locator:
    return page.get_by_role("list", name="Detections").get_by_role("button").nth(nth)


SLOW = "iGOS+"  # thorough takes 25 steps with it, and time enough to do something on the way


def ask(page: Page, preset: str = "quick", nth: int = 0, method: str | None = None) -> None:
    if method is not None:
        page.get_by_role("combobox", name="Method", exact=True).select_option(method)
    page.get_by_label("Preset").select_option(preset)
    box(page, nth).click(position={"x": 5, "y": 5})
    page.get_by_role("button", name="Explain").click()


def status(page: Page) -> str:
    return page.get_by_role("status").inner_text()


WATCH = """() => {
    window.seen = []; window.drawn = [];
    const told = document.getElementById('status'), view = document.getElementById('view');
    const all = {childList: true, characterData: true, subtree: true};
    new MutationObserver(() => seen.push(told.textContent)).observe(told, all);
    const small = new OffscreenCanvas(160, 120).getContext('2d', {willReadFrequently: true});
    const sum = () => { small.drawImage(view, 0, 0, 160, 120);
        return small.getImageData(0, 0, 160, 120).data.reduce((all, v) => all + v, 0); };
    const frame = () => drawn.push([performance.now(), sum()]);
    new MutationObserver(frame).observe(view, {attributes: true, attributeFilter: ['data-step']}); }"""


IN_VIEW = """() => new MutationObserver(() => {
    const inside = (id) => { const b = document.getElementById(id).getBoundingClientRect();
        const middle = document.elementFromPoint((b.left + b.right) / 2, (b.top + b.bottom) / 2);
        return b.height > 0 && b.top >= 0 && b.bottom <= innerHeight && middle.closest('#' + id) != null; };
    const told = document.getElementById('told').textContent;
    if (told.includes('alone')) shown.push(inside('photo') && inside('status') && inside('told') && inside('cancel'));
}).observe(document.getElementById('told'), {childList: true})"""


def watch(page: Page) -> None:
    """From now on the page notes what the status says, and when and how large the picture of each step is."""
    page.evaluate(WATCH)


def told(page: Page) -> list[str]:
    until(lambda: status(page) in ("done", "failed", "cancelled"))
    seen: list[str] = page.evaluate("seen")
    return seen


def clean(page: Page) -> None:
    """No violation of WCAG A or AA."""
    levels = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    found = axe.Axe().run(page, options={"runOnly": levels, "resultTypes": ["violations"]})
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize(("size", "scheme"), [(WIDE, "light"), (NARROW, "dark")])
def test_the_story_by_mouse(opened: Opener, live: Live, size: tuple[int, int], scheme: str) -> None:
    page = opened(size, scheme)
    before = page.locator("#cards .card").count()
    assert page.get_by_role("button", name="a.png", exact=True).get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="b.png", exact=True).click()
    until(lambda: page.get_by_role("img", name="b.png", exact=True).count() == 1)
    names = page.get_by_role("list", name="Detections").get_by_role("button").all_inner_texts()
    assert names and all(re.fullmatch(r"\w+ \d\.\d\d", n) for n in names)
    page.locator("#threshold").evaluate(SLIDE, 0.95)
    high = page.get_by_role("list", name="Detections").get_by_role("button").count()
    page.locator("#threshold").evaluate(SLIDE, 0.4)
    assert high <= len(names)
    assert page.get_by_role("button", name="Explain").is_disabled()
    watch(page)
    ask(page, "thorough")
    seen = told(page)
    steps = [s for s in seen if s.startswith("step ")]
    total = int(steps[0].split()[-1])
    assert steps[0] == f"step 0 of {total}" and [int(s.split()[1]) for s in steps] == list(range(len(steps)))
    assert len(steps) > total and seen[-1] == "done"
    frames = page.evaluate("drawn")
    gaps = np.diff([t for t, _ in frames])
    assert len(frames) > 4 and gaps.min() > 70, "each step stays for a while"
    assert len({size for _, size in frames[:-1]}) >= 3, "the map grows: at least three pictures before the last"
    clean(page)

    assert page.locator("#understand").is_visible() and page.locator("#curves svg").count() == 1
    page.locator("#step").evaluate(SLIDE, 3)
    assert re.match(r"30%: score [\d.e-]+", page.locator("output[for=step]").inner_text())
    for style in ("keep", "blur", "contour", "heat"):
        page.locator(f"#styles input[value={style}]").check()
        until(lambda style=style: str(page.locator("#map-picture").get_attribute("data-drawn")).startswith(style))
    assert "while the most important parts are hidden" in page.locator("#table").inner_text(), "what figures mean"
    with page.expect_download() as got:
        page.get_by_role("button", name="Picture (PNG)").click()
    assert PIL.Image.open(got.value.path()).width > 200
    with page.expect_download() as got:
        page.get_by_role("link", name="explanation.npz").click()
    own = np.load(got.value.path())["saliency"]
    with page.expect_download() as got:
        page.get_by_role("link", name="Row (JSON)").click()
    row = json.loads(Path(got.value.path()).read_text())
    assert row["preset"] == "thorough" and own.shape == (28, 28)
    page.locator("#take summary").click()
    command = page.locator("#command").inner_text()
    assert "--config thorough" in command and "b.png" in command
    assert (live.output / row["folder"] / "explanation.npz").is_file(), "a run's folder grows"

    ask(page, "quick", 1)
    told(page)
    page.get_by_label("Side by side with").select_option(index=before + 1)
    assert page.locator("#map .frames canvas").count() == 2 and page.locator("#difference").is_visible()
    assert page.locator("#curves svg").count() == 1 and page.locator("#curves polyline").count() == 4, "in one plot"
    page.locator("#step").evaluate(SLIDE, 5)
    until(lambda: [c.get_attribute("data-drawn") for c in page.locator("#course canvas").all()] == ["deletion 5"] * 2)
    assert page.locator("#table thead th").count() == 2
    page.reload()
    page.locator("#cards .card").first.wait_for()
    assert page.locator("#cards .card").count() == before + 2, "what was explained is there again"


@pytest.mark.parametrize(("size", "scheme"), [(WIDE, "dark"), (NARROW, "light")])
def test_the_story_by_keyboard(opened: Opener, size: tuple[int, int], scheme: str) -> None:
    """Every control is reached by Tab."""
    page = opened(size, scheme)
    page.get_by_role("button", name="b.png", exact=True).focus()
    page.keyboard.press("Enter")
    until(lambda: page.get_by_role("img", name="b.png", exact=True).count() == 1)
    for wanted in ("boxes", "threshold", "model", "method", "preset", "question", "explain"):
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.id || document.activeElement.closest('ul')?.id") == wanted:
                break
        else:
            pytest.fail(f"{wanted} is not reached")
        if wanted == "boxes":
            page.keyboard.press("Space")
        if wanted == "preset":
            page.keyboard.press("ArrowUp")
            assert page.get_by_label("Preset").input_value() == "quick"
    page.keyboard.press("Enter")
    told_ = page.get_by_role("status")
    until(lambda: told_.inner_text().startswith("step "))
    until(lambda: told_.inner_text() == "done")
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0], "nothing beside the screen"
    page.locator("#step").focus()
    before = page.locator("output[for=step]").inner_text()
    page.keyboard.press("ArrowRight")
    assert page.locator("output[for=step]").inner_text() != before
    clean(page)


@pytest.mark.parametrize(("size", "scheme"), [(WIDE, "dark"), (NARROW, "light")])
def test_an_answer_fits_and_is_legible_at_the_other_sizes_and_colours(
    opened: Opener, size: tuple[int, int], scheme: str
) -> None:
    """What the stories do not look at: whether all fits, and what stays in view on the way."""
    page = opened(size, scheme)
    watch(page)
    ask(page)
    steps = [s for s in told(page) if s.startswith("step ")]
    assert [int(s.split()[1]) for s in steps] == list(range(len(steps))) and len(page.evaluate("drawn")) >= 3
    page.locator("#step").evaluate(SLIDE, 3)
    assert re.match(r"30%: score [\d.e-]+", page.locator("output[for=step]").inner_text())
    page.locator("#styles input[value=blur]").check()
    until(lambda: str(page.locator("#map-picture").get_attribute("data-drawn")).startswith("blur"))
    with page.expect_download() as got:
        page.get_by_role("button", name="Picture (PNG)").click()
    assert PIL.Image.open(got.value.path()).width > 200
    for part in ("#photo", "#panel", "#understand", "#answers", "#take"):
        place = page.locator(part).bounding_box()
        assert place is not None and place["x"] >= 0 and place["x"] + place["width"] <= size[0], part
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0], "nothing beside the screen"
    photo = page.locator("#photo").bounding_box()
    assert photo is not None and photo["width"] > 0.8 * min(size[0], 600), "the photo is large"
    clean(page)
    page.get_by_role("button", name="Explain").scroll_into_view_if_needed()
    page.evaluate("window.shown = []")
    page.evaluate(IN_VIEW)
    ask(page, "thorough", 1)
    until(lambda: len(page.evaluate("shown")) > 3 or status(page) == "done")
    assert len(page.evaluate("shown")) > 3 and all(page.evaluate("shown")), "photo, status, scores, Cancel at each step"
    page.get_by_role("button", name="Cancel").click()
    until(lambda: status(page) == "cancelled")


def test_a_classifier_offers_classes(opened: Opener) -> None:
    page = opened(WIDE, "dark")
    clean(page)
    page.get_by_label("Model").select_option("1")
    until(lambda: page.locator("#boxes.classes").count() == 1)
    page.locator("#threshold").evaluate(SLIDE, 0.05)
    box(page).click()
    page.get_by_label("Method").select_option("grad_cam")
    page.get_by_role("button", name="Explain").click()
    until(lambda: status(page) == "done")
    assert "grad_cam" in page.locator("#facts").inner_text() and "emblem-vgg" in page.locator("#facts").inner_text()
    page.get_by_label("Method").select_option("iGOS++")
    page.get_by_label("Preset").select_option("quick")


def test_cancel_and_replace(opened: Opener) -> None:
    page = opened()
    watch(page)
    ask(page, "thorough", method=SLOW)
    until(lambda: status(page).startswith("step 1"))
    page.get_by_role("button", name="Cancel").click()
    assert status(page) == "cancelled" and page.get_by_role("button", name="Cancel").is_disabled()
    ask(page, "thorough", method=SLOW)
    until(lambda: status(page).startswith("step "))
    box(page, 1).click(position={"x": 5, "y": 5})
    page.get_by_label("Preset").select_option("quick")
    page.get_by_role("button", name="Explain").click()
    assert "cancelled" in page.locator("#told").inner_text()
    told(page)
    assert status(page) == "done" and "quick" in page.locator("#facts").inner_text()
    cards = page.locator("#cards .card").all_inner_texts()
    assert not any("thorough" in c for c in cards[:1]), "what was cancelled is no answer"
    for role, name in (
        ("combobox", "Method"),
        ("combobox", "Preset"),
        ("combobox", "Question"),
        ("slider", "Threshold"),
    ):
        assert page.get_by_role(role, name=name, exact=True).count() == 1  # type: ignore[arg-type]
    for name in ("Explain", "Cancel", "a.png", box(page).inner_text()):
        assert page.get_by_role("button", name=name).count() == 1, f"one button is called {name}"
    assert page.get_by_role("status").count() == 1


def test_two_tabs_and_one_that_is_closed(opened: Opener) -> None:
    first, second = opened(), opened(NARROW)
    ask(first, "thorough", method=SLOW)
    until(lambda: status(first).startswith("step "))
    ask(second, "thorough", method=SLOW)
    until(lambda: status(second).startswith("waiting"))
    assert "1 before it" in status(second)
    first.close()
    until(lambda: status(second).startswith("step "), 6)
    until(lambda: status(second) == "done")


@pytest.mark.parametrize("name", ["words.txt", "bomb.png", "nothing.png", "drawing.svg"])
def test_what_is_no_picture_is_a_sentence(opened: Opener, tmp_path: Path, name: str) -> None:
    script = b"<svg xmlns='http://www.w3.org/2000/svg'><script>window.taken=1</script></svg>"
    data = {"words.txt": b"words", "bomb.png": bomb(), "nothing.png": b"", "drawing.svg": script}[name]
    (tmp_path / name).write_bytes(data)
    page = opened()
    strip = page.locator("#strip button").count()
    page.set_input_files("#file", tmp_path / name)
    until(lambda: page.get_by_role("alert").inner_text() != "")
    assert name in page.get_by_role("alert").inner_text()
    assert page.locator("#strip button").count() == strip and page.evaluate("window.taken") is None
    assert page.get_by_role("img", name="a.png", exact=True).count() == 1, "the picture before stays"


def test_a_picture_is_dropped(opened: Opener) -> None:
    page = opened()
    out = io.BytesIO()
    PIL.Image.open(ROOT / "samples" / "scene-17.png").convert("RGB").resize((1600, 1200)).save(out, "JPEG")
    page.evaluate(
        """(bytes) => { const t = new DataTransfer();
        t.items.add(new File([Uint8Array.from(bytes)], 'dropped <b>.jpg', {type: 'image/jpeg'}));
        document.body.dispatchEvent(new DragEvent('drop', {dataTransfer: t, bubbles: true, cancelable: true})); }""",
        list(out.getvalue()),
    )
    page.get_by_role("img", name="dropped <b>.jpg").wait_for()
    assert page.get_by_role("button", name="dropped <b>.jpg").get_attribute("aria-pressed") == "true"
    assert box(page).count() == 1


def test_a_folder_of_five_thousand_is_there_at_once(opened: Opener) -> None:
    page, asked = opened(), list[str]()
    names = [f"picture-{n:04}.jpg" for n in range(5000)]
    page.route("**/start", lambda route: route.fulfill(json={**route.fetch().json(), "pictures": names}))
    page.route("**/seen?*", lambda route: route.fulfill(json={"detections": [], "frame": [], "size": [4, 3]}))
    page.on("request", lambda r: asked.append(r.url) if r.url.endswith("/thumb") else None)
    page.route("**/thumb", lambda route: route.fulfill(status=204))
    page.reload()
    until(lambda: page.locator("#strip button").count() == 5000)
    assert page.evaluate("performance.now()") < 5000 and len(asked) < 60, "their pictures when they are looked at"

    page.evaluate(
        """async () => { const s = document.getElementById('strip');
        for (let i = 1; i <= 40; i++) {
            s.scrollLeft = s.scrollWidth * i / 40;
            await new Promise(requestAnimationFrame);
        } }"""
    )
    until(lambda: page.evaluate("document.querySelector('#strip').lastChild.childElementCount"))
    until(lambda: page.evaluate("1") and any(url.endswith("/4999/thumb") for url in asked))


def test_what_is_scrolled_past_is_not_waited_for(opened: Opener) -> None:
    """A folder that answers slowly: the last picture comes while the first are still asked for."""
    page, hung = opened(), list[Any]()
    names = [f"picture-{n:04}.jpg" for n in range(5000)]
    page.route("**/start", lambda route: route.fulfill(json={**route.fetch().json(), "pictures": names}))
    page.route("**/seen?*", lambda route: route.fulfill(json={"detections": [], "frame": [], "size": [4, 3]}))
    page.route("**/thumb", lambda route: hung.append(route))
    page.reload()
    until(lambda: page.evaluate("document.querySelectorAll('#strip img').length") > 5)
    page.locator("#strip").evaluate("s => { s.scrollLeft = s.scrollWidth; }")
    until(lambda: page.evaluate("document.querySelector('#strip').lastChild.childElementCount"))
    first = "document.querySelector('#strip').firstChild.childElementCount"
    until(lambda: page.evaluate(first) == 0)
    page.locator("#strip").evaluate("s => { s.scrollLeft = 0; }")
    until(lambda: page.evaluate(first) == 1)
    page.close()  # what hangs is never asked of the server


def test_names_stay_text(opened: Opener) -> None:
    page = opened()
    taken = [{"name": HOSTILE, "score": 0.9, "box": [0.1, 0.1, 0.5, 0.5]}]

    def answer(route: Any) -> None:
        route.fulfill(json={**route.fetch().json(), "detections": taken})

    page.route("**/seen?*", answer)
    page.get_by_role("button", name=HOSTILE, exact=True).click()
    page.get_by_role("button", name=f"{HOSTILE} 0.90", exact=True).click()
    assert page.locator("#chosen").text_content() == f"{HOSTILE} 0.90"
    assert page.evaluate("window.taken") is None and page.locator("#boxes img").count() == 0


def test_what_is_painted_is_answered(opened: Opener) -> None:
    page = opened()
    box(page).click(position={"x": 5, "y": 5})
    page.get_by_role("button", name="Paint").click()
    until(lambda: "before" in page.locator("#painted").inner_text())
    place = page.locator("#paint").bounding_box()
    edges = page.locator("#boxes button").first.evaluate(
        "b => { const r = b.getBoundingClientRect(); return [r.x, r.y, r.right, r.bottom]; }"
    )
    assert place is not None
    x1, y1, x2, y2 = edges
    page.mouse.move(x1, y1)
    page.mouse.down()
    for i in range(9):
        page.mouse.move(x1 if i % 2 else x2, y1 + (y2 - y1) * i / 8, steps=6)
    page.mouse.up()

    def fell() -> bool:
        before, now = re.findall(r"([\d.e-]+) (?:before|with)", page.locator("#painted").inner_text())
        return float(now) < 0.6 * float(before)

    until(fell)
    page.get_by_role("button", name="Clean").click()
    until(lambda: not fell())


def test_a_box_of_ones_own(opened: Opener) -> None:
    """Where nothing is seen: drawn by mouse, moved by the arrows, a class chosen, explained."""
    page = opened()
    page.get_by_role("button", name="Draw a box").click()
    place = page.locator("#rubber").bounding_box()
    assert place is not None
    page.mouse.move(place["x"] + 0.7 * place["width"], place["y"] + 0.02 * place["height"])
    page.mouse.down()
    page.mouse.move(place["x"] + 0.95 * place["width"], place["y"] + 0.2 * place["height"], steps=4)
    page.mouse.up()
    page.locator("#rubber").focus()
    page.keyboard.press("ArrowDown")
    clean(page)
    page.get_by_label("What should be here?").select_option("ring")
    page.get_by_role("button", name="Take it").click()
    assert page.get_by_role("button", name="ring expected").get_attribute("aria-pressed") == "true"
    page.get_by_label("Preset").select_option("quick")
    page.get_by_role("button", name="Explain").click()
    until(lambda: status(page) in ("done", "failed"))
    assert status(page) == "done", page.get_by_role("alert").inner_text()
    page.locator("#take summary").click()
    assert re.search(r"expect:ring@[\d.]+,", page.locator("#command").inner_text())
    assert "Why it is no detection" in page.locator("#sentence").inner_text()


def test_the_network_dies_and_comes_again(opened: Opener, live: Live) -> None:
    page = opened()
    ask(page, "thorough", method=SLOW)
    until(lambda: status(page).startswith("step "))
    os.kill(live.network(), signal.SIGKILL)
    until(lambda: "died (signal 9)" in page.get_by_role("alert").inner_text())
    assert status(page) == "failed" and page.get_by_role("img", name="a.png", exact=True).count() == 1, (
        "the picture stays"
    )
    page.get_by_label("Preset").select_option("quick")
    page.get_by_role("button", name="Explain").click()
    until(lambda: status(page) == "done")


def test_ctrl_c_ends_it_and_leaves_the_folder_whole(opened: Opener, live: Live) -> None:
    page = opened()
    ask(page, "thorough", method=SLOW)
    until(lambda: status(page).startswith("step "))
    begin = time.monotonic()
    os.kill(live.command.pid, signal.SIGINT)
    live.command.process.join(10)
    seconds = time.monotonic() - begin
    code, out, _ = live.command.end()
    assert code == 0 and seconds < 2 and str(live.output) in out
    assert cli.main(["report", str(live.output), "--strict"]) == 0
    assert (live.output / "results.csv").read_text().count("\n") >= 2
