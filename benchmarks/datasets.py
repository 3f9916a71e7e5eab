"""Runs over many pictures: explanations per hour with one and two workers, what a folder and going on with it cost.

    python benchmarks/datasets.py                       all of it
    python benchmarks/datasets.py --items 10000 --pictures 8

Workers: the bundled Mask R-CNN on scenes of series 3, preset `quick`, one thread in each worker, loading the model left
out; `network` is the share of the workers' time inside their networks, `waiting` that in which they stood still until a
picture was read. Layouts: one real explanation is written --items times under other names, without pictures in both
layouts; `list` reads all rows, `open` is what --resume does first: every row read and every file checked.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import PIL.Image
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import igos  # noqa: E402
from benchmarks import table  # noqa: E402
from igos.base.files import npz_bytes  # noqa: E402
from igos.data.emblems import scene  # noqa: E402
from igos.results.folder import RunFolder  # noqa: E402
from igos.results.manifest import Item, Manifest, target_record  # noqa: E402
from igos.results.read import each_row  # noqa: E402
from igos.results.rows import Row  # noqa: E402
from igos.run.cells import cells_of  # noqa: E402
from igos.run.drive import Shares, drive  # noqa: E402
from igos.run.engine import make_worker  # noqa: E402
from igos.run.plan import resolve  # noqa: E402
from igos.run.workers.events import Event, Seen  # noqa: E402
from igos.run.workers.processes import Processes  # noqa: E402
from igos.run.workers.worker import Worker  # noqa: E402

SERIES, MODEL = 3, "emblem-m-rcnn"
WORKERS = {"workers": 7, "explanations": 12, "seconds": 7, "per_hour": 8, "ratio": 5, "network": 7, "waiting": 7}
LAYOUTS = {
    "layout": 8, "explanations": 12, "files": 7, "bytes": 7, "write_s": 7, "list_s": 6, "open_s": 6, "due_s": 5,
}  # fmt: skip


class Started(Processes):
    """The clock starts when all workers have their model: the first picture of each is not counted."""

    def work(self, batches: Sequence[Sequence[Item]]) -> Iterator[Event]:
        self.seen = 0
        for event in super().work(batches):
            self.seen += isinstance(event, Seen)
            if self.seen == self.workers and not hasattr(self, "begin"):
                self.begin = time.perf_counter()
            yield event


def workers(place: Path, count: int) -> list[dict[str, Any]]:
    data = place / "scenes"
    data.mkdir()
    for n in range(count):
        PIL.Image.fromarray(scene(SERIES, n, 160).picture()).save(data / f"{n:04}.png")
    made: list[dict[str, Any]] = []
    for number in (1, 2):
        flags = {"model": MODEL, "data": [str(data)], "config": "quick", "workers": number, "threads": 1}
        plan = resolve(flags, "emblem")
        engine = Started(partial(make_worker, cells_of(plan), Worker, {}), number, threads=1)
        folder = RunFolder(place / f"workers-{number}", {})
        shares: Shares = drive(cells_of(plan), engine, folder, progress=False)
        seconds = time.perf_counter() - engine.begin
        done = folder.tally.explanations
        rate = 3600 * done / seconds
        made.append(
            {
                "workers": number,
                "explanations": done,
                "seconds": seconds,
                "per_hour": rate,
                "ratio": rate / made[0]["per_hour"] if made else 1.0,
                "network": shares.network / (seconds * number),
                "waiting": shares.waited / (seconds * number),
            }
        )
    return made


def layouts(place: Path, count: int) -> list[dict[str, Any]]:
    adapter = igos.load(MODEL)
    picture = place / "one.png"
    PIL.Image.fromarray(scene(SERIES, 0, 160).picture()).save(picture)
    image = adapter.read(picture)
    targets = adapter.detect(image)[:1]
    (e,) = igos.explain(adapter, image, targets, config="quick")
    data, made = npz_bytes(e.as_arrays(source=False)), []
    for layout in ("folders", "shards"):
        path = place / layout
        names = [f"{n:07}" for n in range(count)]
        folder = RunFolder(path, {}, layout)
        folder.write_run({})
        manifest = Manifest(path, lambda all_of=names: [(f"/data/{n}.png", n) for n in all_of])  # type: ignore[misc]
        row = Row.of(e, "").as_dict()
        line = {"sha256": "0" * 64, "targets": [target_record(targets[0], "")]}
        begin = time.perf_counter()
        for name in names:
            line["targets"][0]["folder"] = f"{name}/0-{e.target.name}"
            manifest.add(name, line)
            folder.keep({**row, "image": f"/data/{name}.png", "folder": f"{name}/0-{e.target.name}", "id": name}, data)
        folder.finish()
        folder.close()
        written = time.perf_counter() - begin
        sizes = [p.stat().st_size for p in path.rglob("*") if p.is_file()]
        listed, _ = timed(lambda p=path: sum(1 for _ in each_row(p)))  # type: ignore[misc]
        opened, again = timed(lambda p=path, w=layout: RunFolder(p, {}, w))  # type: ignore[misc]
        due, left = timed(lambda p=path, a=again: list(Manifest(p).items(a.held)))  # type: ignore[misc]
        assert not left and not again.damaged and again.tally.explanations == count
        again.close()
        made.append(
            {
                "layout": layout,
                "explanations": count,
                "files": len(sizes),
                "bytes": sum(sizes) / count,
                "write_s": written,
                "list_s": listed,
                "open_s": opened,
                "due_s": due,
            }
        )
    return made


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    made = work()
    return time.perf_counter() - begin, made


def main() -> None:
    parser = table.parser(__doc__ or "")
    parser.add_argument("--items", type=int, default=100_000, help="explanations in the folders (100,000)")
    parser.add_argument("--pictures", type=int, default=60, help="pictures that the workers explain (60)")
    parser.add_argument("--skip", nargs="*", choices=("workers", "layouts"), default=[], help="leave one part out")
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        parts: list[tuple[dict[str, int], list[dict[str, Any]]]] = []
        if "workers" not in flags.skip:
            parts.append((WORKERS, workers(place, flags.pictures)))
        if "layouts" not in flags.skip:
            parts.append((LAYOUTS, layouts(place, flags.items)))
    for widths, made in parts:
        print(" ".join(k.rjust(w) for k, w in widths.items()))
        for row in made:
            print(table.line(row, widths))
        print()
    table.write_json(flags.json, table.header(0), [row for _, made in parts for row in made])


if __name__ == "__main__":
    main()
