"""What one run of the live page holds: its pictures, and its answers in a run's folder."""

from __future__ import annotations

import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from igos.base.files import unique, write_bytes
from igos.base.names import ARRAYS_FILE
from igos.data.pictures import SUFFIXES
from igos.results import page, page_content, parquet
from igos.results.again import again
from igos.results.folder import RunFolder
from igos.results.manifest import Manifest, listed
from igos.run.cells import method_folder
from igos.serve import asked as words
from igos.types import ConfigError, IgosError

Read = Callable[[str], np.ndarray]  # a picture's path -> (H,W,3) uint8 RGB, upright. Raises ImageError
THUMB, PHOTO = 168, 1600  # longest sides, in pixels
KEPT = 40_000_000  # bytes of photos that are kept
UPLOADS = "pictures"  # the folder in the run's that uploaded ones lie in
REPORT = "report.html"


@dataclass(frozen=True)
class Shown:
    """A picture of the session: its path, its name in the run's folder, its name on the page."""

    path: str
    name: str
    label: str


class Session:
    """read: what reads a picture; models: Network.facts of each; values: for run.yaml. Methods may be called by
    several threads.
    """

    def __init__(
        self,
        folder: RunFolder,
        pictures: Sequence[tuple[str, str]],
        read: Read,
        models: Sequence[Mapping[str, Any]],
        values: Mapping[str, Any],
    ) -> None:
        self.folder, self.read, self.models = folder, read, list(models)
        self._taken = {UPLOADS, *(name for _, name in pictures)}
        self.pictures = [Shown(path, name, Path(path).name) for path, name in pictures]
        self.answers: list[dict[str, Any]] = []
        self._asked, self._closed = 0, False
        self._lock = threading.RLock()
        self._files: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._newest: tuple[int, np.ndarray | None] = -1, None  # the picture that was uploaded last
        folder.write_run(values)
        self._manifest = Manifest(folder.path, list)
        self._album = page_content.Album(read)
        self._number, _ = self._album.begin(folder.path)
        self._drawing = ThreadPoolExecutor(1)

    def photo(self, index: int, longest: int) -> bytes:
        """A picture as WebP of that longest side. Raises ImageError, IndexError."""
        with self._lock:
            known, (newest, pixels) = self._files.get((index, longest)), self._newest
        if known is None:
            pixels = pixels if newest == index else None
            known = page.photo(self.read(self.pictures[index].path) if pixels is None else pixels, longest)
            with self._lock:
                self._files[index, longest] = known
                while sum(map(len, self._files.values())) > KEPT and len(self._files) > 1:
                    self._files.popitem(last=False)
        return known

    def add(self, label: str, data: bytes) -> int:
        """An uploaded picture: its index. Raises ImageError for what is no picture; then nothing of it is kept."""
        label = Path(label.replace("\\", "/")).name or "picture"
        suffix = Path(label).suffix.lower()
        with self._lock:
            name = unique(Path(label).stem, self._taken)
        path = self.folder.path / UPLOADS / f"{name}{suffix if suffix in SUFFIXES else ''}"
        path.parent.mkdir(exist_ok=True)
        write_bytes(path, data, within=self.folder.path)
        try:
            pixels = self.read(str(path))
        except BaseException:
            path.unlink(missing_ok=True)
            with suppress(OSError):
                path.parent.rmdir()
            raise
        with self._lock:
            self.pictures.append(Shown(str(path), name, label))
            self._newest = len(self.pictures) - 1, pixels
            return self._newest[0]

    def message(self, picture: int, what: Mapping[str, Any], model: int, asked: Mapping[str, str]) -> dict[str, Any]:
        """What the network is asked to explain. what: the `index` of a detection and its `label`, or what was expected:
        a `name`, a `box` xyxy in source pixels, and the `threshold` of what is seen; asked: method, preset, question.
        Raises ConfigError, IndexError.
        """
        shown, facts = self.pictures[picture], self.models[model]
        flags = words.settings_of(facts["flags"], asked)
        index = what.get("index")
        least = float(facts["least"])
        if index is None:
            least = float(what["threshold"])
            target = f"expect:{what['name']}@{','.join(f'{v:.1f}' for v in what['box'])}"
        else:
            target = f"index:{what['label'] if facts['classes'] else index}"
        method = " ".join(str(v) for v in (flags["method"], flags.get("opt")) if v)
        within = method_folder(f"{method} {asked['preset']}" + (f" {model + 1}" if len(self.models) > 1 else ""))
        with self._lock:
            self._asked += 1
            place = {"within": f"{within}-{self._asked}", "place": f"own{self._asked}" if index is None else str(index)}
        message = {"do": "explain", "path": shown.path, "name": shown.name, "index": index, "model": model, **place}
        return {**message, "target": target, "threshold": least, **asked}

    def keep(self, picture: int, message: Mapping[str, Any], done: Mapping[str, Any]) -> dict[str, Any]:
        """Write an answer into the run's folder; what the page shows of it."""
        shown, model = self.pictures[picture], self.models[message["model"]]
        flags, record = words.settings_of(model["flags"], message), dict(done["target"])
        row = {**done["row"], "model": model["name"], "preset": message["preset"]}
        target = str(message["target"])
        with self._lock:
            self._note(shown, done["sha256"], record)
            self.folder.keep(row, done["arrays"])
            row = self.folder.rows[-1]
            item = self._album.add_row(
                self.folder.path, row, self._number, self._album.judged(done["metrics"], done["set"])
            )
            answer = {
                "id": len(self.answers),
                "picture": picture,
                "model": message["model"],
                "folder": row["folder"],
                "command": words.command(flags, shown.path, target, message["threshold"]),
                "python": words.python(flags, shown.path, target, message["threshold"], model["device"]),
                "asked": {k: message[k] for k in ("method", "preset", "question", "index")},
            }
            self.answers.append(answer)
            self._drawing.submit(self._draw, row)
            return self._book(answer, item, row)

    def _draw(self, row: Mapping[str, Any]) -> None:
        """overlay.png beside an answer's arrays, while the page goes on; of what cannot be drawn there is none."""
        from igos.drawing import files  # with matplotlib, which no page waits for

        with suppress(IgosError, OSError):
            shown = again(self.folder.path, row, self.read(row["image"]), ())
            name = f"{row['folder']}/overlay.png"
            drawn = files.overlay(shown)
            with self._lock:
                if not self._closed:
                    self.folder.draw([(row["folder"], {name: drawn})])
        parquet.prepare()  # for the end, which is not waited for

    def books(self) -> list[dict[str, Any]]:
        """All answers, as `keep` gave them."""
        with self._lock:
            rows = zip(self.answers, self._album.items, self.folder.rows, strict=True)
            return [self._book(answer, item, row) for answer, item, row in rows]

    def row(self, number: int) -> dict[str, Any]:
        """An answer's row. Raises IndexError."""
        return dict(self.folder.rows[number])

    def arrays(self, number: int) -> Path:
        """An answer's explanation.npz."""
        return self.folder.path / str(self.folder.rows[number]["folder"]) / ARRAYS_FILE

    def page(self) -> str:
        """The report of what was explained so far. Raises ConfigError where there is nothing."""
        with self._lock:
            if not self.answers:
                raise ConfigError("nothing is explained yet")
            data = self._album.data(self.folder.path.resolve().name)
            sources = [None if p is None else page.inline(p) for p in self._album.photos]
            pictures = [{**p, "source": s} for p, s in zip(data["pictures"], sources, strict=True)]
            return page.render({**data, "pictures": pictures})

    def close(self) -> bool:
        """Leave the folder whole, with its report; whether there is anything in it."""
        self._drawing.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._closed = True
            if not self.answers:
                shutil.rmtree(self.folder.path / UPLOADS, ignore_errors=True)
                self.folder.close()
                self.folder.discard()
                return False
            self.folder.finish()
            page_content.write(self.folder.path / REPORT, self._album, self.folder.path.resolve().name)
            self.folder.close()
            return True

    def _note(self, shown: Shown, sha256: str, record: dict[str, Any]) -> None:
        """The picture and the target in the manifest, once."""
        manifest = self._manifest
        line = manifest.lines.get(shown.name, {"sha256": sha256, "targets": []})
        if shown.name not in manifest.due:
            manifest.due[shown.name] = shown.path
            manifest.of = listed(manifest.due)
        if all(t["folder"] != record["folder"] for t in line["targets"]):
            manifest.lines[shown.name] = {**line, "targets": [*line["targets"], record]}
            manifest.write()
        self._album.know(shown.path, sha256)

    def _book(self, answer: Mapping[str, Any], item: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
        """One answer as the viewer takes it: an item, and the book of that item alone."""
        book = self._album.book(item, row)
        shown = self.pictures[answer["picture"]]
        book["pictures"][0] |= {"name": shown.label, "source": f"picture/{answer['picture']}/photo"}
        source = " ".join(str(v) for v in (row["method"], row.get("opt")) if v)
        several = f", {row['model']}" if len(self.models) > 1 else ""
        book["items"][0] |= {"index": answer["id"], "source": f"{source}, {row['preset']}{several}"}
        return {**answer, "book": book}
