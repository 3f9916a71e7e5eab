"""How a model's answers compare with another way to them: onnxruntime's, or the score that is explained."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from igos.types import Adapter, Candidates, Image, Target


@torch.no_grad()
def parity(adapter: Adapter, image: Image, targets: Sequence[Target]) -> list[str]:
    """Per comparison of these detections of a picture one line."""
    if not targets:
        return []
    told = []
    if adapter.default_target != "top1":
        scores = adapter.scorer(targets)(image.pixels.expand(len(targets), 1, -1, -1, -1))[:, 0]
        own = scores.new_tensor([t.score for t in targets])
        told.append(
            f"the score that is explained differs from the detection's by {float((scores - own).abs().max()):.1e}"
        )
    oracle = getattr(adapter, "oracle", None)  # of a DenseAdapter
    if oracle is not None:
        boxes, scored = differences(oracle(image.pixels[None]), targets, image.geometry.network)
        told.append(f"onnxruntime's own answer differs by {boxes:.2g} px and {scored:.1e} of score")
    return told


def differences(other: Candidates, targets: Sequence[Target], size: tuple[int, int]) -> tuple[float, float]:
    """How far, at most, detections lie from another way's candidates: (px, score).

    Each from its own row or, where queries come in another order, from the nearest.
    """
    assert other.boxes is not None
    far, off = 0.0, 0.0
    edge = other.boxes.new_tensor([size[1], size[0]] * 2)
    boxes, scores = torch.minimum(other.boxes[0].clamp(min=0), edge), other.scores()[0]
    for t in targets:
        assert t.box is not None and t.index is not None
        gap = (boxes - t.box.to(boxes)).abs().amax(1)
        gap = gap + (scores[:, t.label] - t.score).abs()
        row = int(gap.argmin()) if t.pins else t.index
        far = max(far, float((boxes[row] - t.box.to(boxes)).abs().max()))
        off = max(off, abs(float(scores[row, t.label]) - t.score))
    return far, off
