"""The folders of runs as what one page (page.py) shows: explanations, their pictures, figures and settings."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import torch
import yaml

from igos.base.addresses import is_remote
from igos.base.boxes import best_match
from igos.base.geometry import Geometry
from igos.base.hashing import digest
from igos.base.inside import Outside, inside
from igos.base.names import EMPTY
from igos.base.ops import to_grid
from igos.base.reading import MOST_FILE
from igos.base.settings import colormap_of
from igos.drawing import figures
from igos.metrics import METRICS, build_metrics, diversity
from igos.metrics.curves import Curve
from igos.results import page
from igos.results.arrays import geometry_of
from igos.results.expected import compared
from igos.results.manifest import FILE as MANIFEST
from igos.results.manifest import Manifest, Way
from igos.results.packed import frame, number, packed, short, thinned
from igos.results.pairs import pairs, within
from igos.results.playing import playable, replaced, steps
from igos.results.read import folder_of, read_arrays, read_facts, read_run
from igos.results.rows import KEEP
from igos.types import ConfigError, ImageError

Reader = Callable[[str], np.ndarray]  # a picture's path -> (H,W,3) uint8 RGB, upright. Raises ImageError
SAME_BOX = 0.9  # the IoU above which boxes of one class are one object
MOST = 5000  # rows of a run that are shown
FINEST = 96  # cells a side: finer maps are shown by their means, and no step's picture is redrawn from them
FACTS = (
    "model", "preset", "reason", "verdict", "sentence", "opt", "form", "part", "start", "warning", "error", "folder",
)  # fmt: skip
NOT_FIGURES = {"label_index", "seed", "start", "crc32", "backward_images"}


def album(
    folders: Sequence[Path], read: Reader, ways: Sequence[Mapping[str, Way] | None] = (), fetch: bool = False
) -> Album:
    """What the page of these runs shows. ways: of each run, as results/expected.py takes them; fetch: whether pictures
    in a store are fetched, which is for the run's own command. Raises ConfigError for a
    folder that is no run's, or leads out of itself.
    """
    made = Album(read, fetch)
    for n, folder in enumerate(folders):
        made.add(folder, ways[n] if ways else None)
    return made


def write(path: Path, made: Album, title: str, within: Path | None = None, links: bool = True) -> None:
    """The page at `path`; within: as base/files.py takes it; links: to the runs' folders, which stay where they are."""
    for run in made.runs:
        at = run.pop("at", None)
        run["place"] = way(path.parent, Path(at)) if at and links else None
    if made.left_out:
        title += f" (the first {len(made.items)} of {len(made.items) + made.left_out} rows)"
    page.write(path, made.data(title), made.photos, within)


class Album:
    """The rows of runs, each picture once; photos are the pictures' files, None where one cannot be shown. damage: what
    is damaged or missing in the folders, a sentence each.
    """

    def __init__(self, read: Reader, fetch: bool = False) -> None:
        self.read, self.fetch = read, fetch
        self.photos: list[bytes | None] = []
        self.pictures: list[dict[str, Any]] = []
        self._picture: dict[str, int] = {}
        self._hashes: dict[str, set[str]] = {}  # of the pictures that the runs' manifests hold, by path
        self._pixels: tuple[int, np.ndarray | None] = -1, None  # of the last picture, which the next row mostly shares
        self.views: list[dict[str, Any]] = []
        self._view: dict[tuple[Any, ...], int] = {}
        self.runs: list[dict[str, Any]] = []
        self.items: list[dict[str, Any]] = []
        self._objects: dict[tuple[Any, ...], list[tuple[np.ndarray | None, int]]] = {}
        self._count = 0
        self._rows: list[Mapping[str, Any]] = []
        self._better: dict[str, str] = {}
        self._plotted = {name for name, metric in METRICS.items() if metric.plot}
        self.left_out = 0
        self.damage: list[str] = []

    def add(self, folder: Path, ways: Mapping[str, Way] | None = None) -> None:
        """The first MOST explanations of a run, and what it says of pictures without any."""
        found = compared(folder, self.damage, ways)
        rows = list(islice(found, MOST))
        self.left_out += sum(1 for _ in found)
        number, play = self.begin(folder)
        told = dict[str, dict[str, str]]()
        for row in rows:
            item = self.add_row(folder, row, number, play)
            if row.get("folder"):
                above = row["folder"].rpartition("/")[0]
                if row.get("start") is not None and above not in told:
                    told[above] = together(read_facts(folder, f"{above}/{diversity.FILE}", self.damage))
                item["facts"] |= told.get(above, {})

    def begin(self, folder: Path) -> tuple[int, list[Curve]]:
        """A run's settings: its number, and the curves whose steps a page can redraw."""
        run = read_run(folder, self.damage)
        if not self.runs:
            figures.use_colours(colormap_of(run.get("set") or ()))
        play = self.judged(run.get("metrics") or (), run.get("set") or ())
        record = run.pop("record")
        facts = {"model": run.get("model"), "command": record.get("command"), "time": record.get("time")}
        record_facts = {k: None if v is None else str(v) for k, v in facts.items()}
        settings = yaml.safe_dump({**run, "record": record}, sort_keys=False, allow_unicode=True)
        number = len(self.runs)
        at = {"at": str(folder.resolve()), "place": None}
        self.runs.append({"name": folder.resolve().name, "settings": settings, **record_facts, **at})
        for path, sha256 in pictures_of(folder, run).items():
            self.know(path, sha256)
        return number, play

    def judged(self, names: Sequence[str], settings: Sequence[str]) -> list[Curve]:
        """Rows have these metrics' figures; the curves among them whose steps a page can redraw."""
        metrics, _ = build_metrics([m for m in names if m != "none"], settings)
        self._better |= {m.name: m.better for m in metrics}
        self._plotted |= {m.name for m in metrics if m.plot}
        return playable(metrics)

    def know(self, path: str, sha256: str) -> None:
        """A picture that the run holds."""
        self._hashes.setdefault(path, set()).add(sha256)

    def add_row(self, folder: Path, row: Mapping[str, Any], number: int, play: Sequence[Curve]) -> dict[str, Any]:
        """One row of the run of that number, as an item of the page."""
        item = self._item(row, number)
        if row.get(KEEP):
            item["facts"]["map"] = "not kept (--keep rows)"
        elif row.get("folder"):
            folder_of(folder, row)
            try:
                item |= self._drawn(folder, row, play)
            except Outside:
                raise
            except (ConfigError, ImageError) as error:
                item["facts"]["error"] = str(error)
                self.damage += [str(error)]
        self.items.append(item)
        self._rows.append(row)
        return item

    def data(self, title: str) -> dict[str, Any]:
        """Plain data for the page's script."""
        columns = self._columns(self._rows)
        for item, row in zip(self.items, self._rows, strict=True):
            item["values"] = [number(row.get(str(c["key"]))) for c in columns]
        return {
            "title": title,
            **looks(),
            "columns": columns,
            "runs": [{k: v for k, v in run.items() if k != "at"} for run in self.runs],
            "pairs": pairs(self._sources(), self._better, self._rows),
            "pictures": self.pictures,
            "views": self.views,
            "items": self.items,
        }

    def book(self, item: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
        """`data` of one item alone."""
        columns = self._columns([row])
        one = {**item, "picture": 0, "values": [number(row.get(str(c["key"]))) for c in columns]}
        views = [] if item.get("view") is None else [self.views[item["view"]]]
        one |= {"view": 0} if views else {}
        pictures = [dict(self.pictures[item["picture"]])]
        return {**looks(), "columns": columns, "runs": [], "pictures": pictures, "views": views, "items": [one]}

    def _columns(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [
            {"key": k, "better": self._better.get(k, ""), "main": k == "score" or k in self._better, **_means(k)}
            for k in dict.fromkeys(k for row in rows for k in row)
            if k not in NOT_FIGURES and any(number(row.get(k)) is not None for row in rows)
        ]

    def _sources(self) -> list[tuple[str, int, int]]:
        """Of each item what made it, its object and its picture."""
        several = len(self.runs) > 1
        names = (f"{self.runs[i['run']]['name']}: {i['method']}" if several else i["method"] for i in self.items)
        return [(name, i["object"], i["picture"]) for name, i in zip(names, self.items, strict=True)]

    def _item(self, row: Mapping[str, Any], run: int) -> dict[str, Any]:
        """What a row says by itself."""
        facts = {k: str(row[k]) for k in (*FACTS, *(k for k in row if k.endswith("_reason"))) if row.get(k) is not None}
        method = " ".join(str(row[k]) for k in ("method", "opt") if row.get(k))
        return {
            "run": run,
            "picture": self._known(row["image"]),
            "name": row.get("name") or "",
            "method": method,
            "start": row.get("start"),
            "status": row.get("status") or "",
            "object": self._object(row),
            "facts": facts,
        }

    def _known(self, path: str) -> int:
        if path not in self._picture:
            self._picture[path] = len(self.pictures)
            self.pictures.append({"path": path, "name": Path(path).name})
            self.photos.append(None)
        return self._picture[path]

    def _object(self, row: Mapping[str, Any]) -> int:
        """The number of the object that a row is about, the same in every run."""
        box = None if row.get("box") is None else np.asarray(row["box"], float)
        alike = self._objects.setdefault((row["image"], row.get("name"), row.get("part"), box is None), [])
        if box is None and alike:
            return alike[0][1]
        if box is not None and (same := best_match(box, [b for b, _ in alike if b is not None], SAME_BOX)) is not None:
            return alike[same][1]
        self._count += 1
        alike.append((box, self._count))
        return self._count

    def _drawn(self, folder: Path, row: Mapping[str, Any], play: Sequence[Curve]) -> dict[str, Any]:
        """What the page draws: the map, the step at which each cell changes, box and curves."""
        needed = ("saliency", "geometry")
        arrays = read_arrays(folder, row, lambda n: n in (*needed, "detail") or n.endswith("_curve"), needed)
        map_, geometry = arrays["saliency"], geometry_of(arrays["geometry"])
        number = self._picture[row["image"]]
        height, width = geometry.source
        self.pictures[number].setdefault("size", [width, height])
        of_metrics = ((name.removesuffix("_curve"), a) for name, a in arrays.items() if name.endswith("_curve"))
        curves = {name: thinned(a) for name, a in of_metrics if name in self._plotted}
        saliency, fits = torch.from_numpy(map_), max(map_.shape) <= min([FINEST, *(m.resolution for m in play)])
        heat = figures.shown(torch.from_numpy(arrays.get("detail", map_).astype(np.float32)))
        if max(heat.shape) > FINEST:
            heat = to_grid(heat, (min(heat.shape[0], FINEST), min(heat.shape[1], FINEST)))
        played = [m for m in play if fits and len(arrays.get(f"{m.name}_curve", [()])[0]) == m.steps + 1]
        layers = [(heat * 255).round().to(torch.uint8).numpy()]
        layers += [steps(saliency, played[0])] if played else []
        box = row.get("box")
        return {
            "view": self._seen(row["image"], geometry, played[0].substrate if played else "blur"),
            "grid": list(heat.shape),
            "cells_grid": list(map_.shape),
            "cells": packed(layers),
            "full": round(figures.full(heat), 3),
            "inside": None if box is None else within(heat.numpy(), geometry, box),
            "box": None if box is None else [short(v / n) for v, n in zip(box, (width, height) * 2, strict=True)],
            "curves": curves,
            "play": [m.name for m in played],
        }

    def _seen(self, path: str, geometry: Geometry, substrate: str) -> int:
        """The picture as one network sees it: where the map's grid lies on it, and what parts are replaced by."""
        key = (path, geometry, substrate)
        if key not in self._view:
            self._view[key] = len(self.views)
            pixels = self._photo(path, geometry.source)
            under = None if pixels is None else page.photo(replaced(pixels, geometry, substrate), page.UNDER)
            self.views.append({"frame": frame(geometry), "under": under and page.inline(under)})
        return self._view[key]

    def _photo(self, path: str, size: tuple[int, int]) -> np.ndarray | None:
        """The picture's pixels, encoded when it is first met; None, with the reason, where it cannot be shown: a page
        may be handed on, so it holds no picture but the run's own.
        """
        number = self._picture[path]
        if self._pixels[0] != number:
            try:
                self._check(path)
                pixels: np.ndarray | None = self.read(path)
            except ImageError as error:
                pixels, self.pictures[number]["lost"] = None, str(error)
            if pixels is not None and pixels.shape[:2] != size:
                pixels, self.pictures[number]["lost"] = None, f"{path}: has changed since the run"
            if pixels is not None and self.photos[number] is None:
                self.photos[number] = page.photo(pixels, page.PHOTO)
            self._pixels = number, pixels
        return self._pixels[1]

    def _check(self, path: str) -> None:
        """Raises ImageError for a picture whose hash no run's manifest holds."""
        checked_picture(path, self._hashes, self.fetch)


def looks() -> dict[str, Any]:
    """What every map is drawn with: the colour table, and the statuses of maps that show nothing."""
    table = figures.colour_table().round().astype(np.uint8)
    return {"colours": base64.b64encode(table.tobytes()).decode(), "empty": EMPTY}


def way(start: Path, folder: Path) -> str | None:
    """The relative address of a folder from another one, or None where there is none."""
    try:
        found = Path(os.path.relpath(folder, start.resolve()))
    except ValueError:  # another drive
        return None
    return "./" + quote(found.as_posix()) if found.parts else "."


def checked_picture(path: str, hashes: Mapping[str, Collection[str]], fetch: bool = False) -> None:
    """Raises ImageError for a picture whose hash no run's manifest holds; hashes: those that they do, by path. fetch:
    whether one in a store may be asked for: whoever made the folder does not send requests from here.
    """
    known = hashes.get(path)
    if not known:
        raise ImageError(f"{path}: not shown; no manifest of the run holds the hash of this picture")
    if is_remote(path) and not fetch:
        raise ImageError(f"{path}: not fetched; igos --resume writes the page with the pictures of addresses")
    try:
        found = digest(path, MOST_FILE)
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: {(getattr(error, 'strerror', None) or str(error)).lower()}") from None
    if found not in known:
        raise ImageError(f"{path}: has changed since the run")


def pictures_of(folder: Path, run: Mapping[str, Any]) -> dict[str, str]:
    """The SHA-256 of pictures by path, of the run's manifest or of that of the run whose maps it judged."""
    for place in filter(None, (folder, run.get("results"))):
        if inside(Path(str(place)), MANIFEST).is_file():
            return Manifest.as_found(Path(str(place))).hashes()
    return {}


def together(facts: Mapping[str, Any]) -> dict[str, str]:
    """What diversity.json tells of all starts of an object."""
    alike, emblems = number(facts.get("mean_correlation")), number(facts.get("evidence"))
    covered = number(facts.get("evidence_covered"))
    made = {} if alike is None else {"correlation between starts": f"{alike:.2f}"}
    return made | ({"emblems on which a start peaks": f"{covered:g} of {emblems:g}"} if emblems and covered else {})


def _means(name: str) -> dict[str, str]:
    """What a figure means in one line, where that is said."""
    means = getattr(METRICS.get(name), "means", "")
    return {"means": means} if means else {}
