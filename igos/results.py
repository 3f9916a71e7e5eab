"""The only reader and writer of a run's folder.

    run.yaml        the run as a preset: --config run.yaml repeats it
    results.jsonl   a row per explanation, written as soon as it is known; results.csv, the same at the end
    <folder>/       per explanation: explanation.npz (write_arrays) and its pictures (igos.report)

`igos evaluate` adds metrics.csv, metrics.json and the mean curves; its folder can be opened again to go on with it.

Files are written under a temporary name and renamed; rows are appended whole, and a torn last line is cut off.
"""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from igos.files import write_bytes
from igos.metrics import METRICS
from igos.rows import check_arrays, checked
from igos.types import ConfigError, Explanation, Image, Score, Target
from igos.untrusted import load_json, load_npz, load_yaml

RUN_FILES = ("run.yaml", "results.jsonl", "results.csv")
ROW_KEYS = [
    "image",
    "label",
    "name",
    "label_index",
    "part",
    "score",
    "score_original",
    "score_blurred",
    "box",
    "method",
    "opt",
    "form",
    "start",
    "deletion",
    "insertion",
    "deletion_normalised",
    "insertion_normalised",
    "pointing",
    "evidence_share",
    "evidence_lift",
    "evidence_pointing",
    "tie_fraction",
    "status",
    "error",
    "warning",
    "seconds",
    "network_images",
    "backward_images",
    "seed",
    "folder",
]
OWN_ARRAYS = {"saliency", "saliency_source", "geometry", "attribution", "masks", "box"}  # beside <metric>_curve
KEPT = (
    "method", "opt", "form", "start", "status", "seconds", "network_images", "backward_images", "seed",
    "score_original", "score_blurred",
)  # fmt: skip


class RunFolder:
    """One run's folder, open for writing. Raises ConfigError if it cannot be written or holds another run.

    resume: settings as for write_run; a folder that holds a run of just these is gone on with, its rows are kept.
    """

    def __init__(self, path: str | Path, resume: Mapping[str, Any] | None = None) -> None:
        self.path = Path(path)
        self.rows: list[dict[str, Any]] = []
        self._made: list[Path] = []
        if resume is not None and (self.path / "run.yaml").is_file():
            self._reopen(resume)
            return
        try:
            self._made = [p for p in (self.path, *self.path.parents) if not p.exists()]
            if any((self.path / name).exists() for name in RUN_FILES):
                raise ConfigError(f"--output {self.path}: holds the results of another run; choose a new folder")
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / "results.jsonl").open("x").close()
        except FileExistsError:
            raise ConfigError(f"--output {self.path}: cannot be written (another run or a file is there)") from None
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f"--output {self.path}: this folder cannot be written ({reason})") from None

    def _reopen(self, values: Mapping[str, Any]) -> None:
        there, now = read_run(self.path), yaml.safe_load(_yaml(values))
        keys = [k for k in {**there, **now} if k != "record" and there.get(k) != now.get(k)]
        if keys:
            told = "; ".join(f"{k}: {there.get(k)} there, {now.get(k)} now" for k in keys)
            raise ConfigError(f"--output {self.path}: holds a run with other settings ({told}); choose a new folder")
        self.rows = read_rows(self.path)
        lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in self.rows)
        write_bytes(self.path / "results.jsonl", lines.encode())  # without a torn last line

    def write_run(self, values: Mapping[str, Any]) -> None:
        write_bytes(self.path / "run.yaml", _yaml(values).encode())

    def write_json(self, name: str, values: Any) -> None:
        write_bytes(self.path / name, (json.dumps(values, indent=1) + "\n").encode())

    def add(self, row: Mapping[str, Any]) -> None:
        """Append one row to results.jsonl; NaN and inf become null."""
        full = {key: _plain(row.get(key)) for key in (*ROW_KEYS, *(k for k in row if k not in ROW_KEYS))}
        line = json.dumps(full, allow_nan=False) + "\n"
        with open(self.path / "results.jsonl", "a", encoding="utf-8") as file:
            file.write(line)
        self.rows.append(full)

    def remove(self, name: str) -> None:
        """Take back an explanation's folder that got no row, and the folders that it leaves empty."""
        shutil.rmtree(self.path / name, ignore_errors=True)
        for parent in list((self.path / name).parents)[: len(Path(name).parts) - 1]:
            if not any(parent.iterdir()):
                parent.rmdir()

    def write_csv(self, name: str, rows: Sequence[Mapping[str, Any]], keys: Sequence[str] = ()) -> None:
        """A table with a column for every key of some row; `keys` where there is no row."""
        text = io.StringIO()
        columns = list(dict.fromkeys(k for row in rows for k in row)) or list(keys)
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_bytes(self.path / name, text.getvalue().encode(errors="backslashreplace"))

    def finish(self) -> None:
        """Write results.csv from the rows so far; boxes as four numbers between spaces."""
        boxes = (" ".join(f"{v:g}" for v in row.get("box") or ()) for row in self.rows)
        rows = [{**row, "box": box} for row, box in zip(self.rows, boxes, strict=True)]
        self.write_csv("results.csv", rows, ROW_KEYS)

    def discard(self) -> None:
        """Take back an empty run: the files written so far and the folders made for it."""
        for name in RUN_FILES:
            (self.path / name).unlink(missing_ok=True)
        for folder in self._made:
            try:
                folder.rmdir()
            except OSError:
                return


def write_arrays(folder: str | Path, e: Explanation) -> None:
    """explanation.npz: saliency (h,w), saliency_source (H0,W0), geometry (4,2) (its source, network, scale, offset),
    and where known attribution (C,H,W), masks (n,h,w), box (4,) xyxy in source pixels, <metric>_curve (2,n),
    trace_<name> (T,), further arrays.
    """
    arrays: dict[str, np.ndarray] = {
        "saliency": e.saliency.float().cpu().numpy(),
        "saliency_source": e.on_source().astype(np.float32),
        "geometry": np.array([e.geometry.source, e.geometry.network, e.geometry.scale, e.geometry.offset], np.float64),
        **{name: np.asarray(a) for name, a in e.arrays.items()},
        **{f"trace_{name}": np.asarray(a) for name, a in e.trace.items()},
        **{f"{s.name}_curve": s.curve for s in e.scores if s.curve is not None},
    }
    box = e.box_on_source()
    for name, value in (("attribution", e.attribution), ("masks", e.masks), ("box", box)):
        if value is not None:
            arrays[name] = np.asarray(value, dtype=np.float32)
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:  # 5 x faster than savez's 6
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)
    write_bytes(Path(folder) / "explanation.npz", data.getvalue())


def row(e: Explanation, folder: str) -> dict[str, Any]:
    """The row of one explanation; folder is relative to the run's."""
    box = e.box_on_source()
    values = {s.name: s.value for s in e.scores}
    details = {name: value for s in reversed(e.scores) for name, value in s.detail.items()}
    return {
        "image": e.image.path,
        "label": e.target.name,
        "name": e.target.name,
        "label_index": e.target.label,
        "part": e.target.part,
        "score": e.target.score,
        "score_original": e.score_original,
        "score_blurred": e.score_blurred,
        "box": None if box is None else [round(float(v), 2) for v in box],
        "method": e.method,
        "opt": e.opt,
        "form": e.form,
        "start": e.start,
        **values,
        **details,
        "status": e.status,
        "warning": "; ".join(e.warnings) or None,
        "seconds": e.seconds,
        "network_images": e.network_images,
        "backward_images": e.backward_images,
        "seed": e.seed,
        "folder": folder,
    }


def read_rows(folder: str | Path) -> list[dict[str, Any]]:
    """The rows of a run's folder; a last line that was torn is left out. Raises ConfigError without any."""
    path = Path(folder) / "results.jsonl"
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").rstrip("\n").split("\n")
    except OSError:
        raise ConfigError(f"{folder}: holds no results.jsonl; is it the folder of a run?") from None
    rows = []
    for n, line in enumerate(lines if lines != [""] else []):
        try:
            rows.append(checked(load_json(line), ROW_KEYS))
        except ValueError as error:
            if n < len(lines) - 1 or not isinstance(error, json.JSONDecodeError):
                raise ConfigError(f"{path}, line {n + 1}: damaged ({error})") from None
    return rows


def read_run(folder: str | Path) -> dict[str, Any]:
    """The settings of a run's folder, its run.yaml. Raises ConfigError without any."""
    path = Path(folder) / "run.yaml"
    try:
        values = load_yaml(path.read_text(encoding="utf-8"))
    except OSError:
        raise ConfigError(f"{folder}: holds no run.yaml; is it the folder of a run?") from None
    except ValueError as error:
        raise ConfigError(f"{path}: damaged ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: damaged (no keys and values)")
    return values


def read_arrays(
    folder: str | Path, wanted: Callable[[str], bool] = lambda name: True, needed: Sequence[str] = ("saliency",)
) -> dict[str, np.ndarray]:
    """What write_arrays wrote into an explanation's folder, or the arrays `wanted` by name.

    Raises ConfigError if it is missing or damaged, or lacks an array that is needed.
    """
    path = Path(folder) / "explanation.npz"
    try:
        arrays = load_npz(path, wanted)
        check_arrays(arrays)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: damaged ({error})") from None
    lacking = [name for name in needed if name not in arrays]
    if lacking:
        raise ConfigError(f"{path}: holds no {lacking[0]}; it was made by an older igos")
    return arrays


def restored(row: Mapping[str, Any], arrays: Mapping[str, np.ndarray], target: Target, image: Image) -> Explanation:
    """The explanation that a row and its arrays were written from, for the same target and image as they were.

    Its scores are those of METRICS and completeness_error, with their curves; their details stay in the row, and
    the method's settings in run.yaml.
    """
    better = {"completeness_error": "lower", **{name: make().better for name, make in METRICS.items()}}
    scores = [
        Score(n, math.nan if row.get(n) is None else row[n], b, arrays.get(f"{n}_curve"))
        for n, b in better.items()
        if row.get(n) is not None or f"{n}_reason" in row
    ]
    rest = {k: a for k, a in arrays.items() if k not in OWN_ARRAYS and not k.endswith("_curve")}
    attribution, masks = (torch.from_numpy(arrays[k]) if k in arrays else None for k in ("attribution", "masks"))
    return Explanation(
        saliency=torch.from_numpy(arrays["saliency"]),
        target=target,
        image=image,
        attribution=attribution,
        masks=masks,
        trace={k.removeprefix("trace_"): a for k, a in rest.items() if k.startswith("trace_")},
        arrays={k: a for k, a in rest.items() if not k.startswith("trace_")},
        scores=tuple(scores),
        warnings=tuple(w for w in (row["warning"] or "").split("; ") if w),
        **{k: row[k] for k in KEPT},
    )


def _yaml(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)


def _plain(value: Any) -> Any:
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
