"""Runs made up for the tests of pages and exports: photos, maps with a known peak, rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch

from igos.base.files import npz_bytes, write_bytes
from igos.base.geometry import Geometry
from igos.base.hashing import digest
from igos.base.names import ARRAYS_FILE
from igos.base.seals import SEAL, sealed
from igos.results.folder import RunFolder
from igos.results.manifest import Manifest
from igos.results.rows import Row
from igos.types import Explanation, Image, Score, Target

STEPS = 10
RUN = {"model": "toy", "metrics": ["deletion", "insertion", "pointing"], "set": [f"deletion.steps={STEPS}"]}
RUN["set"] = [*RUN["set"], f"insertion.steps={STEPS}"]


def photo(path: Path, height: int = 120, width: int = 160, seed: int = 0) -> np.ndarray:
    """A smooth picture of few colours, written to path."""
    few = np.random.default_rng(seed).integers(30, 226, (4, 5, 3), dtype=np.uint8)
    made = PIL.Image.fromarray(few).resize((width, height), PIL.Image.Resampling.BICUBIC)
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save(path)
    return np.array(made)


def letterbox(height: int, width: int, side: int = 64) -> Geometry:
    """Fitted into side x side, the rest padded."""
    scale = side / max(height, width)
    offset = ((side - height * scale) / 2, (side - width * scale) / 2)
    return Geometry((height, width), (side, side), (scale, scale), offset)


def explanation(path: Path, pixels: np.ndarray, n: int = 0, **fields: Any) -> Explanation:
    """A hill on 14 x 14 cells whose place, score and figures follow from n."""
    geometry = letterbox(*pixels.shape[:2])
    y, x = torch.linspace(0, 1, 14)[:, None], torch.linspace(0, 1, 14)
    saliency = torch.exp(-((y - 0.3 - 0.04 * (n % 10)) ** 2 + (x - 0.6) ** 2) / 0.03)
    box = geometry.to_network(torch.tensor([20.0, 20.0, 120.0, 100.0]))
    share, low = np.linspace(0, 1, STEPS + 1), 0.01 * (n % 50)
    made = Explanation(
        saliency=saliency,
        target=Target(n % 3, ("cat", "dog", "emu")[n % 3], 0.99 - 0.01 * (n % 50), box),
        image=Image(torch.zeros(3, *geometry.network), geometry, pixels, str(path)),
        method="iGOS++",
        opt="NAG",
        scores=(
            Score("deletion", 0.1 + low, "lower", np.stack([share, (1 - share) ** 3]), plot="deletion"),
            Score("insertion", 0.9 - low, "higher", np.stack([share, share**0.5]), plot="insertion"),
            Score("pointing", 1.0, "higher"),
        ),
    )
    return replace(made, **fields)


def made_run(folder: Path, explanations: list[Explanation], run: dict[str, Any] | None = None) -> Path:
    """A run's folder with these explanations."""
    made = RunFolder(folder)
    made.write_run(run or RUN)
    for n, e in enumerate(explanations):
        write_bytes(made.path / f"picture/{n}" / ARRAYS_FILE, npz_bytes(e.as_arrays()))
        made.add(Row.of(e, f"picture/{n}").as_dict())
    named = {Path(str(e.image.path)).stem: str(e.image.path) for e in explanations}
    manifest = Manifest(made.path, lambda: [(path, name) for name, path in named.items()])
    for name, path in named.items():
        if Path(path).is_file():
            manifest.add(name, {"sha256": digest(path), "targets": []})
    made.finish()
    made.close()
    return folder


def rewrite(folder: Path, change: Callable[[str], str]) -> None:
    """The rows' text changed by someone who seals the lines again."""
    path = folder / "results.jsonl"
    rows = [json.loads(line) for line in change(path.read_text()).splitlines()]
    path.write_text("".join(json.dumps(sealed(_bare(row))) + "\n" for row in rows))


def _bare(row: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k != SEAL}


def toy_run(folder: Path, count: int = 6, **fields: Any) -> Path:
    """A run of `count` explanations of two pictures in folder/photos."""
    paths = [folder.parent / "photos" / f"photo-{i}.png" for i in range(2)]
    photos = [photo(p, seed=i) for i, p in enumerate(paths)]
    return made_run(folder, [explanation(paths[n % 2], photos[n % 2], n, **fields) for n in range(count)])
