"""A photo beside the map of each method in the docs: python samples/method_photos.py [METHOD ...]

docs/pictures/method-NAME.jpg for every method (or those named) that Yolo-Fastest 1.1 XL can serve without patterns or
statistics of its own; the pages of the others show drawn scenes alone (method_pictures.py). Network and photo come from
../shared/data; CREDITS.md beside the pictures says who made the photo.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path

from PIL import Image as Picture

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import igos  # noqa: E402
from benchmarks import table  # noqa: E402
from benchmarks.photos import DATA  # noqa: E402
from samples.method_grid import FEWER  # noqa: E402
from samples.readme_pictures import FOLDER, HEAD, credit, detector, panel, wanted  # noqa: E402

PHOTO, WHAT = "photos/darknet_giraffe.jpg", "giraffe"
WIDTH, QUALITY = 480, 66
QUICK = {  # of a large network: what a path of many pictures shows is there with these
    **FEWER,
    **dict.fromkeys(("blur_ig", "guided_ig", "idgi", "interior", "guided_integrated_gradients"), {"n_steps": 30}),
    **dict.fromkeys(("exp_grad", "gradient_shap"), {"n_samples": 30}),
    "sg_ig": {"n_steps": 8, "n_samples": 5},
    "xrai": {"n_steps": 30},
}
BEGIN = "method-"


def main(names: Collection[str]) -> None:
    adapter = detector()
    image = adapter.read(DATA / PHOTO)
    targets = wanted(adapter.detect(image), (WHAT,))
    table.place(FOLDER / "CREDITS.md", "methods", table.markdown(HEAD, [(f"`{BEGIN}*.jpg`", *credit(PHOTO))]))
    for method in names or igos.METHODS:
        try:
            made = igos.explain(adapter, image, targets, method, metrics=(), **QUICK.get(method, {}))
        except igos.ConfigError as error:
            print(f"{method}: none; {error}", flush=True)
            continue
        drawn = Picture.fromarray(panel(made))
        drawn = drawn.resize((WIDTH, round(WIDTH * drawn.height / drawn.width)), Picture.Resampling.LANCZOS)
        drawn.save(FOLDER / f"{BEGIN}{method}.jpg", quality=QUALITY, optimize=True)
        print(
            f"{method}: {made[0].status}, {made[0].network_images} network images, {made[0].seconds:.1f} s", flush=True
        )


if __name__ == "__main__":
    main(sys.argv[1:])
