"""The pictures of docs/diagnose.md and the figures beside them: python samples/diagnose_pictures.py

docs/pictures/diagnose-miss.jpg, a horse that Yolo-Fastest 1.1 XL takes for a cow, and what holds its score down;
diagnose-alarm.jpg, a cat that is none, and what its score stands on; diagnose-lean.jpg, the detection that leans most
on what surrounds it, with its object hidden and alone. Network and photos are read from ../shared/data; the photos
are in the public domain.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Picture

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import igos  # noqa: E402
from benchmarks.photos import DATA  # noqa: E402
from igos.base.baselines import baseline  # noqa: E402
from igos.diagnose.causal import causes, matte, outside  # noqa: E402
from igos.drawing.figures import overlay  # noqa: E402
from igos.drawing.layout import captioned  # noqa: E402
from samples.readme_pictures import FOLDER, GAP, detector, photo  # noqa: E402

WIDTH, QUALITY, MOST = 860, 78, 60_000  # px, of JPEG, bytes
PHOTOS = ("darknet_dog", "darknet_eagle", "darknet_giraffe", "darknet_horses", "darknet_person")


def beside(name: str, tiles: Sequence[tuple[np.ndarray, str]]) -> None:
    """Pictures (H,W,3) side by side, each over its line."""
    side, made = (WIDTH - (len(tiles) - 1) * GAP) // len(tiles), list[np.ndarray]()
    for pixels, words in tiles:
        height = round(side * pixels.shape[0] / pixels.shape[1])
        made.append(captioned(np.asarray(Picture.fromarray(pixels).resize((side, height))), words))
    gap = np.full((made[0].shape[0], GAP, 3), 255, np.uint8)
    file = FOLDER / f"diagnose-{name}.jpg"
    joined = np.concatenate([part for tile in made for part in (gap, tile)][1:], axis=1)
    Picture.fromarray(joined).save(file, quality=QUALITY, optimize=True)
    print(file, file.stat().st_size)
    assert file.stat().st_size <= MOST


def told(e: igos.Explanation) -> dict[str, Any]:
    made = {s.name: round(s.value, 4) for s in e.scores}
    for s in e.scores:
        made |= {k: v for k, v in s.detail.items() if isinstance(v, str | float | list)}
    return {"name": e.target.name, "reason": e.target.reason, "status": e.status, **made}


def miss(adapter: igos.Adapter) -> None:
    image = adapter.read(DATA / "photos" / "darknet_person.jpg")
    cow = next(t for t in adapter.detect(image, 0.4) if t.name == "cow")
    assert cow.box is not None
    box = [round(float(v)) for v in image.geometry.to_source(cow.box[None])[0]]
    target = igos.expect(adapter, image, "horse", box)
    (e,) = igos.explain(adapter, image, target, ask="why-not")
    print("miss", box, told(e), target.rival)
    pictures = [(photo([e], 700), f"a horse, taken for a cow {cow.score:.2f}")]
    beside("miss", [*pictures, (overlay(e, label=False), f"what holds horse {target.score:.2f} down")])


def alarm(adapter: igos.Adapter) -> None:
    image = adapter.read(DATA / "photos" / "darknet_dog.jpg")
    cat = next(t for t in adapter.detect(image, 0.4) if t.name == "cat")
    (why,) = igos.explain(adapter, image, cat, metrics=("sufficient", "necessary", "interactions"))
    (versus,) = igos.explain(adapter, image, cat, ask="versus:dog")
    print("alarm", told(why), told(versus))
    tiles = [(photo([why], 700), f"a false alarm: cat {cat.score:.2f}"), (overlay(why, label=False), "why cat?")]
    beside("alarm", [*tiles, (overlay(versus, label=False), "why cat and not dog?")])


def lean(adapter: igos.Adapter) -> None:
    images = {name: adapter.read(DATA / "photos" / f"{name}.jpg") for name in PHOTOS}
    best: tuple[float, Any] = (-1.0, None)
    for name, image in images.items():
        others = torch.stack([other.pixels for n, other in images.items() if n != name])
        seen = adapter.detect(image, 0.4)
        for t, f in zip(seen, causes(adapter, image, seen, [None] * len(seen), others)[0], strict=True):
            print("lean", name, t.name, {k: v for k, v in f.items() if not k.endswith("_logodds")})
            best = max(best, (f["context"], (image, t, f)), key=lambda b: b[0])
    image, t, f = best[1]
    alpha, grey = matte(t, None, image.geometry), baseline("mean", image.pixels[None])[0]
    hidden = image.pixels + alpha * (outside(image.pixels, alpha) - image.pixels)
    alone = grey + alpha * (image.pixels - grey)
    height, width = image.geometry.source
    shown = []
    for pixels in (hidden, alone):
        made = (255 * pixels.clamp(0, 1)).round().byte().permute(1, 2, 0).numpy()
        shown.append(np.asarray(Picture.fromarray(made).resize((width, height))))
    (e,) = igos.explain(adapter, image, t, metrics="none")
    tiles = [(photo([e], 700), f"{t.name} {f['f']:.2f}"), (shown[0], f"without it {f['f_context']:.2f}")]
    beside("lean", [*tiles, (shown[1], f"alone {f['f_object']:.2f}")])


if __name__ == "__main__":
    loaded = detector()
    for make in (miss, alarm, lean):
        if len(sys.argv) < 2 or make.__name__ in sys.argv[1:]:
            make(loaded)
