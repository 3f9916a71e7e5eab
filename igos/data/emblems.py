"""Planted evidence: pictures in which it is known what a detector must look at.

Textured bodies lie on a textured ground. The small **emblem** that a body carries decides its class, and nothing else
does: colour, texture, size, shape and place are drawn without looking at the class. A third of the objects carry two
emblems of their class, each enough alone; a fifth of the bodies carry none and are background. Shapes that resemble
emblems lie about on the ground. Everything follows from (seed, index); size only decides how finely it is drawn.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from igos.data.glyphs import GLYPHS, LOOKALIKES, Shape

Array = np.ndarray
Hidden = Collection[tuple[int, int]]
MOST_BODIES = 4
TWO_EMBLEMS = 1 / 3  # of the objects
BARE = 1 / 5  # of the bodies
GAP = 0.015  # between bodies, of the picture's side
TRIES, SHRINK = 25, 0.97  # a body that finds no place in so many tries shrinks
FINE = 3  # glyphs are drawn FINE x FINE times finer, then averaged
CLASSES = tuple(GLYPHS)
CIRCLE = [(abs(x), np.sign(x)) for x in (np.cos(np.linspace(0, 2 * np.pi, 64)), np.sin(np.linspace(0, 2 * np.pi, 64)))]
NONE = "none"  # what a classifier calls a body without an emblem


@dataclass(frozen=True)
class Texture:
    """colour (3,) in [0,1], mixed with accent (3,) by waves (n,4): frequency y, x, phase, 1 for hard edges."""

    colour: Array
    accent: Array
    waves: Array

    def paint(self, y: Array, x: Array) -> Array:
        """(h,w,3) at the points y, x (h,w), in parts of the picture's side."""
        mix = np.zeros_like(y)
        for fy, fx, phase, hard in self.waves.tolist():
            wave = np.sin(2 * np.pi * (fy * y + fx * x) + phase)
            mix += np.clip(wave * 6, -1, 1) if hard else wave
        mix = (mix / len(self.waves) + 1) / 2
        return self.colour + mix[..., None] * (self.accent - self.colour)


@dataclass(frozen=True)
class Mark:
    """A glyph: its shape, centre (y, x) and radius in parts of the side, angle in radians, colour (3,) in [0,1]."""

    shape: Shape
    centre: tuple[float, float]
    radius: float
    angle: float
    colour: Array


@dataclass(frozen=True)
class Body:
    """A superellipse |u/a|^p + |v/b|^p <= 1 turned by angle; `name` is its class, NONE for a bare one."""

    name: str
    centre: tuple[float, float]
    axes: tuple[float, float]
    angle: float
    power: float
    texture: Texture
    emblems: tuple[Mark, ...]

    def radius(self, y: Array, x: Array) -> Array:
        """0 at the centre, 1 on the border."""
        u, v = _turn(y - self.centre[0], x - self.centre[1], self.angle)
        return (abs(u / self.axes[0]) ** self.power + abs(v / self.axes[1]) ** self.power) ** (1 / self.power)

    @cached_property
    def extent(self) -> tuple[float, float]:
        """Half height and half width, in parts of the side."""
        (c, cs), (s, ss) = CIRCLE
        u = self.axes[0] * cs * c ** (2 / self.power)
        v = self.axes[1] * ss * s ** (2 / self.power)
        x, y = _turn(v, u, -self.angle)
        return float(abs(y).max()), float(abs(x).max())


@dataclass(frozen=True)
class Scene:
    """A picture and its truth. `bodies` come in the order they were laid; those with a class are its `objects`."""

    seed: int
    index: int
    size: int
    ground: Texture
    clutter: tuple[Mark, ...]
    bodies: tuple[Body, ...]

    @property
    def objects(self) -> list[int]:
        """Places in `bodies` of those that carry an emblem."""
        return [i for i, b in enumerate(self.bodies) if b.emblems]

    @cached_property
    def _points(self) -> tuple[Array, Array]:
        centre = (np.arange(self.size, dtype=np.float32) + 0.5) / self.size
        y, x = np.meshgrid(centre, centre, indexing="ij")
        return y, x

    def picture(self, hidden: Hidden = ()) -> Array:
        """(size,size,3) uint8 RGB; hidden names emblems (body, emblem) that the body's texture covers."""
        canvas = self._canvas(hidden)
        grain = np.random.default_rng([self.seed, self.index, self.size]).normal(0, 0.012, canvas.shape[:2])
        return (np.clip(canvas + grain[..., None], 0, 1) * 255 + 0.5).astype(np.uint8)

    def _canvas(self, hidden: Hidden) -> Array:
        """The picture (size,size,3) before its grain, about in [0,1]."""
        y, x = self._points
        canvas = self.ground.paint(y, x)
        for mark in self.clutter:
            self._stamp(canvas, mark)
        for i, body in enumerate(self.bodies):
            part = self._around(body.centre, (body.extent[0] + 0.03, body.extent[1] + 0.03))
            py, px = y[part], x[part]
            shadow = 0.45 * np.clip((1.15 - body.radius(py - 0.012, px - 0.012)) / 0.3, 0, 1)
            r = body.radius(py, px)
            cover = np.clip((1 - r) * min(body.axes) * self.size + 0.5, 0, 1)[..., None]
            shade = 1 - 0.25 * np.clip(r, 0, 1)[..., None] ** 4
            under = canvas[part] * (1 - shadow[..., None])
            canvas[part] = under + cover * (body.texture.paint(py, px) * shade - under)
            for j, mark in enumerate(body.emblems):
                if (i, j) not in hidden:
                    self._stamp(canvas, mark)
        return canvas

    def mask(self, i: int) -> Array:
        """The pixels (size,size) bool of body i."""
        return self.bodies[i].radius(*self._points) <= 1

    def evidence(self, i: int) -> list[Array]:
        """The disc (size,size) bool of every emblem of body i."""
        return [self.disc(m) for m in self.bodies[i].emblems]

    def disc(self, mark: Mark) -> Array:
        """The pixels (size,size) bool of a glyph's disc."""
        y, x = self._points
        return np.hypot(y - mark.centre[0], x - mark.centre[1]) <= mark.radius

    def box(self, i: int) -> tuple[float, float, float, float]:
        """The tight box xyxy in pixels of body i."""
        mask = self.mask(i)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)

    def _around(self, centre: tuple[float, float], half: tuple[float, float]) -> tuple[slice, slice]:
        spans = []
        for c, h in zip(centre, half, strict=True):
            low, high = int(np.floor((c - h) * self.size)), int(np.ceil((c + h) * self.size))
            spans.append(slice(max(low, 0), max(min(high, self.size), 0)))
        return spans[0], spans[1]

    def _stamp(self, canvas: Array, mark: Mark) -> None:
        part = self._around(mark.centre, (mark.radius, mark.radius))
        axes = [
            (np.arange(p.start * FINE, p.stop * FINE) + 0.5) / (FINE * self.size) - c
            for p, c in zip(part, mark.centre, strict=True)
        ]
        y, x = np.meshgrid(*axes, indexing="ij")
        u, v = _turn(y, x, mark.angle)
        drawn = mark.shape(u / mark.radius, v / mark.radius).astype(float)
        h, w = (p.stop - p.start for p in part)
        cover = drawn.reshape(h, FINE, w, FINE).mean(axis=(1, 3))[..., None]
        canvas[part] += cover * (mark.colour - canvas[part])


def scene(seed: int, index: int, size: int = 160, single: bool = False) -> Scene:
    """Scene `index` of the series `seed`, size x size pixels: 1 to 4 bodies, the first of them an object.

    single: one large body, of any class or bare with equal chance, as a classifier is shown it.
    """
    rng = np.random.default_rng([seed, index, int(single)])
    count = 1 if single else int(rng.integers(1, MOST_BODIES + 1))
    ground = draw_texture(rng, rng.uniform(0.1, 0.9, 3), spread=0.25, frequency=6)
    clutter = tuple(draw_clutter(rng) for _ in range(int(rng.integers(2, 8))))
    # The first body is an object; so many of the others are bare that a fifth of all bodies are.
    bare = BARE * (MOST_BODIES + 1) / (MOST_BODIES - 1)
    sizes = (0.29, 0.4) if single else (0.27 - 0.025 * count, 0.3 - 0.025 * count)
    bodies: list[Body] = []
    for n in range(count):
        if single:
            name = str(rng.choice([*CLASSES, NONE]))
        else:
            name = NONE if n and rng.random() < bare else str(rng.choice(CLASSES))
        bodies.append(lay(rng, name, ground, bodies, sizes))
    return Scene(seed, index, size, ground, clutter, tuple(bodies))


def label(scene: Scene) -> int:
    """The class of a single body as a number: a place in CLASSES, len(CLASSES) for none."""
    return (*CLASSES, NONE).index(scene.bodies[0].name)


def lay(
    rng: np.random.Generator,
    name: str,
    ground: Texture,
    others: list[Body],
    sizes: tuple[float, float],
    gap: float = GAP,
) -> Body:
    """A body clear of the others and of the picture's rim; it shrinks a little whenever a place is hard to find."""
    angle, power = rng.uniform(0, np.pi), rng.uniform(2, 5)
    long, ratio = rng.uniform(*sizes), rng.uniform(0.75, 1)
    colour = apart(rng, ground.colour, 0.25)
    texture = draw_texture(rng, colour, spread=0.1, frequency=rng.uniform(5, 20))
    for attempt in itertools.count():
        axes = (long * SHRINK**attempt, long * ratio * SHRINK**attempt)
        body = Body(name, (0.5, 0.5), axes, angle, power, texture, ())
        high, wide = body.extent
        top, left = high + gap, wide + gap
        for _ in range(TRIES):
            y = top + (1 - high - gap - top) * rng.random()  # as rng.uniform answers, in a fraction of its time
            x = left + (1 - wide - gap - left) * rng.random()
            if all(_clear(y, x, high, wide, o, gap) for o in others):
                body = replace(body, centre=(y, x))
                return body if name == NONE else replace(body, emblems=_emblems(rng, body))
    raise AssertionError("unreachable")


def _clear(y: float, x: float, high: float, wide: float, other: Body, gap: float) -> bool:
    (oy, ox), (oh, ow) = other.centre, other.extent
    return bool(abs(y - oy) > high + oh + gap or abs(x - ox) > wide + ow + gap)


def _emblems(rng: np.random.Generator, body: Body) -> tuple[Mark, ...]:
    count = 2 if rng.random() < TWO_EMBLEMS else 1
    colour = apart(rng, (body.texture.colour + body.texture.accent) / 2, 0.55)
    radius = rng.uniform(0.4, 0.46) * min(body.axes)
    inner = Body(
        body.name, body.centre, (body.axes[0] - radius, body.axes[1] - radius), body.angle, 2, body.texture, ()
    )
    places: list[tuple[float, float]] = []
    while len(places) < count:
        y, x = (c + rng.uniform(-1, 1) * max(inner.axes) for c in body.centre)
        if inner.radius(np.array(y), np.array(x)) > 1:
            continue
        if places and np.hypot(y - places[0][0], x - places[0][1]) < 2.3 * radius:
            places = places if rng.random() < 0.9 else []  # the first may leave no room for the second
            continue
        places.append((float(y), float(x)))
    return tuple(Mark(GLYPHS[body.name], p, radius, rng.uniform(0, 2 * np.pi), colour) for p in places)


def draw_clutter(rng: np.random.Generator) -> Mark:
    shape = LOOKALIKES[int(rng.integers(len(LOOKALIKES)))]
    y, x = rng.uniform(0, 1, 2)
    return Mark(shape, (y, x), rng.uniform(0.04, 0.08), rng.uniform(0, 2 * np.pi), rng.uniform(0, 1, 3))


def draw_texture(rng: np.random.Generator, colour: Array, spread: float, frequency: float) -> Texture:
    accent = np.clip(colour + rng.uniform(-spread, spread, 3), 0, 1)
    turn, count = rng.uniform(0, 2 * np.pi), int(rng.integers(1, 4))
    turns = turn + np.arange(count) * rng.choice([np.pi / 2, np.pi / 3, 1.0])
    waves = np.stack(
        [
            frequency * np.sin(turns) * rng.uniform(0.7, 1.3, count),
            frequency * np.cos(turns) * rng.uniform(0.7, 1.3, count),
            rng.uniform(0, 2 * np.pi, count),
            np.full(count, float(rng.random() < 0.4)),
        ],
        axis=1,
    )
    return Texture(colour, accent, waves)


def apart(rng: np.random.Generator, colour: Array, distance: float) -> Array:
    """A random colour at least `distance` in lightness or so away from `colour`."""
    while True:
        other = rng.uniform(0, 1, 3)
        if abs((other - colour) @ (0.3, 0.5, 0.2)) + 0.25 * np.linalg.norm(other - colour) > distance:
            return other


def _turn(y: Array, x: Array, angle: float) -> tuple[Array, Array]:
    """Points (y, x) as (u, v) in axes turned by angle."""
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
