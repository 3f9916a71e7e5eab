"""How fast the live page answers, through a real browser, and whether its memory grows.

    python benchmarks/live.py [--times 5]
    python benchmarks/live.py --memory 300 [--model emblem-vgg]

On yolo-fastest-xl of ../shared/data: seconds, and the ratio to the bare network, which is measured here before each
round: where others use the machine, too, the ratios count. --memory: so many explanations of one step by a bundled
model, and the memory of the server and its network after each tenth. Needs playwright and a Chromium on the PATH.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import igos  # noqa: E402
from benchmarks.browser import launch  # noqa: E402
from igos.base.memory import keep_freed  # noqa: E402
from igos.run.problem import make_problem  # noqa: E402

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
    with sync_playwright() as playwright:
        chromium = launch(playwright)
        yield chromium.new_page(viewport={"width": width, "height": height}, **more)
        chromium.close()


def ask(page: Page, preset: str = "default", nth: int = 0) -> None:
    """Choose a detection and explain it."""
    page.get_by_label("Preset").select_option(preset)
    page.get_by_role("list", name="Detections").get_by_role("button").nth(nth).click(position={"x": 5, "y": 5})
    page.get_by_role("button", name="Explain").click()


def until(page: Page, true: str, seconds: float = 240) -> None:
    """Wait until an expression is true; the page's policy forbids a browser's own waiting for one."""
    end = time.monotonic() + seconds
    while not page.evaluate(true):
        if time.monotonic() > end:
            raise SystemExit(f"{seconds:g} s were not enough for {true}")
        time.sleep(0.02)


ENDED = """() => new Promise((go) => {
    const told = document.getElementById('status');
    const look = () => ['done', 'failed'].includes(told.textContent) && go();
    new MutationObserver(look).observe(told, {childList: true}); look(); })"""


def done(page: Page) -> None:
    """Wait in the page: to ask it again and again would take time from the network beside it."""
    page.evaluate(ENDED)


class Bare:
    """The network by itself, in this process, with memory kept as in the server's."""

    def __init__(self) -> None:
        keep_freed()
        self.adapter = igos.load("darknet", WEIGHTS, **MODEL)
        self.image = self.adapter.read(PHOTO)
        self.problem = make_problem(self.adapter, self.image, self.adapter.detect(self.image)[:1])

    def seconds(self) -> dict[str, float]:
        """To look; of a step of iGOS++ (4 pictures there and back); of that and the two scores that the page shows with
        it; of one score.
        """
        row, made = torch.zeros(4, dtype=torch.long), self.problem.x.expand(4, -1, -1, -1)
        score = self.problem.score

        def step() -> None:
            list(score.stream(row, lambda p: made[p], gradient=True))

        def told() -> None:
            step()
            list(score.stream(row[:2], lambda p: made[p]))

        return {
            "look": _median(lambda: self.adapter.detect(self.image)),
            "step": _median(step),
            "told step": _median(told),
            "score": _median(lambda: list(score.stream(row[:1], lambda p: made[p]))),
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
    page.evaluate(CLICKED)
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


LIMITS = {  # seconds that a person waits at most, and what of the bare network it is held against
    "page shown": (0.5, None),
    "boxes after a drop of 2 MP": (0.5, "look"),
    "first frame after the click": (0.7, None),
    "first step after the click": (0.7, "told step"),
    "a further step": (None, "told step"),
    "a further step, no page open": (None, "told step"),
    "brush answer": (0.3, "score"),
}


def speed(times: int, words: Sequence[str]) -> None:
    """The table of seconds and ratios."""
    out, bare = io.BytesIO(), Bare()
    Image.open(PHOTO).convert("RGB").resize((1732, 1155)).save(out, "JPEG", quality=88)
    own, rounds = list[dict[str, float]](), list[dict[str, float]]()
    with served(*words) as (address, _), browsing() as page:
        for _ in range(times):
            own.append(bare.seconds())
            rounds.append(measured(page, address, out.getvalue()))
            told = ", ".join(f"{what} {seconds:.3f}" for what, seconds in {**rounds[-1], **own[-1]}.items())
            print(f"round {len(rounds)}: {told}", flush=True)
    with served(*words[:-1], f"{words[-1]}-unseen") as (address, _):
        for each in rounds:
            each["a further step, no page open"] = unseen(address)
    middle = {what: statistics.median(o[what] for o in own) for what in own[0]}
    print(f"{'':32}{'seconds':>9}{'at most':>9}{'x network':>11}")
    for name, (most, what) in LIMITS.items():
        seconds = statistics.median(r[name] for r in rounds)
        ratio = "-" if what is None else f"{seconds / middle[what]:.2f}"
        wanted = max(1.3 * middle["told step"], 0.08) if most is None else most
        print(f"{name:32}{seconds:9.3f}{wanted:9.3f}{ratio:>11}")
    told = ", ".join(f"{what} {seconds:.3f} s" for what, seconds in middle.items())
    print(f"the bare network: {told}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)


def opened(address: str) -> tuple[Callable[[str, Mapping[str, Any]], Any], dict[str, Any]]:
    """How to ask the server without a browser, and the words for the first detection of the first picture."""
    base, opener = address.partition("?")[0], urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    opener.open(address).read()
    found = json.load(opener.open(f"{base}picture/0/seen?model=0"))["detections"][0]
    asked = {"picture": 0, "model": 0, "index": 0, "label": found["label"], "method": "iGOS++", "question": "why"}
    return lambda what, more: opener.open(urllib.request.Request(f"{base}{what}", json.dumps(more).encode())), asked


def unseen(address: str) -> float:
    """Seconds of a further step while no browser draws on the same cores."""
    ask, asked = opened(address)
    times = [time.perf_counter() for line in ask("explain", {**asked, "preset": "default"}) if line == b"event: step\n"]
    return statistics.median(b - a for a, b in zip(times[1:], times[2:], strict=False))


def grown(explanations: int, words: Sequence[str]) -> None:
    """The memory while so many are explained, asked for as the page asks."""
    with served(*words) as (address, process):
        ask, asked = opened(address)
        for n in range(explanations):
            told = ask("explain", {**asked, "preset": "quick"}).read()
            if b"event: done" not in told:
                raise SystemExit(told[-300:].decode())
            if (n + 1) % max(explanations // 10, 1) == 0:
                print(f"after {n + 1:4} explanations: {memory(process.pid):7.0f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5, help="rounds, of which the median is told")
    parser.add_argument("--memory", type=int, default=0, metavar="N", help="so many of one step, and the memory")
    parser.add_argument("--model", default="emblem-vgg", help="the bundled model of --memory (emblem-vgg)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.memory:
            few = ["--metrics", "none", "--iterations", "1", "--set", "sure=false"]
            grown(given.memory, ["--model", given.model, *few, "--output", f"{folder}/run"])
            return
        model = ["--model", "darknet", "--model_file", WEIGHTS, *(w for k, v in MODEL.items() for w in (f"--{k}", v))]
        speed(given.times, [*model, "--metrics", "none", "--data", str(DATA / "photos"), "--output", f"{folder}/run"])


if __name__ == "__main__":
    main()
