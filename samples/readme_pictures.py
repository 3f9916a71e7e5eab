"""The photos beside their maps in the README and the docs: python samples/readme_pictures.py [NAME ...] [--gallery]

Each docs/pictures/photo-NAME.jpg of SHOWN (or only those that are named): the photo with the boxes of its detections,
and beside it the map of each as `overlay.png` shows it. Detections come from Yolo-Fastest 1.1 XL, classes from
SqueezeNet 1.0; method, optimiser and preset are the defaults of the command. CREDITS.md beside them says who made each
photo. Networks and photos are read from ../shared/data. --gallery: no pictures, but the commands and figures of
GALLERY, into docs/gallery.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import igos  # noqa: E402
from benchmarks import table  # noqa: E402
from benchmarks.photos import DATA, squeezenet  # noqa: E402
from igos.drawing.figures import overlay  # noqa: E402
from igos.drawing.layout import SKY, captioned  # noqa: E402

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "pictures"
WIDTH, GAP, QUALITY = 900, 8, 82
SHOWN = {  # name of the picture -> photo, whose network, what is explained in it
    "giraffe": ("photos/darknet_giraffe.jpg", "detections", ("giraffe", "zebra")),
    "dog": ("photos/darknet_person.jpg", "detections", ("dog",)),
    "cow": ("photos/darknet_person.jpg", "detections", ("cow",)),
    "bicycle": ("photos/darknet_dog.jpg", "detections", ("bicycle", "car")),
    "elephant": ("photos/captum_elephant.jpg", "detections", ("elephant",)),
    "clock": ("coco/images/000000000626.jpg", "detections", ("clock",)),
    "skier": ("coco/images/000000000785.jpg", "detections", ("person",)),
    "jump": ("coco/images/000000002473.jpg", "detections", ("person", "person")),
    "zebra": ("photos/captum_zebra.jpg", "classes", ("zebra",)),
    "kite": ("photos/darknet_eagle.jpg", "classes", ("kite",)),
    "labrador": ("photos/gradcam_puppies.jpg", "classes", ("Labrador",)),
}
GALLERY = {  # the photos that open the gallery -> what is said of the maps
    "giraffe": "Shoulders and forelegs make the giraffe, head and neck make the zebra.",
    "dog": "The body of the dog, not the person beside it.",
    "cow": "A mistake: the back and the lowered head make a cow of a horse.",
    "bicycle": "The frame, and the head of the dog before it, make the bicycle; the car itself.",
    "elephant": "Belly and forelegs. The rock beside it does not matter.",
    "kite": "A class, so there is no box: the head makes a kite of a young eagle.",
}
GALLERY_PAGE = FOLDER.parent / "gallery.md"
SOURCES = {  # a photo's prefix -> whose it is, its licence, where it comes from
    "captum": ("Captum, PyTorch team", "BSD 3-Clause", "https://github.com/pytorch/captum"),
    "darknet": ("Yolo-Fastest", "public domain", "https://github.com/dog-qiuqiu/Yolo-Fastest"),
    "gradcam": ("pytorch-grad-cam, Jacob Gildenblat", "MIT", "https://github.com/jacobgil/pytorch-grad-cam"),
}
LICENCES = {4: "CC BY 2.0", 7: "no known copyright restrictions"}  # of COCO's records, those that are taken
HEAD = ("picture", "photo", "author or source", "licence", "link")


def detector() -> igos.Adapter:
    weights, cfg, names = (
        DATA / "yolo-fastest" / f for f in ("yolo-fastest-1.1-xl.weights", "yolo-fastest-1.1-xl.cfg", "coco.names")
    )
    return igos.load("darknet", weights, cfg=str(cfg), names=str(names))


def wanted(targets: Sequence[igos.Target], names: Sequence[str]) -> list[igos.Target]:
    """The best target of each name; of a name that comes twice, the best two."""
    found = []
    for name in names:
        found.append(next(t for t in targets if name in t.name and t not in found))
    return found


def photo(made: Sequence[igos.Explanation], side: int) -> np.ndarray:
    """The photo, `side` pixels wide, with the boxes of all."""
    source = made[0].image.source
    zoom = side / source.shape[1]
    drawn = Picture.fromarray(source).resize((side, round(zoom * source.shape[0])), Picture.Resampling.LANCZOS)
    for e in made:
        box = e.box_on_source()
        if box is not None:
            ImageDraw.Draw(drawn).rectangle([float(v) for v in zoom * box], outline=SKY, width=2)
    return np.asarray(drawn)


def panel(made: Sequence[igos.Explanation]) -> np.ndarray:
    """The photo and the maps side by side, each over a line of text (h,WIDTH,3)."""
    side = (WIDTH - len(made) * GAP) // (len(made) + 1)
    boxes = {1: "photo and detection"}.get(len(made), "photo and detections")
    tiles = [captioned(photo(made, side), "photo" if made[0].target.box is None else boxes)]
    for e in made:
        height, width = e.image.source.shape[:2]
        drawn = Picture.fromarray(overlay(e, label=False))
        drawn = drawn.resize((side, round(side * height / width)), Picture.Resampling.LANCZOS)
        tiles.append(captioned(np.asarray(drawn), f"map of {e.target.name.split(',')[0]} {e.target.score:.2f}"))
    gap = np.full((tiles[0].shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([part for tile in tiles for part in (gap, tile)][1:], axis=1)


def credit(photo: str) -> tuple[str, str, str, str]:
    """The name of the photo's file, its author or source, its licence, a link to it."""
    path = DATA / photo
    if path.parent.name == "photos":
        return path.name, *SOURCES[path.name.partition("_")[0]]
    record = json.loads((DATA / "coco" / "instances.json").read_text(encoding="utf-8"))
    (image,) = (i for i in record["images"] if i["file_name"] == path.name)
    return path.name, "COCO, a photographer on Flickr", LICENCES[image["license"]], image["flickr_url"]


def command(file: str, network: str, name: str) -> str:
    """What a user types for that map, with files of one's own."""
    model = {
        "detections": "--model darknet --model_file F.weights --cfg F.cfg --names F.names",
        "classes": "--model squeezenet1_0 --model_file F.pth --names F.txt",
    }
    return f"python -m igos {model[network]} --data {Path(file).name} --target class:{name}"


def gallery(adapters: Mapping[str, Callable[[], igos.Adapter]]) -> str:
    """GALLERY as Markdown: pictures that open, with the command and the figures of each map."""
    tiles = []
    for name, said in GALLERY.items():
        file, network, what = SHOWN[name]
        adapter = adapters[network]()
        image = adapter.read(DATA / file)
        made = igos.explain(adapter, image, wanted(adapter.detect(image), what), metrics=("deletion", "insertion"))
        rows = []
        for e in made:
            deletion, insertion = (f"{s.value:.2f}" for s in e.scores[:2])
            short = e.target.name.split(",")[0]
            rows.append((short, f"{e.target.score:.2f}", deletion, insertion, str(e.network_images), e.status))
            print(f"{name}: {' '.join(rows[-1])}", flush=True)
        head = ("what", "score", "deletion (low)", "insertion (high)", "images", "status")
        commands = "\n".join(command(file, network, n) for n in dict.fromkeys(what))
        picture = f"![{said}](pictures/photo-{name}.jpg)"
        tiles.append(
            f"<details markdown>\n<summary markdown>{picture} {said}</summary>\n\n"
            f"```bash\n{commands}\n```\n\n{table.markdown(head, rows)}\n\n</details>"
        )
    return '<div class="photos" markdown>\n\n' + "\n\n".join(tiles) + "\n\n</div>"


def main(names: Collection[str]) -> None:
    if "--gallery" in names:
        table.place(GALLERY_PAGE, "six", gallery({"classes": cache(squeezenet), "detections": cache(detector)}))
        return
    loaded: dict[str, igos.Adapter] = {}
    for name, (file, network, what) in SHOWN.items():
        if names and name not in names:
            continue
        if network not in loaded:
            loaded[network] = squeezenet() if network == "classes" else detector()
        adapter = loaded[network]
        image = adapter.read(DATA / file)
        made = igos.explain(adapter, image, wanted(adapter.detect(image), what), metrics=())
        Picture.fromarray(panel(made)).save(FOLDER / f"photo-{name}.jpg", quality=QUALITY, optimize=True)
        for e in made:
            print(f"{name}: {e.target.name} {e.target.score:.2f}, {e.status}, {e.network_images} network images")
    rows = [(f"`photo-{name}.jpg`", *credit(file)) for name, (file, *_) in SHOWN.items()]
    table.place(FOLDER / "CREDITS.md", "photos", table.markdown(HEAD, rows))


if __name__ == "__main__":
    main(sys.argv[1:])
