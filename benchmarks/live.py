"""How fast the live page answers, through a real browser, and whether its memory grows.

    python benchmarks/live.py [--times 5] [--explanations 300]

On yolo-fastest-xl of ../shared/data: seconds, and the ratio to the bare network on this machine. Needs playwright and a
Chromium on the PATH.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from playwright.sync_api import Page, sync_playwright

import igos
from igos.run.problem import make_problem

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
YOLO = DATA / "yolo-fastest"
PHOTO = DATA / "photos" / "darknet_dog.jpg"
MODEL = {"cfg": str(YOLO / "yolo-fastest-1.1-xl.cfg"), "names": str(YOLO / "coco.names")}
WEIGHTS = str(YOLO / "yolo-fastest-1.1-xl.weights")
NOTE = """() => {
    window.at = {}; const view = document.getElementById('view'), told = document.getElementById('status');
    new MutationObserver(() => { at[view.dataset.step] ??= performance.now(); }).observe(view, {attributes: true});
    new MutationObserver(() => { at[told.textContent] = performance.now(); }).observe(told, {childList: true}); }"""

CLICKED = "document.getElementById('explain').addEventListener('click', () => { at.click = performance.now(); }, true)"
PAINTED = """() => {
    const note = () => { window.answered ||= performance.now(); }; window.answered = 0;
    new MutationObserver(note).observe(document.getElementById('painted'), {childList: true});
    const down = () => { at.paint = performance.now(); };
    document.getElementById('paint').addEventListener('pointerdown', down, true); }"""


@contextmanager
def served(*words: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """igos serve with these words: its address and its process."""
    command = [sys.executable, "-m", "igos", "serve", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found = re.search(r"http\S+", process.stdout.readline())
    assert found, "the server did not start"
    try:
        yield found[0], process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)


@contextmanager
def browsing(width: int = 1440, height: int = 900, **more: Any) -> Iterator[Page]:
    """A page of a Chromium on the PATH."""
    browser = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
    if browser is None:
        raise SystemExit("no chromium, chromium-browser or google-chrome on the PATH")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        yield chromium.new_page(viewport={"width": width, "height": height}, **more)
        chromium.close()


def ask(page: Page, preset: str = "default", nth: int = 0) -> None:
    """Choose a detection and explain it."""
    page.get_by_label("Preset").select_option(preset)
    page.get_by_role("list", name="Detections").get_by_role("button").nth(nth).click(position={"x": 5, "y": 5})
    page.get_by_role("button", name="Explain").click()


def until(page: Page, true: str, seconds: float = 120) -> None:
    """Wait until an expression is true; the page's policy forbids a browser's own waiting for one."""
    end = time.monotonic() + seconds
    while not page.evaluate(true):
        if time.monotonic() > end:
            raise SystemExit(f"{seconds:g} s were not enough for {true}")
        time.sleep(0.02)


def done(page: Page) -> None:
    until(page, "['done', 'failed'].includes(document.getElementById('status').textContent)")


def network() -> dict[str, float]:
    """Seconds of the bare network: to look, and of a step of iGOS++ (4 pictures there and back)."""
    adapter = igos.load("darknet", WEIGHTS, **MODEL)
    image = adapter.read(PHOTO)
    problem = make_problem(adapter, image, adapter.detect(image)[:1])
    row, made = torch.zeros(4, dtype=torch.long), problem.x.expand(4, -1, -1, -1)
    return {
        "look": _median(lambda: adapter.detect(image)),
        "step": _median(lambda: list(problem.score.stream(row, lambda p: made[p], gradient=True))),
        "score": _median(lambda: list(problem.score.stream(row[:1], lambda p: made[p][:1]))),
    }


def _median(work: Any, times: int = 7) -> float:
    seconds = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def measured(page: Page, address: str, photo: bytes) -> dict[str, float]:
    """One round: seconds from what a person does to what a person sees."""
    begin = time.perf_counter()
    page.goto(address, wait_until="domcontentloaded")
    page.locator("#strip button").first.wait_for()
    made = {"page shown": time.perf_counter() - begin}
    page.locator("#boxes button").first.wait_for()
    begin = time.perf_counter()
    page.set_input_files("#file", {"name": "new.jpg", "mimeType": "image/jpeg", "buffer": photo})
    page.get_by_role("img", name="new.jpg").wait_for()
    made["boxes after a drop of 2 MP"] = time.perf_counter() - begin
    page.evaluate(NOTE)
    page.evaluate(
        "document.getElementById('explain').addEventListener('click', () => { at.click = performance.now(); }, true)"
    )
    ask(page)
    done(page)
    at = {k: v / 1000 for k, v in page.evaluate("at").items()}
    steps = [at[str(n)] for n in range(len([k for k in at if k.isdecimal()]))]
    made["first frame after the click"] = steps[0] - at["click"]
    made["first step after the click"] = steps[1] - at["click"]
    made["a further step"] = statistics.median(b - a for a, b in zip(steps[1:], steps[2:], strict=False))
    page.get_by_role("button", name="Paint").click()
    until(page, "document.getElementById('painted').textContent")
    page.wait_for_timeout(300)
    place = page.locator("#paint").bounding_box()
    assert place is not None
    page.evaluate(PAINTED)
    page.mouse.click(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
    until(page, "window.answered")
    made["brush answer"] = page.evaluate("(answered - at.paint) / 1000")
    return made


def memory(pid: int) -> float:
    """MB of a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    pages = sum(int(Path(f"/proc/{p}/statm").read_text().split()[1]) for p in (pid, *children))
    return pages * 4096 / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5, help="rounds, of which the median is told")
    parser.add_argument(
        "--explanations", type=int, default=0, help="so many quick ones, and the memory after each tenth"
    )
    given = parser.parse_args()
    from PIL import Image

    out = io.BytesIO()
    Image.open(PHOTO).convert("RGB").resize((1732, 1155)).save(out, "JPEG", quality=88)
    words = ["--model", "darknet", "--model_file", WEIGHTS, *(w for k, v in MODEL.items() for w in (f"--{k}", v))]
    bare = network()
    with tempfile.TemporaryDirectory() as folder:
        place = ["--data", str(DATA / "photos"), "--output", f"{folder}/run"]
        with served(*words, *place) as (address, process), browsing() as page:
            rounds = [measured(page, address, out.getvalue()) for _ in range(given.times)]
            limits = {"page shown": 0.5, "boxes after a drop of 2 MP": 0.5, "first frame after the click": 0.7,
                      "first step after the click": 0.7, "brush answer": 0.3}  # fmt: skip
            own = {"boxes after a drop of 2 MP": "look", "a further step": "step", "first step after the click": "step",
                   "brush answer": "score"}  # fmt: skip
            print(f"{'':32}{'seconds':>9}{'at most':>9}{'x network':>11}")
            for name in rounds[0]:
                seconds = statistics.median(r[name] for r in rounds)
                ratio = f"{seconds / bare[own[name]]:.2f}" if name in own else "-"
                most = limits.get(name, max(1.3 * bare["step"], 0.08) if name == "a further step" else 0)
                print(f"{name:32}{seconds:9.3f}{most:9.3f}{ratio:>11}")
            print("the bare network: " + ", ".join(f"{k} {v:.3f} s" for k, v in bare.items()), flush=True)
            page.reload()
            page.locator("#boxes button").first.wait_for()
            for n in range(given.explanations):
                ask(page, "quick")
                until(page, "document.getElementById('status').textContent !== 'done'")
                done(page)
                if (n + 1) % max(given.explanations // 10, 1) == 0:
                    print(f"after {n + 1:4} explanations: {memory(process.pid):7.0f} MB", flush=True)


if __name__ == "__main__":
    main()
