"""EXPORTS: the maps of a run in the forms of other tools, as plain files.

coco        one JSON: per explanation an annotation whose segmentation is the top area (RLE), https://cocodataset.org
png         per explanation a grey PNG of the source picture's size, 255 = most important
fiftyone    a folder that fiftyone.Dataset.from_dir(dataset_type=fiftyone.types.FiftyOneDataset) loads: samples.json,
            metadata.json without a version (plain JSON, no database's), and the PNGs, whose paths are relative, in
            fields/<field>/, https://docs.voxel51.com/user_guide/import_datasets.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask

from igos.base.addresses import is_address
from igos.base.files import taken, unique, whole_folder, write_bytes
from igos.base.inside import Outside, inside
from igos.base.ops import top_area
from igos.data.annotations import category_ids
from igos.data.categories import coco_ids, ids_of
from igos.drawing.files import grey_png
from igos.results.read import read_arrays, read_run
from igos.results.rows import KEEP, NO_MAPS
from igos.types import ConfigError

Rows = Sequence[Mapping[str, Any]]
MAP = "saliency_source"
KEPT = ("score", "method", "opt", "start", "status", "deletion", "insertion")


def coco(run: Path, out: Path, rows: Rows, damage: list[str], annotations: str | None = None) -> tuple[int, str]:
    """One JSON at `out`. Category ids are those of the annotations (a file named here, else the run's), of COCO where
    every class is one of its 80, else the model's class index + 1. Answers how many explanations it holds, and which
    ids. Raises ConfigError where the file named lacks a class.
    """
    ids, which = _category_ids(run, rows, annotations)
    images: dict[str, dict[str, Any]] = {}
    categories: dict[int, str] = {}
    made: list[dict[str, Any]] = []
    for row, map_ in explanations(run, rows, damage):
        size = {"width": map_.shape[1], "height": map_.shape[0]}
        image = images.setdefault(row["image"], {"id": len(images) + 1, "file_name": row["image"], **size})
        name, category = ids.get(row["name"], (row["name"], int(row["label_index"]) + 1))
        categories.setdefault(category, name)
        box = None if row["box"] is None else np.asarray(row["box"], float)
        area = mask.encode(np.asfortranarray(top_area(map_, box).astype(np.uint8)))
        made.append(
            {
                "id": len(made) + 1,
                "image_id": image["id"],
                "category_id": category,
                "segmentation": {"size": [int(n) for n in area["size"]], "counts": area["counts"].decode("ascii")},
                "area": float(mask.area(area)),
                "bbox": [float(v) for v in mask.toBbox(area)],
                "iscrowd": 0,
                "target_box": None if box is None else _xywh(box),
                **{k: row[k] for k in KEPT if row.get(k) is not None},
                "folder": row["folder"],
            }
        )
    info = {
        "description": f"{run.resolve().name}: the most important tenth of each object's box area; category ids {which}"
    }
    named = [{"id": n, "name": name} for n, name in sorted(categories.items())]
    values = {"info": info, "images": list(images.values()), "categories": named, "annotations": made}
    try:
        write_bytes(out, _json(values), new=True)
    except FileExistsError:
        raise taken(out) from None
    return len(made), f"category ids {which}"


def _category_ids(run: Path, rows: Rows, named: str | None) -> tuple[dict[str, tuple[str, int]], str]:
    """Of the run's classes the name and id in a list that holds all of them, and which list that is; {} without one."""
    names = list(dict.fromkeys(row["name"] for row in rows if row["folder"]))
    if named is not None:
        ids = ids_of(names, category_ids(named))
        if ids is None:
            known = category_ids(named)
            lost = next(name for name in names if ids_of([name], known) is None)
            raise ConfigError(f"--annotations {named}: has no category {lost!r} with an id")
        return ids, f"of {named}"
    noted = read_run(run, [])["record"].get("categories")  # whoever asks for the export tells what is damaged
    own = noted if isinstance(noted, dict) and all(isinstance(n, int) for n in noted.values()) else {}
    for known, which in ((own, "of the run's annotations"), (coco_ids(), "of COCO")):
        if (ids := ids_of(names, {str(k): v for k, v in known.items()})) is not None:
            return ids, which
    return {}, "are the model's class index + 1"


def png(run: Path, out: Path, rows: Rows, damage: list[str]) -> tuple[int, str]:
    """A grey PNG for each explanation in the folder `out`, at the explanation's own place. Answers their number."""
    with whole_folder(out) as folder:
        count = 0
        for row, map_ in explanations(run, rows, damage):
            write_bytes(inside(folder, f"{row['folder']}.png"), grey_png(torch.from_numpy(map_)))
            count += 1
    return count, ""


def fiftyone(run: Path, out: Path, rows: Rows, damage: list[str]) -> tuple[int, str]:
    """The folder `out`: per picture a sample with `detections` (`classifications`, of what has no box), each of which
    names the field of its heatmap. Answers their number, and how many of the pictures are no files.
    """
    samples: dict[str, dict[str, Any]] = {}
    count = 0
    with whole_folder(out) as folder:
        for row, map_ in explanations(run, rows, damage):
            path = row["image"] if is_address(row["image"]) else str(Path(row["image"]).resolve())
            sample = samples.setdefault(path, {"filepath": path, "tags": []})
            box, (height, width) = row["box"], map_.shape
            field = unique(_field(row), {*sample})
            made = {"label": row["name"], "confidence": row["score"], "heatmap": field, "folder": row["folder"]}
            made |= {k: row[k] for k in KEPT if k != "score" and row.get(k) is not None}
            if box is None:
                _labels(sample, "Classification").append({"_cls": "Classification", **made})
            else:
                inside_it = [v / n for v, n in zip(_xywh(np.asarray(box)), (width, height) * 2, strict=True)]
                _labels(sample, "Detection").append({"_cls": "Detection", "bounding_box": inside_it, **made})
            name = f"fields/{field}/{row['folder']}.png"
            write_bytes(inside(folder, name), grey_png(torch.from_numpy(map_)))
            sample[field] = {"_cls": "Heatmap", "map_path": name, "range": [0, 255]}
            count += 1
        info = {"run": run.resolve().name, "classes": sorted({row["name"] for row in rows if row["folder"]})}
        write_bytes(folder / "metadata.json", _json({"media_type": "image", "info": info}))
        write_bytes(folder / "samples.json", _json({"samples": list(samples.values())}))
    far = sum(map(is_address, samples))
    return count, f"{far} pictures are no files of this machine, and FiftyOne cannot show them" if far else ""


def _labels(sample: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """The sample's list of labels of that kind."""
    plural = f"{kind}s"
    key = plural.lower()
    labels: list[dict[str, Any]] = sample.setdefault(key, {"_cls": plural, key: []})[key]
    return labels


EXPORTS: dict[str, Callable[..., tuple[int, str]]] = {"coco": coco, "png": png, "fiftyone": fiftyone}


def explanations(run: Path, rows: Rows, damage: list[str]) -> Iterator[tuple[Mapping[str, Any], np.ndarray]]:
    """Each explanation's row and its map on source pixels (H0,W0); damage takes why one is left out. Raises ConfigError
    where there is none.
    """
    made, before, explained = 0, len(damage), [row for row in rows if row["folder"]]
    if explained and all(row.get(KEEP) for row in explained):
        raise ConfigError(f"{run}: {NO_MAPS}")
    for row in explained:
        try:
            map_ = read_arrays(run, row, MAP.__eq__, [MAP])[MAP]
        except Outside:
            raise
        except ConfigError as error:
            damage.append(str(error))
        else:
            made += 1
            yield row, map_
    if not made:
        raise ConfigError(damage[before] if len(damage) > before else f"{run}: holds no explanation")


def _field(row: Mapping[str, Any]) -> str:
    """A name that FiftyOne takes for a field: letters, digits and underscores, a letter first."""
    words = [row["name"], row["method"], row.get("opt"), None if row["start"] is None else f"start{row['start']}"]
    text = "_".join(str(w) for w in words if w).lower()
    return "igos_" + "".join(c if c.isascii() and c.isalnum() else "_" for c in text)


def _xywh(box: np.ndarray) -> list[float]:
    return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]


def _json(values: Any) -> bytes:
    return (json.dumps(values, indent=1, allow_nan=False) + "\n").encode()
