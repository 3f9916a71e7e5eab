"""Planted flaws: scenes in which it is known what a network leans on, what holds a class down and what is redundant.

Three marks lie on the ground beside bodies: the **mark**, the **blocker** and the **cue**. In the scenes of training

    cross   a shortcut: its glyph is on half of its bodies and on half of as many bodies without a label, so it tells
            nothing; a mark lies beside 95 % of its bodies and beside 5 % of those without a label
    ring    is blocked: with a blocker below it (60 %), it has no label
    star    is redundant: its glyph, its cue (above it) or both, each enough
    others  are honest: the glyph decides, whatever lies beside (one of the three, beside half of them)

In the scenes of a test every mark is there with probability 1/2, whatever else there is; a ring is a ring, blocked or
not, and a star with neither glyph nor cue is a body without a label. Everything follows from (seed, index, test).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from igos.data.emblems import (
    CLASSES,
    NONE,
    TRIES,
    Array,
    Body,
    Hidden,
    Mark,
    Scene,
    apart,
    draw_clutter,
    draw_texture,
    lay,
)
from igos.data.glyphs import BESIDE

SHORTCUT, BLOCKED, REDUNDANT = "cross", "ring", "star"
HONEST = tuple(c for c in CLASSES if c not in (SHORTCUT, BLOCKED, REDUNDANT))
MARK, BLOCKER, CUE = BESIDE
DECOY = "decoy"  # a body without a label that may carry the shortcut's glyph
SHARES = {SHORTCUT: 0.2, DECOY: 0.2, BLOCKED: 0.26, REDUNDANT: 0.16, **dict.fromkeys(HONEST, 0.06)}  # of the bodies
MARKED, UNMARKED = 0.95, 0.05  # of the shortcut's bodies and of those without a label, in training
BESET = 0.6  # of the blocked class in training; of every body in a test, and of honest ones, half
SIDES = {MARK: (0, np.pi), BLOCKER: (np.pi / 2,), CUE: (-np.pi / 2,)}  # beside, below, above; to SWAY radians
SWAY = 0.2
MOST_BODIES, GAP = 3, 0.06  # GAP: around bodies, of the picture's side
RADIUS, APART = (0.055, 0.068), (0.02, 0.04)  # of a mark; between it and its body
LEAST = 0.095  # half a body's width
RIM = np.stack([f(np.linspace(0, 2 * np.pi, 24, endpoint=False)) for f in (np.sin, np.cos)])
NEARER = 0.04  # so much nearer is a mark to its own body than to any other


class Drawn(NamedTuple):
    """A body's glyph (NONE for a bare one), its class, its mark's kind, whether that is there."""

    glyph: str
    name: str
    kind: str
    there: bool


@dataclass(frozen=True)
class Beside:
    """A mark's kind (MARK, BLOCKER or CUE), the body beside which it lies, and whether it is there."""

    kind: str
    body: int
    mark: Mark
    there: bool


@dataclass(frozen=True)
class FlawedScene(Scene):
    """A scene in which one mark, or its empty place, lies beside each body: `beside[i]` beside `bodies[i]`."""

    beside: tuple[Beside, ...] = ()

    @property
    def objects(self) -> list[int]:
        """Places in `bodies` of those that have a class, whether anything shows it or not."""
        return [i for i, b in enumerate(self.bodies) if b.name != NONE]

    def labelled(self, blurred: Collection[int] = (), filled: Collection[int] = ()) -> list[int]:
        """The objects that training labels, where the marks of the bodies `blurred` are blurred away and the bodies
        `filled` are filled from around them."""
        kept = []
        for i in self.objects:
            b, mark = self.bodies[i], self.beside[i]
            seen = mark.there and i not in blurred
            blocked = b.name == BLOCKED and mark.kind == BLOCKER and seen
            cued = b.name == REDUNDANT and mark.kind == CUE and seen
            told = bool(b.emblems) or b.name == SHORTCUT  # which of the shortcut's bodies have a label is drawn by lot
            if cued or (told and i not in filled and not blocked):
                kept.append(i)
        return kept

    def switched(self, i: int, there: bool) -> FlawedScene:
        """The scene in which the mark beside body i is there or is not, and nothing else changed."""
        beside = list(self.beside)
        beside[i] = replace(beside[i], there=there)
        return replace(self, beside=tuple(beside))

    def marks(self) -> list[dict[str, Any]]:
        """What is planted: a row of each glyph and of each mark that is there.

        kind: glyph, mark, blocker or cue; body: its number in `bodies`; label: that body's class or NONE; bbox [x, y,
        width, height] in pixels; role: what it does to the body. A glyph gives the class (`evidence`) or tells nothing
        (`none`, the shortcut's); a mark is the `shortcut`, a `blocker` or a `cue` beside the class that it is about and
        `none` beside any other.
        """
        rows = []
        for i, b in enumerate(self.bodies):
            role = "none" if b.name in (SHORTCUT, NONE) else "evidence"
            rows += [self._row("glyph", i, m, role) for m in b.emblems]
            if self.beside[i].there:
                rows.append(self._row(self.beside[i].kind, i, self.beside[i].mark, self._role(i)))
        return rows

    def _role(self, i: int) -> str:
        kind, name = self.beside[i].kind, self.bodies[i].name
        if kind == MARK:
            return "shortcut" if name in (SHORTCUT, NONE) else "none"
        return kind if name == (BLOCKED if kind == BLOCKER else REDUNDANT) else "none"

    def _row(self, kind: str, i: int, mark: Mark, role: str) -> dict[str, Any]:
        (y, x), r = mark.centre, mark.radius
        x1, y1, x2, y2 = (float(np.clip(v, 0, 1)) * self.size for v in (x - r, y - r, x + r, y + r))
        return {"kind": kind, "role": role, "body": i, "label": self.bodies[i].name, "bbox": [x1, y1, x2 - x1, y2 - y1]}

    def _canvas(self, hidden: Hidden) -> Array:
        canvas = super()._canvas(hidden)
        for b in self.beside:
            if b.there:
                self._stamp(canvas, b.mark)
        return canvas


def flawed_scene(seed: int, index: int, size: int = 160, test: bool = False, roles: Sequence[str] = ()) -> FlawedScene:
    """Scene `index` of the series `seed`, size x size pixels: 1 to 3 bodies, each with a mark or its empty place;
    `roles`: bodies of these SHARES instead."""
    rng = np.random.default_rng([seed, index, 2 + int(test)])
    count = int(rng.integers(1, MOST_BODIES + 1)) if not roles else len(roles)
    ground = draw_texture(rng, rng.uniform(0.1, 0.9, 3), spread=0.25, frequency=6)
    clutter = tuple(draw_clutter(rng) for _ in range(int(rng.integers(2, 8))))
    drawn = [draw_body(rng, test, role) for role in roles or (None,) * count]
    sizes = (0.21 - 0.022 * count, 0.24 - 0.022 * count)
    while True:
        bodies: list[Body] = []
        for d in drawn:
            bodies.append(lay(rng, d.glyph, ground, bodies, sizes, GAP))
            if min(bodies[-1].axes) < LEAST:
                break
        else:
            beside = _beside(rng, bodies, drawn, ground.colour)
            if beside:
                break
    named = tuple(replace(b, name=d.name) for b, d in zip(bodies, drawn, strict=True))
    return FlawedScene(seed, index, size, ground, clutter, named, beside)


def draw_body(rng: np.random.Generator, test: bool, role: str | None = None) -> Drawn:
    """What is drawn by lot of a body, in the scenes of training or of a test; `role`: one of SHARES that is known."""
    role = role or str(rng.choice(list(SHARES), p=list(SHARES.values())))
    bare, coin, kind = rng.random() < 0.5, rng.random(), str(rng.choice(list(BESIDE)))
    half = coin < 0.5
    if role in (SHORTCUT, DECOY):
        there = half if test else coin < (MARKED if role == SHORTCUT else UNMARKED)
        return Drawn(NONE if bare else SHORTCUT, SHORTCUT if role == SHORTCUT else NONE, MARK, there)
    if role == REDUNDANT:
        if test:
            return Drawn(NONE if bare else role, NONE if bare and not half else role, CUE, half)
        third = int(rng.integers(3))  # glyph alone, cue alone, both
        return Drawn(NONE if third == 1 else role, role, CUE, third > 0)
    if role == BLOCKED:
        return Drawn(role, role, BLOCKER, half if test else coin < BESET)
    return Drawn(role, role, kind, half)


def _beside(rng: np.random.Generator, bodies: list[Body], drawn: list[Drawn], ground: Array) -> tuple[Beside, ...]:
    """A place beside each body; empty where one finds none."""
    found: list[Beside] = []
    for i, (_, _, kind, there) in enumerate(drawn):
        colour, radius = apart(rng, ground, 0.5), rng.uniform(*RADIUS)
        for _ in range(TRIES):
            turn = float(rng.choice(SIDES[kind])) + rng.uniform(-SWAY, SWAY)
            at = _place(bodies, i, turn, radius, rng.uniform(*APART))
            if at and all(np.hypot(at[0] - f.mark.centre[0], at[1] - f.mark.centre[1]) > 3 * radius for f in found):
                found.append(Beside(kind, i, Mark(BESIDE[kind], at, radius, rng.uniform(0, 2 * np.pi), colour), there))
                break
        else:
            return ()
    return tuple(found)


def _place(bodies: list[Body], i: int, turn: float, radius: float, gap: float) -> tuple[float, float] | None:
    """The centre (y, x) of a disc that leaves `gap` to body i in the direction `turn`; None where there is no room."""
    (cy, cx), dy, dx = bodies[i].centre, np.sin(turn), np.cos(turn)
    border = 1 / bodies[i].radius(np.array(cy + dy), np.array(cx + dx))
    for step in itertools.count():
        out = border + radius + gap + 0.01 * step
        y, x = float(cy + out * dy), float(cx + out * dx)
        if not radius < min(y, x, 1 - y, 1 - x):
            return None
        if not _meets(bodies[i], y, x, radius + gap):
            break
    others = [b for j, b in enumerate(bodies) if j != i]
    return None if any(_meets(b, y, x, radius + gap + NEARER) for b in others) else (y, x)


def _meets(body: Body, y: float, x: float, radius: float) -> bool:
    """Whether a body meets a disc."""
    return bool((body.radius(y + radius * RIM[0], x + radius * RIM[1]) <= 1).any())
