"""What every detector asks of the targets it is to score, and the measure of their boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from igos.base.names import EDGES, MARGIN, SCORES
from igos.types import ConfigError, Target


def check(name: str, parts: Sequence[str], classes: int, targets: Sequence[Target], score: str) -> None:
    """Refuse targets that the model cannot score: an unknown score, part, class or box. Raises ConfigError."""
    if score not in (*SCORES, MARGIN):
        raise ConfigError(f"score {score!r} is not one of {', '.join(SCORES)}")
    for target in targets:
        what = f"target {target.name!r}"
        if target.part not in parts:
            raise ConfigError(f"part {target.part}: {name} has no such part; it has {', '.join(parts)}")
        if score != "prob" and target.part != "class":
            raise ConfigError(f"score {score} is that of a class; part {target.part} needs score prob")
        if not 0 <= target.label < classes:
            raise ConfigError(f"{what}: class {target.label} is not among the {classes} classes of {name}")
        if target.box is None:
            if target.part != "class":
                raise ConfigError(f"{what}: part {target.part} needs the target's box")
        elif not bool(target.box.isfinite().all() & (target.box[2:] > target.box[:2]).all()):
            raise ConfigError(f"{what}: its box {tuple(round(v, 1) for v in target.box.tolist())} has no area")
        if target.part == "mask" and (target.mask is None or not bool(target.mask.any())):
            raise ConfigError(f"{what}: part mask needs the target's instance mask, with at least one pixel")


class Rivals(NamedTuple):
    """What K targets are compared with: row (K,), -1 where a box is scored; label (K,); same (K,), whether it is the
    target's own row or box.
    """

    row: Tensor
    label: Tensor
    same: Tensor


def rivals(targets: Sequence[Target], device: torch.device) -> Rivals:
    """Of targets for score margin. Raises ConfigError where one has none."""
    for t in targets:
        if t.rival is None:
            raise ConfigError(f"target {t.name!r}: a margin needs the class or the detection that it is compared with")
    both = [(t, t.rival) for t in targets if t.rival is not None]
    same = [t.index == r.index and _alike(t.box, r.box) for t, r in both]
    index = [-1 if r.index is None else r.index for _, r in both]
    made = (torch.tensor(v, device=device) for v in (index, [r.label for _, r in both], same))
    return Rivals(*made)


def _alike(a: Tensor | None, b: Tensor | None) -> bool:
    return (a is None) == (b is None) and (a is None or b is None or torch.equal(a, b.to(a)))


def like(shape: Sequence[int], picture: Sequence[int]) -> bool:
    """Whether (N,c,h,w) is the shape of a map of a picture (N,3,H,W): as long and as wide as it. With the channels last
    (Swin) it is not.
    """
    (h, w), (height, width) = shape[2:], picture[2:]
    return min(h, w) > 1 and abs(h * width - w * height) <= max(height, width)


def boxes_of(targets: Sequence[Target], like: Tensor) -> Tensor:
    """Boxes (K,4) of targets; nan where there is none."""
    none = torch.full((4,), float("nan"), dtype=torch.float32)
    return torch.stack([none if t.box is None else t.box.to(none) for t in targets]).to(like)


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """IoU of boxes a and b (N,4) xyxy, one by one -> (N,) in [0,1], differentiable."""
    sides = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0)
    both = sides.prod(dim=1)
    areas = [(box[:, 2:] - box[:, :2]).clamp(min=0).prod(dim=1) for box in (a, b)]
    return both / (areas[0] + areas[1] - both).clamp(min=1e-9)


def box_parts(made: Tensor, own: Tensor, p: Tensor) -> dict[str, Tensor]:
    """By part the values (N,) of boxes made (N,4) that stand for boxes own (N,4), of class probabilities p (N,): `box`
    the IoU, `class_box` its product with p, and of each edge the IoU where only that edge has moved, in [0,1].
    """
    iou = overlap(made, own)
    values, sides = {"box": iou, "class_box": p * iou}, own[:, 2:] - own[:, :2]
    for n, name in enumerate(EDGES):  # left, top, right, bottom: as in xyxy
        side = sides[:, n % 2]
        moved = (own[:, n + 2] - made[:, n] if n < 2 else made[:, n] - own[:, n - 2]).clamp(min=0)
        values[name] = torch.minimum(moved, side) / torch.maximum(moved, side).clamp(min=1e-9)
    return values


def by_part(parts: Sequence[str], rows: Tensor, values: dict[str, Tensor]) -> Tensor:
    """Of values (N,) per part, those of the part of each picture's target `rows` (N,)."""
    names = list(values)
    place = torch.tensor([names.index(part) for part in parts], device=rows.device)
    return torch.stack([values[name] for name in names]).gather(0, place[rows][None])[0]
