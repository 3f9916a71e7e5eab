"""The explanations of a picture, or of several: a list that shows, saves and tabulates itself."""

from __future__ import annotations

import html
import math
import tempfile
import time
import webbrowser
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, SupportsIndex, overload

import numpy as np

from igos.base.errors import in_python
from igos.base.files import npz_bytes, unique, write_bytes
from igos.base.hashing import digest
from igos.base.names import VERSION
from igos.base.settings import check_value
from igos.data.truth import same_class
from igos.metrics import METRICS
from igos.types import ConfigError, Explanation, ImageError
from igos.types.explanation import STATUSES

MOST_ROWS = 20  # of the table that is shown
THUMBNAIL, BYTES = 320, 40_000  # longest side, and the most that one takes: in base64 54 kB
HIDDEN = ("label", "folder", "item", "id", "crc32")  # columns of a run's rows that say nothing without its folder
PAGE = "report.html"
PLAIN = (str, int, float, bool, type(None))


class Explanations(list[Explanation]):
    """What igos.explain gives: a list of explanations that knows itself.

    Its repr is a table, and a notebook shows thumbnails. es["dog"] are those of a class; es[1:3], es + more and
    es.filter(...) are Explanations again. model: the name of the model; note: why there are none.

    >>> es = igos.explain("emblem-m-rcnn", "samples/scene-04.png", method="odam", metrics="none")
    >>> len(es) == len(es[:1]) + len(es[1:])
    True
    >>> print(repr(es).splitlines()[0].split()[:4])
    ['what', 'score', 'method', 'status']
    """

    def __init__(self, explanations: Iterable[Explanation] = (), *, model: str = "", note: str = "") -> None:
        super().__init__(explanations)
        self.model, self.note = model, note

    @overload
    def __getitem__(self, key: SupportsIndex) -> Explanation: ...
    @overload
    def __getitem__(self, key: slice | str) -> Explanations: ...
    def __getitem__(self, key: SupportsIndex | slice | str) -> Explanation | Explanations:
        """The explanation at a place, or those of a slice or of a class by its name."""
        if isinstance(key, str):
            return self.filter(key)
        found = super().__getitem__(key)
        return self._like(found) if isinstance(key, slice) else found  # type: ignore[arg-type, return-value]

    def __add__(self, other: list[Any]) -> Explanations:  # type: ignore[override]
        return self._like([*self, *other])

    def __mul__(self, times: SupportsIndex) -> Explanations:
        return self._like(super().__mul__(times))

    def copy(self) -> Explanations:
        return self._like(self)

    def filter(
        self, keep: str | Callable[[Explanation], Any] | None = None, *, status: str | None = None
    ) -> Explanations:
        """Those of a class by its name, or for which keep(explanation) is true; status: and that have this status."""
        if keep is not None and not isinstance(keep, str) and not callable(keep):
            raise ConfigError(f"keep: a class name or a callable(explanation) is needed, got {type(keep).__name__}")
        check_value("status", status, {"choices": STATUSES})
        right = (lambda e: same_class(keep, e.target.name)) if isinstance(keep, str) else keep or (lambda e: True)
        return self._like([e for e in self if right(e) and status in (None, e.status)])

    def __repr__(self) -> str:
        """A line for each, at most 20: class, the model's score, method, status, figures with their better side."""
        if not self:
            return f"no explanations{f': {self.note}' if self.note else ''}"
        lines = _table(self[:MOST_ROWS])
        more = len(self) - MOST_ROWS
        return "\n".join(lines + ([f"... and {more} more"] if more > 0 else []))

    def _repr_html_(self) -> str:
        from igos.drawing import files

        if not self:
            return f"<p>{html.escape(repr(self))}</p>"
        shown = "".join(files.thumbnail_html(e, n, THUMBNAIL, BYTES) for n, e in enumerate(self[:MOST_ROWS]))
        more = len(self) - MOST_ROWS
        rest = f"<p>... and {more} more</p>" if more > 0 else ""
        return f'<div style="display:flex;flex-wrap:wrap;gap:12px;font-family:sans-serif">{shown}</div>{rest}'

    def show(self) -> None:
        """In a notebook as thumbnails, elsewhere as a page in the browser."""
        from igos.drawing import files

        if files.in_notebook(self):
            return
        page = Path(tempfile.mkdtemp(prefix="igos-")) / PAGE
        self.report(page)
        if not webbrowser.open(page.resolve().as_uri()):
            raise ConfigError(f"show: no browser opens here; the page is {page}")

    def figure(self, kind: str = "overlay") -> Any:
        """A figure of all, one under the other, as a PIL picture; kind as Explanation.figure takes it."""
        from igos.drawing import files

        if not self:
            raise ConfigError(f"figure: {self!r}")
        return files.stacked([e.figure(kind) for e in self])

    def to_pandas(self) -> Any:
        """A pandas.DataFrame with a row for each: what a run's results.csv holds, and its figures.

        Raises ConfigError without pandas.
        """
        try:
            import pandas
        except ImportError:
            raise ConfigError("to_pandas needs pandas: pip install pandas") from None
        rows = [row for _, row, _ in self._rows()]
        columns = [k for k in dict.fromkeys(k for r in rows for k in r) if k not in HIDDEN]
        return pandas.DataFrame(rows, columns=[k for k in columns if any(r.get(k) is not None for r in rows)])

    @in_python()
    def save(self, folder: str | Path) -> None:
        """Write a folder as a run of the command leaves it: a folder for each with explanation.npz and its pictures,
        results.csv, and report.html. `igos report`, `export` and `compare` read it.

        Raises ConfigError for a folder that holds another run or cannot be written.
        """
        place = Path(folder)
        self._write(place, draw=True)
        self._page(place / PAGE, place, place.resolve().name)

    @in_python()
    def report(self, path: str | Path, title: str | None = None) -> None:
        """Write one page that shows all of them and needs no network. Raises ConfigError where it cannot be written."""
        path = Path(path)
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / (path.stem or "report")
            self._write(run, draw=False)
            try:
                self._page(path, run, title or path.stem, links=False)
            except OSError as error:
                raise ConfigError(f"{path}: cannot be written ({error.strerror or error})") from None

    def _like(self, explanations: Iterable[Explanation]) -> Explanations:
        return Explanations(explanations, model=self.model, note=self.note)

    def _rows(self, pictures: Path | None = None) -> list[tuple[Explanation, dict[str, Any], str]]:
        """Each with its row and the name of its picture, below whose folder it lies; pictures that are no files lie in
        `pictures`, or have a made-up name.
        """
        from igos.results.rows import Row

        taken, names, within, made = {"pictures"}, dict[str, str](), dict[str, set[str]](), []
        for e in self:
            known = e.image.path if e.image.path and Path(e.image.path).is_file() else None
            key = known or str(id(e.image.source))
            name = names.get(key) or unique(Path(e.image.path or "picture").stem, taken)
            names[key] = name
            folder = f"{name}/{unique(e.target.name, within.setdefault(name, set()))}"
            path = known or (str(pictures / f"{name}.png") if pictures else e.image.path or f"{name}.png")
            made.append((e, replace(Row.of(e, folder), image=path).as_dict(), name))
        return made

    def _write(self, place: Path, draw: bool) -> None:
        from igos.drawing import files
        from igos.results.folder import RunFolder
        from igos.results.manifest import Manifest, target_record

        run = RunFolder(place)
        try:
            run.write_run(self._settings())
            rows = self._rows(place.resolve() / "pictures")
            paths = {name: row["image"] for _, row, name in rows}
            for e, row, name in rows:
                if not Path(row["image"]).is_file():
                    write_bytes(place / "pictures" / f"{name}.png", files.png(e.image.source))
            manifest = Manifest(place, lambda: [(path, name) for name, path in paths.items()])
            for name, path in paths.items():
                targets = [target_record(e.target, row["folder"]) for e, row, own in rows if own == name]
                manifest.add(name, {"sha256": digest(path), "targets": targets})
            for e, row, _ in rows:
                drawn = files.figure_files(e) if draw else {}
                pictures = {f"{row['folder']}/{file}": data for file, data in drawn.items()}
                run.keep(row, npz_bytes(e.as_arrays()), pictures)
            run.finish()
        finally:
            run.close()

    def _page(self, path: Path, run: Path, title: str, links: bool = True) -> None:
        from igos.results import page_content

        sources = {row["image"]: e.image.source for e, row, _ in self._rows(run.resolve() / "pictures")}

        def read(picture: str) -> np.ndarray:
            if picture not in sources:
                raise ImageError(f"{picture}: is not among the explanations")
            return sources[picture]

        page_content.write(path, page_content.album([run], read), title, links=links)

    def _settings(self) -> dict[str, Any]:
        """For run.yaml: the model's name, methods with their plain settings, metrics; what made them is not known."""
        names = dict.fromkeys(s.name for e in self for s in e.scores if s.name in METRICS)
        methods = {e.method: {k: v for k, v in e.settings.items() if isinstance(v, PLAIN)} for e in self}
        record = {
            "command": "igos.explain",
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "versions": {"igos": VERSION},
        }
        return {"model": self.model, "methods": methods, "metrics": list(names) or ["none"], "record": record}


def _table(explanations: Iterable[Explanation]) -> list[str]:
    every = list(explanations)
    better = {s.name: s.better for e in every for s in e.scores if s.name in METRICS and METRICS[s.name].in_table}
    known = [name for name in better if any(math.isfinite(s.value) for e in every for s in e.scores if s.name == name)]
    arrows = {"higher": " \N{UPWARDS ARROW}", "lower": " \N{DOWNWARDS ARROW}"}
    head = ["", "what", "score", "method", "status", *(f"{n}{arrows.get(better[n], '')}" for n in known), "seconds"]
    rows = [head]
    for n, e in enumerate(every):
        values = {s.name: s.value for s in e.scores}
        figures = [f"{values[k]:.3f}" if math.isfinite(values.get(k, math.nan)) else "-" for k in known]
        method = e.method if e.opt is None else f"{e.method} {e.opt}"
        rows.append([str(n), e.target.name, f"{e.target.score:.2f}", method, e.status, *figures, f"{e.seconds:.1f}"])
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    right = {0, 2, *range(5, len(head))}
    return [
        "  ".join(v.rjust(w) if i in right else v.ljust(w) for i, (v, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]
