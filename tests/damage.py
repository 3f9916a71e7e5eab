"""Damage for the fuzz targets: bytes, lines of text and plain values, changed in a few places by a random.Random."""

from __future__ import annotations

import copy
import datetime
import math
import random
from typing import Any

BYTES = (0, 1, 2, 10, 32, 47, 92, 127, 128, 254, 255)
WORDS = (
    b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\x00\x00\x01\x00", b"\x7f\xff\xff\xff",
    b"\x00\x00\x00\x00", b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f", b"\xff\xff\xff\xff\xff\xff\xff\x7f",
)  # fmt: skip
NUMBERS = (
    "0", "-1", "1", "2", "3", "7", "255", "256", "8191", "65536", "100000", "2147483647", "4294967296", "9" * 25,
    "9" * 5000, "0x" + "f" * 9000, "0.5", "-0.0", "1e308",
    "1e999", "nan", "inf", "-inf", "0x10", "1_000", "٣", "1e-320", "1,2", "1,2,3,4",
)  # fmt: skip
TEXTS = (
    "", " ", "none", "true", "null", "~", "all", "../../x", "/etc/passwd", "a/b\\c", "a b", "\t", "é" * 300,
    "x" * 5000, "<script>alert(1)</script>", "\"'><img src=x onerror=1>", "javascript:1", "=1+1", "{{7*7}}", "%s%n",
    "-", "--", "#", "[", "]", "{", "[[", "&a [*a, *a]", "!!python/object/apply:os.system [id]", "CON", "\u202e",
    "\ud800", "a\0b", "a\nb", "2001-99-99", "!!int x", "!!float x", "!!timestamp x", "0o9", "? [a]", "index:1",
    "class:dog", "box:1,2,3,4", "gt", "box:nan,1,2,3", "ann:1", "100M", "2G", "1e400G", "*", "**", "[!", "cpu",
    "cuda:99", "mps", "NAG", "LS", "PG",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 1000, 2**31, 2**63, -(2**63) - 1, 10**30, 1 << 1000, 0.5, -0.0, 1e-320, 1e308,
    math.nan, math.inf, -math.inf, [], {}, [[]], [None], {"a": {}}, {"size": [4, 4], "counts": [3, 13]},
    {"size": [4, 4], "counts": "zzz"}, [[0, 0, 9, 0, 9, 9]], [[0, 1e9, 1e9, 0, 5, 5]], [1, 2, 3, 4], ["a", "b"],
    datetime.date(2001, 2, 3), b"\xff",
)  # fmt: skip


def of_bytes(data: bytes, draw: random.Random) -> bytes:
    """A few bytes set, words overwritten, parts cut out, doubled or moved, or the end cut off."""
    made = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 4, 16))):
        if not made:
            break
        at = draw.randrange(min(len(made), draw.choice((32, 128, 1 << 30))))
        kind = draw.randrange(7)
        if kind < 2:
            made[at] = draw.choice((*BYTES, draw.randrange(256)))
        elif kind == 2:
            made[at] ^= 1 << draw.randrange(8)
        elif kind == 3:
            word = draw.choice(WORDS)
            made[at : at + len(word)] = word
        elif kind == 4:
            del made[at : at + draw.choice((1, 4, 100))]
        elif kind == 5:
            made[at:at] = made[at : at + draw.choice((1, 8, 200))] * draw.choice((1, 1, 50))
        elif draw.random() < 0.3:
            del made[at:]
    return bytes(made)


def of_text(text: str, draw: random.Random) -> str:
    """Lines lost, doubled, swapped, their values replaced; sometimes damage to the bytes as well."""
    lines = text.split("\n")
    for _ in range(draw.choice((1, 1, 2, 3, 8))):
        at = draw.randrange(len(lines))
        kind, line = draw.randrange(8), lines[at]
        if kind == 0:
            del lines[at]
        elif kind == 1:
            lines.insert(at, line)
        elif kind == 2:
            other = draw.randrange(len(lines))
            lines[at], lines[other] = lines[other], line
        elif kind == 3:
            lines.insert(at, draw.choice(TEXTS))
        else:
            lines[at] = _value(line, draw)
        lines = lines or [""]
    made = "\n".join(lines)
    if draw.random() < 0.15:
        made = of_bytes(made.encode("utf-8", "surrogatepass"), draw).decode("utf-8", "replace")
    return made


def _value(line: str, draw: random.Random) -> str:
    new = draw.choice(NUMBERS if draw.random() < 0.6 else TEXTS)
    for sign in ("=", ": ", ">", ","):
        head, found, tail = line.partition(sign)
        if found:
            end = tail[tail.index("<") :] if "<" in tail else ""
            return head + found + new + end
    return new


def of_values(value: Any, draw: random.Random) -> Any:
    """A copy of plain data with a few places replaced, lost, doubled or renamed."""
    made = {"": copy.deepcopy(value)}
    for _ in range(draw.choice((1, 1, 2, 3))):
        holder, key = draw.choice(list(_places(made)))
        kind = draw.randrange(10)
        if kind == 0 and holder is not made:
            del holder[key]
        elif kind == 1 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        elif kind == 2 and isinstance(holder, dict) and holder is not made:
            holder[draw.choice((*TEXTS, *list(holder)))] = holder.pop(key)
        else:
            holder[key] = any_value(draw)
    return made[""]


def any_value(draw: random.Random) -> Any:
    kind = draw.random()
    if kind < 0.5:
        return copy.deepcopy(draw.choice(VALUES))
    return draw.choice(TEXTS) if kind < 0.8 else draw.choice(NUMBERS)


def _places(holder: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    ahead = [holder]
    while ahead:
        one = ahead.pop()
        items = list(one.items()) if isinstance(one, dict) else list(enumerate(one)) if isinstance(one, list) else []
        found += [(one, key) for key, _ in items]
        ahead += [v for _, v in items]
    return found
