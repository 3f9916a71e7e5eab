"""The letters that igos brings along for class names (igos/drawing/fonts), cut out of two free fonts.

    apt-get download fonts-droid-fallback fonts-noto-core && for d in *.deb; do dpkg -x $d fonts; done
    pip install fonttools && python samples/make_fonts.py fonts

Chinese, Japanese and Korean come from Droid Sans Fallback (Apache 2.0): the signs of GB 2312, of the first plane of
Big5, of JIS X 0208, kana, and every Hangul syllable. Some other scripts come from Noto Sans (OFL 1.1).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

OUT = Path(__file__).resolve().parents[1] / "igos" / "drawing" / "fonts"
HIGH = range(0xA1, 0xFF)
NOTO = {  # script: its blocks
    "Devanagari": [range(0x0900, 0x0980), range(0xA8E0, 0xA900)],
    "Bengali": [range(0x0980, 0x0A00)],
    "Tamil": [range(0x0B80, 0x0C00)],
    "Telugu": [range(0x0C00, 0x0C80)],
    "Thai": [range(0x0E00, 0x0E80)],
}
COMMON = [0x20, 0x200C, 0x200D, 0x25CC, 0x0964, 0x0965]  # a space, joiners, the bearer of marks, dandas


def coded(codec: str, first: Iterable[int], second: Iterable[int]) -> set[int]:
    """The letters of a two-byte code."""
    second = list(second)
    made = (bytes((a, b)).decode(codec, errors="ignore") for a in first for b in second)
    return {ord(letter) for text in made for letter in text}


def far_east() -> set[int]:
    """Letters of Chinese, Japanese and Korean."""
    letters = coded("gb2312", HIGH, HIGH) | coded("euc_jp", HIGH, HIGH) | coded("euc_kr", HIGH, HIGH)
    letters |= coded("big5", range(0xA4, 0xC7), [*range(0x40, 0x7F), *HIGH])
    return letters.union(range(0x3000, 0x3190), range(0xAC00, 0xD7A4), range(0xFF00, 0xFFF0))


def cut(source: Path, letters: set[int], made: Path, layout: bool) -> None:
    """A font with these letters alone, unhinted; layout: with the rules that join and stack them."""
    options = subset.Options(hinting=False, notdef_outline=True, name_IDs=["*"], name_languages=["*"])
    options.layout_features = ["*"] if layout else []
    font = TTFont(source)
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=letters)
    cutter.subset(font)
    font.save(made)
    print(f"{made.name}: {len(font.getBestCmap())} letters, {made.stat().st_size} bytes")


def main(folder: Path) -> None:
    found = {path.name: path for path in folder.rglob("*.ttf")}
    cut(found["DroidSansFallback.ttf"], far_east(), OUT / "DroidSansFallback-cjk.ttf", layout=False)
    for script, blocks in NOTO.items():
        letters = set(COMMON).union(*blocks)
        cut(found[f"NotoSans{script}-Regular.ttf"], letters, OUT / f"NotoSans{script}-part.ttf", layout=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
