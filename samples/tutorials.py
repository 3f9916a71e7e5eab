"""The tutorials of the docs, run: python samples/tutorials.py [NAME ...]

A page of docs/tutorials/ is run from top to bottom, in a folder where the names that it uses (FILES, PHOTOS) are real
networks and photos of ../shared/data. What a block of code prints replaces the block ```text after it; a picture that
it leaves as NAME.png becomes tutorial-PAGE-NAME.jpg in docs/pictures/. A block with title="bundled" stands for the one
above it where that data is missing: `run` takes it with bundled=True.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import runpy
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image as Picture

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from igos import cli  # noqa: E402

PAGES = ROOT / "docs" / "tutorials"
PICTURES = ROOT / "docs" / "pictures"
DATA = ROOT.parent / "shared" / "data"
FILES = {  # a name in the pages -> what it is in DATA
    "yolo.weights": "yolo-fastest/yolo-fastest-1.1-xl.weights",
    "yolo.cfg": "yolo-fastest/yolo-fastest-1.1-xl.cfg",
    "yolo.names": "yolo-fastest/coco.names",
    "small.weights": "yolo-fastest/yolo-fastest-1.1.weights",
    "small.cfg": "yolo-fastest/yolo-fastest-1.1.cfg",
    "small.names": "yolo-fastest/coco.names",
    "squeezenet.pth": "squeezenet/squeezenet1_0_imagenet_fp16.pth",
    "imagenet.txt": "squeezenet/synset_words.txt",
    "dog.jpg": "photos/darknet_dog.jpg",
    "eagle.jpg": "photos/darknet_eagle.jpg",
}
PHOTOS = ("darknet_dog", "darknet_giraffe", "darknet_person", "captum_elephant")  # of the folder PHOTOS
LONGEST, BYTES = 1280, 60_000  # of a picture in a page
BLOCK = re.compile(r"^( *)```(\w+)(?: title=\"(\w+)\")?\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
TEXT = re.compile(r"^```text\n.*?^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A block of code: its language, its code without indent, whether it is the bundled one, where it lies."""

    language: str
    code: str
    bundled: bool
    begin: int
    end: int


def pages() -> list[str]:
    return sorted(p.stem for p in PAGES.glob("*.md"))


def blocks(text: str, bundled: bool) -> list[Block]:
    """The code of a page, in order; of a block and the bundled one that stands for it, the one that is wanted."""
    found: list[Block] = []
    for m in BLOCK.finditer(text):
        indent, language, title, code = m.groups()
        if language not in ("python", "sh"):
            continue
        own = re.sub(rf"^{indent}", "", code, flags=re.MULTILINE)
        made = Block(language, own, title == "bundled", m.start(), m.end())
        if made.bundled and bundled:
            found[-1] = made
        elif not made.bundled:
            found.append(made)
    return found


@contextlib.contextmanager
def place(photos: Sequence[str] = PHOTOS) -> Iterator[Path]:
    """A folder, the current one meanwhile, with the files that the pages name, as far as they are there."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as made:
        here = Path(made)
        (here / "samples").symlink_to(ROOT / "samples")
        (here / "PHOTOS").mkdir()
        links = {name: DATA / file for name, file in FILES.items()}
        links |= {f"PHOTOS/{name}.jpg": DATA / "photos" / f"{name}.jpg" for name in photos}
        for name, file in links.items():
            if file.exists():
                (here / name).symlink_to(file)
        os.chdir(here)
        try:
            yield here
        finally:
            os.chdir(before)


def run(page: str, bundled: bool = False) -> Iterator[tuple[Block, str]]:
    """Run the page's code here, block by block: each with what it printed. Raises what the code raises, and
    RuntimeError for a command that fails.
    """
    names: dict[str, Any] = {}
    for block in blocks((PAGES / f"{page}.md").read_text(), bundled):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            if block.language == "python":
                (step := Path(f"{page}-{block.begin}.py")).write_text(block.code)
                names = runpy.run_path(str(step), names, "__tutorial__")
            else:
                for words in _commands(block.code):
                    if (code := cli.main(words)) != 0:
                        raise RuntimeError(f"{shlex.join(words)}: exit {code}")
        yield block, printed.getvalue()


def _commands(code: str) -> list[list[str]]:
    lines = code.replace("\\\n", " ").splitlines()
    every = [shlex.split(line, comments=True) for line in lines if line.strip()]
    return [words[3:] for words in every if words]


def told(text: str, outputs: Sequence[tuple[Block, str]]) -> str:
    """The page with what each block printed in the block ```text that comes before the next one."""
    begins = [block.begin for block, _ in outputs[1:]] + [len(text)]
    for (block, printed), until in reversed(list(zip(outputs, begins, strict=True))):
        rest = text[block.end : until]
        lines = "".join(f"{line.rstrip()}\n" for line in printed.rstrip().splitlines())
        filled = TEXT.sub(lambda _, lines=lines: f"```text\n{lines}```", rest, count=1)
        text = text[: block.end] + filled + text[until:]
    return text


def small(picture: Path, out: Path) -> None:
    """A picture as a JPEG of at most BYTES."""
    made = Picture.open(picture).convert("RGB")
    made.thumbnail((LONGEST, LONGEST), Picture.Resampling.LANCZOS)
    for quality in range(86, 30, -6):
        made.save(out, quality=quality, optimize=True)
        if out.stat().st_size <= BYTES:
            return


def main(named: Sequence[str]) -> None:
    for page in named or pages():
        with place() as here:
            outputs = list(run(page))
            file = PAGES / f"{page}.md"
            file.write_text(told(file.read_text(), outputs))
            for picture in sorted(here.glob("*.png")):
                small(picture, PICTURES / f"tutorial-{page}-{picture.stem}.jpg")
        print(f"{page}: {len(outputs)} blocks", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
