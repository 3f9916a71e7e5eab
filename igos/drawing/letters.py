"""Letters for any name: of the usual font, of those that igos brings along, of one of the system. What none has is left
out, and where nothing readable is left, the number of the class stands there.
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
from PIL import ImageDraw, ImageFont

from igos.drawing.shown import Object

USUAL = str(Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))
BROUGHT = tuple(sorted(str(path) for path in Path(__file__).with_name("fonts").glob("*.ttf")))
PLACEHOLDERS = ("LastResort", "Last Resort", "Adobe Blank")  # a box, or nothing, for every letter
HELP = "a font that has them is needed on this machine, as of Linux' package fonts-noto"
log = logging.getLogger("igos")
_TOLD: set[str] = set()  # the kinds of writing whose lack was told, each once
_FREETYPE = threading.Lock()  # opens one font at a time


class Lettered(NamedTuple):
    """A text, and the files of fonts that have all of its letters together; each letter is of the first that has it."""

    text: str
    fonts: tuple[str, ...] = (USUAL,)

    def cut(self, length: int) -> Lettered:
        """At most so many letters, with an ellipsis where some are gone."""
        return self._replace(text=short(self.text, length))

    def plus(self, more: str) -> Lettered:
        """With a text of usual letters behind it."""
        return self._replace(text=f"{self.text}{more}")

    def runs(self) -> list[tuple[str, str]]:
        """(font, text) in the order of the text. Spaces, marks and joiners stay with the letter before them."""
        made: list[tuple[str, str]] = []
        for letter in self.text:
            leans = letter == " " or unicodedata.category(letter)[0] in "MC"
            last = made[-1][0] if made else USUAL
            file = last if leans and letter in glyphs(last) else self._font_of(letter)
            if file is None:
                continue  # a joiner that no font has
            if made and file == last:
                made[-1] = file, made[-1][1] + letter
            else:
                made.append((file, letter))
        return made

    def _font_of(self, letter: str) -> str | None:
        found = next((file for file in self.fonts if letter in glyphs(file)), None)
        return USUAL if found is None and not _unseen(letter) else found

    def width(self, size: int) -> float:
        """In pixels, letters of that size."""
        return sum(font(size, file).getlength(text) for file, text in self.runs())

    def height(self, size: int) -> int:
        """In pixels, from the top of the highest to the bottom of the lowest letter that its fonts may have."""
        return sum(self._reach(size))

    def _reach(self, size: int) -> tuple[int, int]:
        reach = [font(size, file).getmetrics() for file, _ in self.runs() or [(USUAL, "")]]
        return max(up for up, _ in reach), max(down for _, down in reach)

    def write(
        self, draw: ImageDraw.ImageDraw, at: tuple[float, float], size: int, ink: tuple[int, ...], middle: bool = False
    ) -> None:
        """Draw it with its top left corner there; middle: with the middle of its top there."""
        x, y = at[0] - self.width(size) / 2 * middle, at[1] + self._reach(size)[0]
        for file, text in self.runs():
            draw.text((x, y), text, fill=ink, font=font(size, file), anchor="ls")
            x += font(size, file).getlength(text)

    def properties(self, size: float) -> FontProperties:
        """For matplotlib, size in points."""
        return FontProperties(family=[_family(file) for file in self.fonts], size=size)


def short(text: str, length: int) -> str:
    text = " ".join(text.split())
    if len(text) <= length:
        return text
    end = max(length - 1, 0)
    while end and unicodedata.category(text[end])[0] == "M":  # no mark without its letter
        end -= 1
    return text[:end].rstrip() + "…"


def name_of(target: Object) -> Lettered:
    """The name of what is explained as it can be drawn."""
    return lettered(target.name, f"class {target.label}")


@lru_cache(maxsize=4096)
def lettered(text: str, instead: str) -> Lettered:
    """The text in fonts that have its letters. What none has is left out and told; where no word is left, `instead`."""
    text = " ".join(text.split())
    seen = {letter for letter in text if letter != " " and not _unseen(letter)}
    if not seen:
        return Lettered(instead)
    fonts, lost = [USUAL], seen - glyphs(USUAL)
    for file in BROUGHT if lost else ():
        if lost & glyphs(file):
            fonts.append(file)
            lost -= glyphs(file)
    if lost and (of_system := _system_font(frozenset(lost))) is not None:
        fonts.append(of_system)
        lost = set()
    text = "".join(letter for letter in text if not _unseen(letter) or any(letter in glyphs(file) for file in fonts))
    if not lost:
        return Lettered(text, tuple(fonts))
    left = " ".join("".join(letter for letter in text if letter not in lost).split())
    word = any(letter.isalpha() for letter in left)
    made = Lettered(left, tuple(fonts)) if word else Lettered(instead)
    if (script := _script(min(lost))) not in _TOLD:
        _TOLD.add(script)
        log.warning("pictures say %r for the class %r: no font here has its letters; %s", made.text, text, HELP)
    return made


def _script(letter: str) -> str:
    """The kind of writing that a letter is of: CJK, HANGUL, DEVANAGARI; of what is no letter, SYMBOL."""
    return unicodedata.name(letter, "?").split()[0] if letter.isalpha() else "SYMBOL"


@lru_cache(maxsize=64)
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


@lru_cache(maxsize=16)
def _family(file: str) -> str:
    """The name by which matplotlib finds the font of a file."""
    known = next((entry.name for entry in font_manager.fontManager.ttflist if entry.fname == file), None)
    if known is None:
        font_manager.fontManager.addfont(file)
        known = font_manager.fontManager.ttflist[-1].name
    return known


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
