"""The loss of YOLOv3. Redmon, Farhadi, https://arxiv.org/abs/1804.02767, with the complete IoU for boxes
(Zheng et al., https://arxiv.org/abs/1911.08287).

Every object trains, in the cell of its centre, the anchor of its shape and all others that fit it nearly as well;
a row that is nobody's but whose box covers an object is left alone; all others learn that nothing is there. `near`
pixels: the cells that come so near to the centre are trained too, for where only a cue beside an object shows it, no
network knows which cell has the centre.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou, complete_box_iou_loss

from detectors.darknet import Darknet

FITS, COVERS = 0.75, 0.6  # IoU of shapes; IoU of boxes
BOX, OBJECT, CLASS = 2.0, 1.0, 1.0


def yolo_loss(
    network: Darknet, rows: Tensor, boxes: list[Tensor], labels: list[Tensor], size: tuple[int, int], near: float = 0
) -> Tensor:
    """rows (N,R,5+C) raw; per picture boxes (n,4) xyxy in pixels and labels (n,) -> the loss, a scalar.

    A picture may have no object, and so may all of them."""
    decoded = network.decode(rows, size)
    wanted, weight = torch.zeros_like(rows[..., 4]), torch.ones_like(rows[..., 4])
    pictures, places, truths, classes = [], [], [], []
    for n, (box, label) in enumerate(zip(boxes, labels, strict=True)):
        weight[n][(box_iou(decoded[n].detach(), box) > COVERS).any(1)] = 0
        for b, c in zip(box, label, strict=True):
            place = _places(network, b, size, near)
            pictures += [n] * len(place)
            places += place
            truths += [b] * len(place)
            classes += [int(c)] * len(place)
    if not places:
        return OBJECT * F.binary_cross_entropy_with_logits(rows[..., 4], wanted, weight, reduction="sum")
    wanted[pictures, places], weight[pictures, places] = 1, 1
    chosen, truth = rows[pictures, places], torch.stack(truths)
    box_loss = complete_box_iou_loss(decoded[pictures, places], truth, reduction="mean")
    objects = F.binary_cross_entropy_with_logits(rows[..., 4], wanted, weight, reduction="sum") / len(places)
    one_hot = F.one_hot(torch.tensor(classes), network.classes).to(rows)
    kinds = F.binary_cross_entropy_with_logits(chosen[:, 5:], one_hot, reduction="sum") / len(places)
    return BOX * box_loss + OBJECT * objects + CLASS * kinds


def _places(network: Darknet, box: Tensor, size: tuple[int, int], near: float) -> list[int]:
    """The rows that answer for a box (4,) xyxy."""
    w, h = float(box[2] - box[0]), float(box[3] - box[1])
    x, y = float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2
    found, begin = [], 0
    for i in network.heads:
        layer = network.layers[i]
        rows, columns = size[0] // layer["stride"], size[1] // layer["stride"]
        cells = cells_of(y / layer["stride"], x / layer["stride"], rows, columns, near / layer["stride"])
        for m in layer["mask"]:
            aw, ah = layer["anchors"][2 * m : 2 * m + 2]
            both = min(w, aw) * min(h, ah)
            found += [(both / (w * h + aw * ah - both), begin + cell) for cell in cells]
            begin += rows * columns
    best = max(found)[0]
    return [place for fit, place in found if fit >= min(best, FITS)]


def cells_of(y: float, x: float, rows: int, columns: int, near: float) -> list[int]:
    """The cell of a point, and all that it is nearer to than `near`; everything in sides of a cell."""
    own = min(int(y), rows - 1) * columns + min(int(x), columns - 1)
    dy, dx = (
        torch.stack([n - v, v - 1 - n]).amax(0).clamp(min=0)
        for n, v in ((torch.arange(rows), y), (torch.arange(columns), x))
    )
    close = torch.hypot(dy[:, None], dx[None]) < near
    close.view(-1)[own] = True
    return close.view(-1).nonzero()[:, 0].tolist()
