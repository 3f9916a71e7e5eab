"""A photo beside the map of each method in the docs: python samples/method_photos.py [METHOD ...]

docs/pictures/method-NAME.jpg for every method (or those named): a detection of Yolo-Fastest 1.1 XL, or, of FITTED,
which need patterns or statistics of the network, a class of SqueezeNet 1.0, fitted on the photos of coco/. Networks and
photos come from ../shared/data; CREDITS.md beside the pictures says who made the photos.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image as Picture

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import igos  # noqa: E402
from benchmarks import table  # noqa: E402
from benchmarks.bottlenecks import SQUEEZE_LAYER  # noqa: E402
from benchmarks.photos import DATA, squeezenet  # noqa: E402
from samples.method_grid import FEWER  # noqa: E402
from samples.readme_pictures import FOLDER, HEAD, credit, detector, panel, wanted  # noqa: E402

PHOTO, WHAT = "photos/darknet_giraffe.jpg", "giraffe"
FITTED, CLASS_PHOTO, CLASS = (
    ("iba", "input_iba", "pattern_net", "pattern_vanilla_grad", "pattern_integrate_grad"),
    "photos/captum_zebra.jpg",
    "zebra",
)
WIDTH, QUALITY = 480, 66
QUICK = {  # of a large network: what a path of many pictures shows is there with these
    **FEWER,
    **dict.fromkeys(("blur_ig", "guided_ig", "idgi", "interior", "guided_integrated_gradients"), {"n_steps": 30}),
    **dict.fromkeys(("exp_grad", "gradient_shap"), {"n_samples": 30}),
    "sg_ig": {"n_steps": 8, "n_samples": 5},
    "xrai": {"n_steps": 30},
}
BEGIN = "method-"


@cache
def fitted(folder: Path) -> tuple[igos.Adapter, igos.Statistics]:
    """SqueezeNet with its patterns, and the statistics of its layer."""
    adapter = squeezenet(folder)
    return adapter, igos.estimate(adapter, SQUEEZE_LAYER, sorted((DATA / "coco" / "images").iterdir()), "channel")


@cache
def detected() -> tuple[igos.Adapter, Any, list[igos.Target]]:
    """Yolo-Fastest, the photo as it reads it, and the giraffe that it sees there."""
    adapter = detector()
    image = adapter.read(DATA / PHOTO)
    return adapter, image, wanted(adapter.detect(image), (WHAT,))


def explained(method: str, folder: Path) -> igos.Explanations:
    if method not in FITTED:
        return igos.explain(*detected(), method, metrics=(), **QUICK.get(method, {}))
    adapter, statistics = fitted(folder)
    given = {} if method.startswith("pattern") else {"stats": statistics}
    return igos.explain(adapter, DATA / CLASS_PHOTO, CLASS, method, metrics=(), **given)


def main(names: Collection[str]) -> None:
    rows = [(f"`{BEGIN}*.jpg`", *credit(PHOTO)), (", ".join(f"`{BEGIN}{m}.jpg`" for m in FITTED), *credit(CLASS_PHOTO))]
    table.place(FOLDER / "CREDITS.md", "methods", table.markdown(HEAD, rows))
    folder = tempfile.TemporaryDirectory()
    for method in names or igos.METHODS:
        made = explained(method, Path(folder.name))
        drawn = Picture.fromarray(panel(made))
        drawn = drawn.resize((WIDTH, round(WIDTH * drawn.height / drawn.width)), Picture.Resampling.LANCZOS)
        drawn.save(FOLDER / f"{BEGIN}{method}.jpg", quality=QUALITY, optimize=True)
        print(
            f"{method}: {made[0].status}, {made[0].network_images} network images, {made[0].seconds:.1f} s", flush=True
        )


if __name__ == "__main__":
    main(sys.argv[1:])
