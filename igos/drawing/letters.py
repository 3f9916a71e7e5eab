"""Letters for any name: the usual font; where that lacks some, one of the system's that has all; else words that can be
read: what is left of the name, or the number of its class.
"""

from __future__ import annotations

import logging
import threading
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from matplotlib import font_manager, get_data_path
from matplotlib.font_manager import FontProperties
from matplotlib.ft2font import FT2Font
from PIL import ImageFont

from igos.drawing.shown import Object

USUAL = str(Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))
PLACEHOLDERS = ("LastResort", "Last Resort", "Adobe Blank")  # a box, or nothing, for every letter
HELP = (
    "a font that has them is needed on this machine, as of Linux' package fonts-noto-cjk for Chinese, Japanese, Korean"
)
log = logging.getLogger("igos")
_TOLD: set[str] = set()  # the kinds of writing whose lack was told, each once
_FREETYPE = threading.Lock()  # opens one font at a time


class Lettered(NamedTuple):
    """A text, and the file of a font that has all of its letters."""

    text: str
    font: str = USUAL

    def properties(self, size: float) -> FontProperties:
        """For matplotlib, size in points."""
        return FontProperties(fname=self.font, size=size)


def name_of(target: Object) -> Lettered:
    """The name of what is explained as it can be drawn."""
    return lettered(target.name, f"class {target.label}")


@lru_cache(maxsize=4096)
def lettered(text: str, instead: str) -> Lettered:
    """The text in a font that has its letters; without one what the usual font has of it, if that is a word, else
    `instead`.
    """
    text = " ".join(text.split())
    letters = frozenset(text) - {" "}
    seen = frozenset(c for c in letters if not _unseen(c))
    if not seen or letters <= glyphs(USUAL):
        return Lettered(text if seen else instead)
    if (font := _system_font(seen)) is not None:
        return Lettered("".join(c for c in text if c == " " or c in glyphs(font)), font)
    left = " ".join("".join(c for c in text if c == " " or c in glyphs(USUAL)).split())
    made = Lettered(left if any(c.isalpha() for c in left) else instead)
    lost = seen - glyphs(USUAL)
    if lost and (script := _script(min(lost))) not in _TOLD:
        _TOLD.add(script)
        log.warning("pictures say %r for the class %r: no font here has its letters; %s", made.text, text, HELP)
    return made


def _script(letter: str) -> str:
    """The kind of writing that a letter is of: CJK, HANGUL, DEVANAGARI; of what is no letter, SYMBOL."""
    return unicodedata.name(letter, "?").split()[0] if letter.isalpha() else "SYMBOL"


@lru_cache(maxsize=32)
def font(size: int, file: str = USUAL) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, size)


@lru_cache(maxsize=64)
def glyphs(file: str) -> frozenset[str]:
    """The letters of a font's file; none of one that cannot be read or scaled."""
    with _FREETYPE:
        try:
            ImageFont.truetype(file, 20)
            return frozenset(map(chr, FT2Font(file).get_charmap()))
        except (OSError, RuntimeError, ValueError):
            return frozenset()


@lru_cache(maxsize=256)
def _system_font(letters: frozenset[str]) -> str | None:
    """The file of an upright font of this machine that has all of these letters, a plain sans where there is one."""
    every = (f for f in font_manager.fontManager.ttflist if f.style == "normal" and f.name not in PLACEHOLDERS)
    known = [f for f in every if not Path(f.fname).is_relative_to(get_data_path())]  # matplotlib's own are of formulas
    known.sort(key=lambda f: (abs(_weight(f.weight) - 400), "sans" not in f.name.lower(), f.fname))
    return next((f.fname for f in known if letters <= glyphs(f.fname)), None) if letters else None


def _weight(weight: int | str) -> int:
    return weight if isinstance(weight, int) else font_manager.weight_dict.get(weight, 400)


def _unseen(letter: str) -> bool:
    """Control characters, joiners and variation selectors, which have no picture of their own."""
    return unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Co") or "\ufe00" <= letter <= "\ufe0f"
