"""What lies beside a picture in a tar shard, as WebDataset has it: the files of its name with other endings.

    dog.jpg  dog.cls   7                                the number of the picture's class, as a classifier counts them
             dog.json  {"annotations": [{"bbox": [x, y, width, height], "category_id": 18, "segmentation": ...}, ...]}

The annotations are COCO's, and so are the ids, unless the file has `categories` of its own. Other .json files are
ignored.
https://github.com/webdataset/webdataset
"""

from __future__ import annotations

import re
from typing import Any

from igos.base.addresses import INNER, members, tried
from igos.base.reading import MOST_TEXT, read_text
from igos.base.untrusted import load_json
from igos.data.categories import coco_ids
from igos.data.coco import Annotations
from igos.data.truth import Known
from igos.types import ImageError

OTHER = 'in shards, .json files without COCO\'s {"annotations": [...]} are ignored'
NUMBER = re.compile(r"[0-9]{1,9}")


def beside(picture: str) -> list[str]:
    """The names of the .json and .cls files beside a picture at an address in a tar shard; [] for another address.

    Raises ImageError where the shard cannot be read.
    """
    inner = INNER.fullmatch(picture)
    if inner is None or not inner[1].lower().endswith(".tar"):
        return []
    folder, slash, name = inner[2].rpartition("/")
    keys = dict.fromkeys((name.rpartition(".")[0], name.split(".")[0]))  # WebDataset's ends at the first dot
    try:
        held = tried(inner[1], lambda: members(inner[1]))
    except OSError as error:
        raise ImageError(f"{picture}: what lies beside it cannot be read ({error.strerror or error})") from None
    found = []
    for ending in (".json", ".cls"):
        names = (f"{folder}{slash}{key}{ending}" for key in keys if key)
        found += [next((n for n in names if n in held), "")]
    return [n for n in found if n]


def sample(picture: str, size: tuple[int, int] | None = None) -> Known:
    """What is known of a picture (height, width: size) by the files beside it in its shard. Raises ImageError where
    these cannot be read, ConfigError where they describe a picture of another size.
    """
    known = Known([], [])
    for name in beside(picture):
        place = f"{picture.rpartition('!/')[0]}!/{name}"
        try:
            text = read_text(place, MOST_TEXT, "utf-8-sig").strip()
        except OSError as error:
            raise ImageError(f"{picture}: {name} beside it cannot be read ({error.strerror or error})") from None
        except UnicodeDecodeError:
            text = ""
        if name.endswith(".json"):
            objects = _objects(place, picture, text, size)
            known = known._replace(**{k: getattr(objects, k) for k in ("objects", "crowds", "warnings", "told")})
        elif NUMBER.fullmatch(text):
            known = known._replace(classes=[int(text)])
        else:
            known.warnings.append(f"{place}: {text[:20]!r} is no class number, and is left out".replace(";", ","))
    return known


def _objects(place: str, picture: str, text: str, size: tuple[int, int] | None) -> Known:
    """The objects that the text of a picture's .json tells of."""
    try:
        data: Any = load_json(text)
    except ValueError:
        data = None
    told = data.get("annotations") if isinstance(data, dict) else None
    if not isinstance(told, list):
        return Known([], [OTHER])
    image = {"id": 1, "file_name": picture.rpartition("/")[2], "height": data.get("height"), "width": data.get("width")}
    categories = data.get("categories")
    if categories is None:
        categories = [{"id": i, "name": name} for name, i in coco_ids().items()]
    annotations = [{**(a if isinstance(a, dict) else {}), "image_id": 1} for a in told]
    read = Annotations(place, {"images": [image], "categories": categories, "annotations": annotations})
    known = read.of(picture, size)
    return known._replace(warnings=[*read.warnings, *known.warnings])
