"""Do detections equal those of the network's own pipeline? Networks with random weights, on two photos.

    python benchmarks/parity.py torchvision transformers
    python benchmarks/parity.py ultralytics            in an environment with the extra [ultralytics]

The networks are those of the tests (tests/detectors): torchvision's and Ultralytics' as they are built by name (SSD300
on a thin VGG), transformers' with few and narrow layers; their class heads spread the scores. Its own: the module's
whole forward of torchvision, post_process_object_detection of transformers, predict() of Ultralytics. `detections`: of
both photos; `px` and `score`: the largest difference of any; `other`: detections of one side that the other does not
have with the same class. `rounds`: what float32 rounds of a score, against double precision, where it was measured.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["IGOS_ULTRALYTICS"] = "1"

import igos  # noqa: E402
from benchmarks import table  # noqa: E402
from benchmarks.photos import DATA  # noqa: E402

PHOTOS = ("darknet_dog.jpg", "rise_catdog.png")
SMALL = 160  # px, the side of the photos as Ultralytics and torchvision get them
FAR = 5.0  # px or a hundredth of a score: further apart two detections are not the same one
HEAD = ("package", "network", "detections", "px", "score", "rounds", "other")


class Found(NamedTuple):
    """Detections: boxes (n,4) in px of the photo, scores (n,), labels (n,)."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class Case(NamedTuple):
    """One photo by one network: its own detections and igos's, and what float32 rounds of a score, if that is known."""

    own: Found
    ours: Found
    rounds: float | None = None


def seen(adapter: Any, photo: Any, threshold: float) -> Found:
    image = adapter.read(photo)
    found = adapter.detect(image, threshold)
    boxes = image.geometry.to_source(torch.stack([t.box for t in found]))
    return Found(boxes, torch.tensor([t.score for t in found]), torch.tensor([t.label for t in found]))


def sound(found: Found) -> Found:
    """Without boxes that have no area in the photo."""
    keep = (found.boxes[:, 2:] > found.boxes[:, :2] + 1e-3).all(1)
    return Found(*(part[keep] for part in found))


def compare(cases: list[Case]) -> dict[str, Any]:
    """Each detection beside the nearest of the other side: the largest differences, and how many have no partner."""
    px = score = 0.0
    other = 0
    for case in cases:
        a, b = sound(case.own), sound(case.ours)
        apart = torch.cdist(a.boxes.double(), b.boxes.double(), p=torch.inf)
        gaps = (a.scores[:, None] - b.scores).abs().double()
        far = apart + 100 * gaps + 1e3 * (a.labels[:, None] != b.labels)
        for side, least in ((0, far.min(1)), (1, far.min(0))):
            fine = least.values < FAR
            other += int((~fine).sum())
            places = torch.nonzero(fine)[:, 0]
            near = least.indices[fine]
            rows, columns = (places, near) if side == 0 else (near, places)
            px = max(px, float(apart[rows, columns].max()))
            score = max(score, float(gaps[rows, columns].max()))
    known = [c.rounds for c in cases if c.rounds is not None]
    count = sum(len(c.ours.scores) for c in cases)
    rounds = f"{max(known):.0e}" if known else None
    return {"detections": count, "px": f"{px:.3f}", "score": f"{score:.0e}", "rounds": rounds, "other": other}


def torchvision_cases() -> Iterator[tuple[str, list[Case]]]:
    import numpy as np
    import PIL.Image

    from tests.detectors import test_onestage as nets

    for name in nets.NAMES:
        cases = []
        for photo in PHOTOS:
            with PIL.Image.open(DATA / "photos" / photo) as opened:
                rgb = np.array(opened.convert("RGB").resize((SMALL, round(SMALL * opened.height / opened.width))))
            with torch.no_grad():
                (own,) = nets.network(name)([torch.from_numpy(rgb).permute(2, 0, 1).float() / 255])
            cases.append(Case(Found(own["boxes"], own["scores"], own["labels"]), seen(nets.adapter_of(name), rgb, 0.0)))
        yield name, cases


def transformers_cases() -> Iterator[tuple[str, list[Case]]]:
    from tests.detectors import test_hugging_face as nets

    for name in nets.NAMES:
        adapter, cases = igos.adapt(nets.network(name), processor=nets.processor_of(name)), []
        for photo in PHOTOS:
            path = DATA / "photos" / photo
            own = nets.theirs(name, nets.network(name), nets.processor_of(name), path)
            cases.append(Case(Found(own["boxes"], own["scores"], own["labels"]), seen(adapter, path, 0.0)))
        yield name, cases


def ultralytics_cases() -> Iterator[tuple[str, list[Case]]]:
    from tests.detectors import test_ultralytics as nets

    with tempfile.TemporaryDirectory() as folder:
        for name in (*nets.PLAIN, "rt-detr"):
            detr = name == "rt-detr"
            model, least, place = (nets.rt_detr(), 0.01, Path(folder)) if detr else (nets.drawn(name), 0.3, None)
            adapter, cases = igos.adapt(nets.wrapped(model, place)), []
            for photo in PHOTOS:
                picture = nets.small(photo)
                rows = nets.predicted(model, picture, least, nets.SIDE, place)
                own = Found(rows[:, :4], rows[:, 4], rows[:, 5].long())
                rounds = None if detr else nets.rounding(model, adapter, picture)[1] or None
                cases.append(Case(own, seen(adapter, picture, least), rounds))
            yield name, cases


PACKAGES = {
    "torchvision": torchvision_cases,
    "transformers": transformers_cases,
    "ultralytics": ultralytics_cases,
}


def main() -> None:
    parser = table.parser(__doc__ or "")
    parser.add_argument("packages", nargs="*", choices=list(PACKAGES), help="torchvision and transformers")
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    if not (DATA / "photos").exists():
        raise SystemExit(f"real data missing: {DATA / 'photos'}")
    rows: list[dict[str, Any]] = []
    print(table.markdown(HEAD, []))
    for package in flags.packages or ("torchvision", "transformers"):
        for name, cases in PACKAGES[package]():
            rows.append({"package": package, "network": name, **compare(cases)})
            print(table.markdown(HEAD, [[table.cell(rows[-1][k]) for k in HEAD]]).split("\n")[-1], flush=True)
    table.write_json(flags.json, table.header(0), rows)


if __name__ == "__main__":
    main()
