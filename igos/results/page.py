"""One HTML file that shows explanations and needs nothing else, no network, and no file but a big run's photos."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from PIL import Image as Picture

from igos.base.files import write_bytes

DOCS = "https://github.com/igos-founders/igos/blob/main/docs/results.md"
TEMPLATES = Path(__file__).resolve().parent / "templates"
SHARED = ("paint.js", "plots.js", "cards.js", "viewer.js")  # with the live page
SCRIPTS = (*SHARED, "data.js", "parts.js", "summary.js", "shelves.js", "page.js")
STYLES = ("base.css", "viewer.css", "page.css")
LIVE = (*SHARED, "stage.js", "live.js", "base.css", "viewer.css", "live.css")  # files of the live page
PHOTO, UNDER = 720, 64  # longest side of a photo, and of what removed parts are replaced by
QUALITY = 80
INLINE = 16_000_000  # bytes of photos that still lie within the page
PART = 60  # explanations whose maps, curves and photos the page reads at once, when they are to be seen
HEAVY = ("facts", "grid", "cells_grid", "cells", "full", "curves", "play")  # of an item, what only its own card needs


def write(path: Path, data: Mapping[str, Any], photos: Sequence[bytes | None], within: Path | None = None) -> None:
    """The page at `path`, whole or not at all; photos, one for each of data["pictures"], beyond INLINE bytes beside it
    in <name>-photos/. within: as base/files.py takes it.
    """
    beside = sum(len(p) for p in photos if p) > INLINE
    folder = path.with_name(f"{path.stem}-photos")
    pictures = []
    for n, (picture, photo) in enumerate(zip(data["pictures"], photos, strict=True)):
        name = f"{n:06}.webp"
        if photo and beside:
            write_bytes(folder / name, photo, within=within)
        source = None if photo is None else f"{folder.name}/{name}" if beside else inline(photo)
        pictures.append({**picture, "source": source})
    write_bytes(path, render({**data, "pictures": pictures}).encode("utf-8", errors="replace"), within=within)


def render(data: Mapping[str, Any]) -> str:
    """The page's text. Whatever the data holds stays text: it is escaped, and a policy lets this script alone run."""
    script, style = (joined(names) for names in (SCRIPTS, STYLES))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = _environment().get_template("page.html")
    index, parts = divided(data)
    return page.render(docs=DOCS, data=index, parts=parts, script=Markup(script), digest=digest, style=Markup(style))


def divided(data: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What every row needs at once, and the rest in parts of PART items: HEAVY of each item, and the photos and what
    hides them by number, each in the first part that needs it; a picture's and a view's own `part` says which.
    """
    index: dict[str, Any] = {**data, "part": PART, "items": []}
    for key in ("pictures", "views"):
        index[key] = [{k: v for k, v in each.items() if k not in ("source", "under")} for each in data[key]]
    parts = []
    for n, start in enumerate(range(0, len(data["items"]), PART)):
        items = data["items"][start : start + PART]
        part: dict[str, Any] = {"items": [{k: v for k, v in i.items() if k in HEAVY} for i in items]}
        for key, of, held in (("pictures", "picture", "source"), ("views", "view", "under")):
            due = dict.fromkeys(i[of] for i in items if i.get(of) is not None)
            part[key] = {number: data[key][number].get(held) for number in due if "part" not in index[key][number]}
            for number in part[key]:
                index[key][number]["part"] = n
        index["items"] += [{k: v for k, v in i.items() if k not in HEAVY} for i in items]
        parts.append(part)
    return index, parts


def live() -> str:
    """The live page; its scripts and styles are files, LIVE, and all that it shows it asks for."""
    return _environment().get_template("live.html").render(files=LIVE)


def joined(names: Sequence[str]) -> str:
    """The text of these files of the templates, one after the other."""
    return "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in names)


def render_plain(name: str, data: Mapping[str, Any]) -> str:
    """The text of a template without scripts; whatever the data holds is escaped."""
    return _environment().get_template(name).render(data=data)


def shrunk(file: bytes, longest: int) -> bytes:
    """A picture's file as a WebP file of at most that side. Raises OSError for what is none."""
    with Picture.open(io.BytesIO(file)) as picture:
        return photo(np.array(picture.convert("RGB")), longest)


def photo(pixels: np.ndarray, longest: int) -> bytes:
    """(H,W,3) uint8 -> a WebP file, reduced to that longest side; smaller ones as they are."""
    height, width = pixels.shape[:2]
    zoom = min(longest / max(height, width), 1)
    out = io.BytesIO()
    small = resized(pixels, (max(round(width * zoom), 1), max(round(height * zoom), 1)))
    Picture.fromarray(small).save(out, format="WEBP", quality=QUALITY, method=2)
    return out.getvalue()


def resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H,W,3) uint8 at size (width, height), smoothly."""
    picture = Picture.fromarray(pixels)
    return np.array(picture if picture.size == size else picture.resize(size, Picture.Resampling.BOX))


def inline(file: bytes) -> str:
    """A WebP file as an address."""
    return "data:image/webp;base64," + base64.b64encode(file).decode()


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    made.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return made
