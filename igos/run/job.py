"""One explanation to make, as run/explain.py takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from igos.data.truth import Truth
from igos.types import Image, Problem, Target


@dataclass(frozen=True, eq=False)
class Job:
    """One explanation to make: of which target in which picture, from which start cell (None: from ones).

    start_mask (h,w): the mask to start from; truths: what is known of the picture's objects; view: the same object as
    the judge sees it; blurred (1,3,H,W): the picture's baseline, where it is made already. folder: where the
    explanation lies in the run's folder; key: the id of its row; warnings: what is to be said of the picture.
    """

    target: Target
    image: Image
    start: int | None = None
    start_mask: Tensor | None = None
    truths: Sequence[Truth] = ()
    view: Problem | None = None
    blurred: Tensor | None = None
    folder: str = ""
    key: str = ""
    warnings: tuple[str, ...] = ()


def lasting(job: Job) -> Job:
    """The job without tensors of torch.inference_mode, which no gradient can pass."""
    t, i = job.target, job.image
    tensors = [v for v in (t.box, t.mask, i.pixels) if v is not None]
    if not any(v.is_inference() for v in tensors):
        return job
    box, mask = (None if v is None else v.clone() for v in (t.box, t.mask))
    return replace(job, target=replace(t, box=box, mask=mask), image=replace(i, pixels=i.pixels.clone()))


def blurred_of(jobs: Sequence[Job]) -> Tensor | None:
    """The pictures' blurs (K,3,H,W), one expanded where they are of one picture."""
    blurs = [j.blurred for j in jobs if j.blurred is not None]
    if len(blurs) < len(jobs):
        return None
    if all(b is blurs[0] for b in blurs):
        return blurs[0].expand(len(jobs), -1, -1, -1)
    return torch.cat(blurs)
