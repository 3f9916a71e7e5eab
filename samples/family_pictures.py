"""A photo beside a map for each family of detectors in the docs: python samples/family_pictures.py [NAME ...]

Each docs/pictures/photo-family-NAME.jpg of SHOWN (or only those that are named), made with the defaults of the command.
YOLOv8n needs an environment with the extra [ultralytics], the others the extra [onnx]. Networks and photos come from
../shared/data; CREDITS.md beside the pictures says who made each photo.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path

from PIL import Image as Picture

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import igos  # noqa: E402
from benchmarks import table  # noqa: E402
from benchmarks.detectors import network  # noqa: E402
from samples.readme_pictures import DATA, FOLDER, HEAD, QUALITY, credit, panel, wanted  # noqa: E402

WIDTH, MOST = 640, 60_000  # px, and bytes of a picture
GIRAFFE, DOG = "photos/darknet_giraffe.jpg", "photos/darknet_dog.jpg"
SHOWN = {  # name of the picture -> network, photo, what is explained in it
    "yolox": ("yolox_nano", DOG, ("dog",)),
    "picodet": ("picodet_s_320", GIRAFFE, ("zebra",)),
    "nanodet": ("nanodet_m_320", GIRAFFE, ("giraffe",)),
    "fastestdet": ("fastestdet", "photos/captum_elephant.jpg", ("elephant",)),
    "deim": ("deimv2_atto_weak", GIRAFFE, ("giraffe",)),
    "ssd": ("ultralight_face_rfb320", "coco/images/000000008021.jpg", ("face",)),
    "yolov8": ("yolov8n", DOG, ("bicycle",)),
}


def main(names: Collection[str]) -> None:
    for name, (kind, file, what) in SHOWN.items():
        if names and name not in names:
            continue
        adapter = network(kind)
        image = adapter.read(DATA / file)
        made = igos.explain(adapter, image, wanted(adapter.detect(image), what), metrics=())
        drawn = Picture.fromarray(panel(made))
        drawn = drawn.resize((WIDTH, round(WIDTH * drawn.height / drawn.width)), Picture.Resampling.LANCZOS)
        path = FOLDER / f"photo-family-{name}.jpg"
        for quality in range(QUALITY, 20, -6):
            drawn.save(path, quality=quality, optimize=True)
            if path.stat().st_size <= MOST:
                break
        for e in made:
            told = f"{e.target.name} {e.target.score:.2f}, {e.status}, {e.network_images} network images"
            print(f"{name}: {told}", flush=True)
    rows = [(f"`photo-family-{name}.jpg`", *credit(file)) for name, (_, file, _) in SHOWN.items()]
    table.place(FOLDER / "CREDITS.md", "families", table.markdown(HEAD, rows))


if __name__ == "__main__":
    main(sys.argv[1:])
