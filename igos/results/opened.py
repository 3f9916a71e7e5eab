"""A run's folder, open to read in Python: its rows one after the other, and of each its arrays and pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from igos.base.errors import ConfigError
from igos.base.inside import inside
from igos.base.reading import read_bytes
from igos.base.terminal import warn
from igos.data.places import Places
from igos.results.arrays import Wanted, every
from igos.results.manifest import Manifest
from igos.results.read import each_row, folder_of, read_arrays, read_run
from igos.results.rows import FILES, KEEP

Row = Mapping[str, Any]
INNER = (FILES, KEEP, "seal", "shard", "shard_index")  # of a row, what only the folder has a use for


class SavedRun:
    """The run in a folder, to read; nothing in it is changed. settings: its run.yaml.

    Iterating reads the rows one after the other, those of failures too: a big run need not fit the memory. What is
    damaged in the folder is left out with a Python warning.
    """

    def __init__(self, folder: str | Path) -> None:
        """Raises ConfigError for what is no run's folder."""
        self.folder = Path(folder)
        damage: list[str] = []
        self.settings = read_run(self.folder, damage)
        _warn(damage)
        next(iter(self), None)

    def __repr__(self) -> str:
        method = self.settings.get("method") or ", ".join(self.settings.get("methods") or ())
        return f"<run of {method} on {self.settings.get('model')} in {self.folder}>"

    def __iter__(self) -> Iterator[dict[str, Any]]:
        damage: list[str] = []
        try:
            yield from each_row(self.folder, damage)
        finally:
            _warn(damage)

    @property
    def pictures(self) -> dict[str, str]:
        """The run's pictures: the path of each, by its name in the folder."""
        return dict(Manifest.as_found(self.folder).due)

    def arrays(self, row: Row, *names: str) -> dict[str, np.ndarray]:
        """The arrays of a row's explanation, or those named: saliency, detail, saliency_source, geometry, masks,
        <metric>_curve ... (igos/results/arrays.py). Raises ConfigError for a row without explanation, and where they
        are missing or damaged.
        """
        if not row.get("folder"):
            raise ConfigError(f"{self.folder}: {row.get('image')} has no explanation ({row.get('error')})")
        wanted: Wanted = (lambda name: name in names) if names else every
        return read_arrays(self.folder, row, wanted, names)

    def picture(self, row: Row, kind: str = "overlay") -> Any:
        """A picture that the run drew of a row's explanation, as PIL's: overlay, heatmap, curves, attribution. Raises
        ConfigError where there is none.
        """
        from igos.drawing.files import read

        place = folder_of(self.folder, row) if row.get("folder") else self.folder
        file = inside(self.folder, f"{place.relative_to(self.folder)}/{kind}.png")
        try:
            return read(read_bytes(file))
        except OSError as error:
            raise ConfigError(f"{file}: no such picture ({error.strerror or error})") from None

    def to_pandas(self) -> Any:
        """A pandas.DataFrame with a row for each of the run's. Raises ConfigError without pandas."""
        try:
            import pandas
        except ImportError:
            raise ConfigError("to_pandas needs pandas: pip install pandas") from None
        rows = [{k: v for k, v in row.items() if k not in INNER} for row in self]
        return pandas.DataFrame(rows)

    def detections(self, image: str | Path) -> Any:
        """The explained objects of a picture as supervision.Detections, each once: xyxy in source pixels, confidence,
        class_id, and in data class_name and the folder of its (first) explanation.

        image: its path, or the end of it. Raises ConfigError for one that the run has not, or whose objects have no
        boxes, and without supervision.
        """
        try:
            import supervision
        except ImportError:
            raise ConfigError("detections needs supervision: pip install supervision") from None
        rows = [row for row in self if row["folder"]]
        places = Places([(path, path) for path in dict.fromkeys(row["image"] for row in rows)], True, lambda *_: [])
        try:
            found = places.find(image)
        except ValueError as error:
            raise ConfigError(f"{self.folder}: {error}") from None
        if not found:
            raise ConfigError(f"{self.folder}: explains nothing in {image}; it has {places.example}")
        objects: dict[tuple[Any, ...], Row] = {}
        for row in rows:
            if row["image"] == found[0]:
                objects.setdefault((row["label_index"], row["part"], *(row["box"] or ())), row)
        own = list(objects.values())
        if any(row["box"] is None for row in own):
            raise ConfigError(f"{self.folder}: what is explained in {image} is a class, which has no box")
        return supervision.Detections(
            xyxy=np.array([row["box"] for row in own], np.float32).reshape(-1, 4),
            confidence=np.array([row["score"] for row in own], np.float32),
            class_id=np.array([row["label_index"] for row in own], int),
            data={
                "class_name": np.array([row["name"] for row in own]),
                "folder": np.array([row["folder"] for row in own]),
            },
        )


def open_run(folder: str | Path) -> SavedRun:
    """The run in a folder, of the command or of Explanations.save, in either layout. Raises ConfigError.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp() + "/run"
    >>> igos.explain("emblem-m-rcnn", "samples/scene-04.png", "star", method="odam", metrics="none").save(folder)
    >>> run = igos.open_run(folder)
    >>> [(row["name"], run.arrays(row)["saliency"].ndim) for row in run]
    [('star', 2), ('star', 2)]
    """
    return SavedRun(folder)


def _warn(damage: Iterable[str]) -> None:
    for text in dict.fromkeys(damage):
        warn(text, 3)
