"""How training shows the scenes: blurred here and there, so that a network learns that blur is nothing by itself.

In half of the pictures all but the emblems is blurred through a coarse random mask; else the sharp outline of a body
would be a cause as well. Where flaws are planted, marks are spared as emblems are.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import torch

from igos.base.baselines import baseline
from igos.base.ops import upscale
from igos.data.emblems import Mark, Scene
from igos.data.flawed import BLOCKER, CUE, REDUNDANT, SHORTCUT, FlawedScene
from igos.metrics.ladder import FINEST
from igos.metrics.raised import SUBSTRATES_ASKED


def softened(s: Scene) -> np.ndarray:
    """The picture (H,W,3) uint8, in one of two scenes blurred through a coarse random mask that spares the emblems."""
    rng = np.random.default_rng([s.seed, s.index, 7])
    return _softened(s.picture(), [e for i in s.objects for e in s.evidence(i)], rng)


def _softened(picture: np.ndarray, kept: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """The picture (H,W,3) uint8, in one of two cases blurred here and there but where `kept`, masks (H,W) bool, lie."""
    if rng.random() < 0.5:
        return picture
    size = len(picture)
    spared = np.any(kept, axis=0).astype(np.float32) if kept else np.zeros((size, size), np.float32)
    spared = cv2.GaussianBlur(cv2.dilate(spared, np.ones((3, 3))), (0, 0), 1.0)
    cells = int(rng.integers(1, 9))
    mask = rng.uniform(0, 1, (cells, cells)) < rng.uniform(0.3, 1)
    mask = cv2.resize(mask.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR) * (1 - spared)
    return _mixed(picture, cv2.GaussianBlur(picture, (0, 0), rng.uniform(2, 12)), mask)


def _mixed(picture: np.ndarray, other: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The other picture (H,W,3), or colour (3,), where mask (H,W) is 1."""
    return (picture + mask[..., None] * (other.astype(np.float32) - picture)).round().astype(np.uint8)


def flawed(s: FlawedScene, by_cells: bool = False) -> tuple[np.ndarray, list[int]]:
    """The picture (H,W,3) uint8 as training shows a flawed scene, and the bodies that it labels.

    A quarter of the blockers is blurred, and what they blocked is labelled again; in a third of the scenes bodies are
    hidden, most of them filled from around, and every second body of the redundant class beside its cue is: so only the
    cue can tell of it. In a tenth all but one body is hidden. The rest is softened, which spares glyphs and marks.
    by_cells: those blockers are not blurred but hidden as `why-not` hides.
    """
    picture, rng = s.picture(), np.random.default_rng([s.seed, s.index, 7])
    there = [b.body for b in s.beside if b.there]
    if rng.random() < 0.1:
        i = int(rng.integers(len(s.bodies)))
        hide = rng.random() < 0.5
        other = picture.mean((0, 1)) if hide else cv2.GaussianBlur(picture, (0, 0), rng.uniform(12, 40))
        alone = s.switched(i, False)
        kept = [j for j in alone.labelled() if j == i and s.bodies[j].name != SHORTCUT]
        return _mixed(picture, other, 1 - _grown(s.mask(i), rng)), kept
    blurred = {i for i in there if s.beside[i].kind == BLOCKER and rng.random() < 0.25}
    for i in sorted(blurred):
        picture = (hidden_cells if by_cells else _blurred)(s, picture, s.beside[i].mark, rng)
    filled = hidden_bodies(s, rng)
    for i in sorted(filled):
        mask = _grown(s.mask(i), rng)
        flat, around = rng.random() < 0.25, _around(picture, mask, rng.uniform(4, 25))
        picture = _mixed(picture, picture.mean((0, 1)) if flat else around, mask)
    spared = [s.disc(s.beside[i].mark) for i in there if i not in blurred]
    spared += [e for i in range(len(s.bodies)) if i not in filled for e in s.evidence(i)]
    return _softened(picture, spared, rng), s.labelled(blurred, filled)


def _blurred(s: FlawedScene, picture: np.ndarray, mark: Mark, rng: np.random.Generator) -> np.ndarray:
    """The picture (H,W,3) uint8 with a mark blurred, or filled by the mean colour, and some of what is around it."""
    disc = s.disc(replace(mark, radius=mark.radius * rng.uniform(1.1, 2))).astype(np.float32)
    strong = cv2.GaussianBlur(picture, (0, 0), rng.uniform(4, 20))
    other = picture.mean((0, 1)) if rng.random() < 0.25 else strong
    return _mixed(picture, other, cv2.GaussianBlur(disc, (0, 0), 1.0))


def hidden_cells(s: FlawedScene, picture: np.ndarray, mark: Mark, rng: np.random.Generator) -> np.ndarray:
    """The picture (H,W,3) uint8 with the cells of a mark hidden as the figures of `why-not` hide them, by one of its
    substrates: from those of its middle to those around it too, for a map names them one after another.
    """
    at = np.linspace(0, 1, FINEST)
    away = np.hypot(at[:, None] - mark.centre[0], at[None] - mark.centre[1])
    near = away <= max(mark.radius * rng.uniform(0.8, 1.6), np.sort(away, axis=None)[1])
    mask = upscale(torch.from_numpy(near.astype(np.float32)), (s.size, s.size)).numpy()
    x = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    other = baseline(str(rng.choice(SUBSTRATES_ASKED)), x)[0].permute(1, 2, 0).numpy() * 255
    return _mixed(picture, other, mask)


def hidden_bodies(s: FlawedScene, rng: np.random.Generator) -> set[int]:
    """The bodies that are hidden. A cue tells of the redundant class alone where the body is hidden, so no other body
    beside one is."""
    some, found = rng.random() < 1 / 3, set[int]()
    for i, (body, mark) in enumerate(zip(s.bodies, s.beside, strict=True)):
        cued = mark.kind == CUE and mark.there
        if rng.random() < 0.5 and (body.name == REDUNDANT if cued else some):
            found.add(i)
    return found


def _grown(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A body's mask (H,W) bool -> float32 in [0,1], up to 10 % larger and soft at its edge."""
    reach = round(rng.uniform(0, 0.1) * float(mask.sum()) ** 0.5)
    wider = cv2.dilate(mask.astype(np.float32), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2))
    return cv2.GaussianBlur(wider, (0, 0), 1.0)


def _around(picture: np.ndarray, mask: np.ndarray, sigma: float) -> np.ndarray:
    """What lies around mask (H,W), carried into it: blur of the picture without it / blur of its weight."""
    seen = (1 - mask).astype(np.float32)
    blur = cv2.GaussianBlur(picture * seen[..., None], (0, 0), sigma)
    weight = cv2.GaussianBlur(seen, (0, 0), sigma)[..., None] + 1e-3
    return np.clip((blur + 1e-3 * picture.mean((0, 1))) / weight, 0, 255)
