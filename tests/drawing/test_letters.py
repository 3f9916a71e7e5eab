"""Letters: names of any script are drawn as themselves, or the lack is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
from matplotlib.font_manager import fontManager

from igos.drawing import figures, letters
from igos.drawing.layout import tag
from igos.drawing.letters import Lettered, lettered
from tests.drawing.test_figures import coarse, explanation, measured

__all__ = ["coarse"]  # a fixture


@pytest.fixture
def no_system_fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine without a font of its own."""
    monkeypatch.setattr(letters, "_system_font", lambda seen: None)
    lettered.cache_clear()
    yield
    lettered.cache_clear()


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("dog", "dog"),
        ("café ­ß", "café ­ß"),
        ("собака", "собака"),
        ("犬", "犬"),
        ("강아지", "강아지"),
        ("कुत्ता", "कुत्ता"),
        ("หมา", "หมา"),
        ("قطة", "قطة"),
        ("🐶", "class 1"),
        ("🇩🇪", "class 1"),
        ("犬 dog мяч", "犬 dog мяч"),
        ("dog 🐶", "dog"),
        ("犬🐶", "犬"),
        ("dog\ufe0f", "dog\ufe0f"),
        ("a\nb\tc", "a b c"),
        ("W\x1b]0;x\x07", "W]0;x"),
        ("", "class 1"),
        ("\u200b", "class 1"),
    ],
)
def test_a_name_is_drawn_in_letters_that_some_font_has(no_system_fonts: None, name: str, drawn: str) -> None:
    """Never the empty box of a missing letter: what no font has is left out, and a name without a word is a number."""
    made = letters.name_of(explanation(name=name).target)
    assert made.text == drawn and "".join(text for _, text in made.runs()) == drawn
    assert all(set(text) <= letters.glyphs(file) for file, text in made.runs())


@pytest.mark.parametrize(
    "name", ["犬", "собака", "σκύλος", "개", "に", "कुत्ता", "কুকুর", "நாய்", "కుక్క", "หมา", "قطة", "כלב"]
)
def test_names_of_many_scripts_look_like_themselves(no_system_fonts: None, name: str) -> None:
    """Each letter leaves other ink than the empty box of its font, in pictures and in plots."""
    made = lettered(name, "class 1")
    for file, text in made.runs():
        box = letters.font(40, file).getmask("\U0010fffe")  # a letter that no font has
        for letter in text:
            ink = letters.font(40, file).getmask(letter)
            assert letter in letters.glyphs(file) and (ink.size, bytes(ink)) != (box.size, bytes(box))
    found = {Path(p).name for p in fontManager._find_fonts_by_props(made.properties(11))}
    assert {Path(file).name for file, _ in made.runs()} <= found
    picture = np.full((60, 400, 3), 255, np.uint8)
    here, other = (tag(picture, Lettered(text, made.fonts), "", None) for text in (name, "\U0010fffe" * len(name)))
    assert (here != other).any() and (here < 90).all(axis=2).any()  # ink


def test_letters_of_several_fonts_stand_on_one_line(no_system_fonts: None) -> None:
    made = lettered("犬 dog", "class 1").plus(" 0.89")
    assert [(Path(file).stem.partition("-")[0], text) for file, text in made.runs()] == [
        ("DroidSansFallback", "犬"),
        ("DejaVuSans", " dog 0.89"),
    ]
    assert made.width(20) == pytest.approx(sum(letters.font(20, file).getlength(text) for file, text in made.runs()))
    assert made.height(20) >= lettered("dog", "").height(20)


def test_a_name_is_not_cut_between_a_letter_and_its_mark() -> None:
    assert letters.short("कुत्ता", 4) == "कु…" and letters.short("कुत्ता", 6) == "कुत्ता"


def test_the_lack_of_letters_is_told_once_for_each_kind(
    no_system_fonts: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(letters, "_TOLD", set())
    for name in ("dog", "犬", "ኢትዮ", "ውሻ", "🐶", "🐱", "café", "🐶 dog"):
        lettered(name, "class 1")
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2 and "'class 1'" in told[0] and "'ኢትዮ'" in told[0] and "fonts-noto" in told[0]


def test_a_font_that_igos_brings_says_whose_it_is() -> None:
    """Every file has its row in the table of credits, with a licence that lies beside it."""
    folder = Path(letters.__file__).with_name("fonts")
    told = (folder / "README.md").read_text()
    assert letters.BROUGHT and sum(Path(file).stat().st_size for file in letters.BROUGHT) < 4e6
    for file in letters.BROUGHT:
        named = [
            line for line in told.splitlines() if fnmatch(Path(file).name, line.split("`")[1] if "`" in line else "")
        ]
        assert len(named) == 1 and (folder / named[0].split("`")[-2]).is_file()


def test_a_font_of_the_machine_is_taken_where_no_other_has_the_letters(
    coarse: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    mono = str(Path(letters.USUAL).with_name("DejaVuSansMono.ttf"))
    real = letters.glyphs
    monkeypatch.setattr(letters, "glyphs", lambda file: real(file) | {"ው"} if file == mono else real(file))
    entry = letters.font_manager.FontEntry(fname=mono, name="DejaVu Sans Mono", style="normal", weight=400)
    usual = replace(entry, fname=letters.USUAL, name="DejaVu Sans")
    blank = replace(entry, fname="/fonts/blank.ttf", name="Adobe Blank")
    monkeypatch.setattr(letters, "get_data_path", lambda: "/nowhere")
    monkeypatch.setattr(letters.font_manager.fontManager, "ttflist", [blank, entry, usual])
    for cached in (lettered, letters._system_font):
        cached.cache_clear()
    assert lettered("ው dog", "class 1") == Lettered("ው dog", (letters.USUAL, mono))
    assert lettered("dog", "class 1") == Lettered("dog")
    assert lettered("ሻ", "class 1") == Lettered("class 1")
    e = explanation(name="ው dog", scores=measured())
    assert figures.overlay(e).any() and figures.curves(e)[:4] == b"\x89PNG"
    for cached in (lettered, letters._system_font):
        cached.cache_clear()


def test_a_broken_font_has_no_letters(tmp_path: Path) -> None:
    (tmp_path / "broken.ttf").write_bytes(b"not a font")
    assert letters.glyphs(str(tmp_path / "broken.ttf")) == frozenset() == letters.glyphs(str(tmp_path / "gone.ttf"))
