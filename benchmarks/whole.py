"""Where does the time of a whole command go? Reading, looking, maps, figures, drawing, writing: one `igos explain`.

    python benchmarks/whole.py [--photos 4] [--shared] [flags of igos explain ...]

Yolo-Fastest-1.1-xl on photos of ../shared/data, all with their detections, everything that a run writes by default. A
part does not count what stands in another. network: seconds inside the network while maps or figures are made. Pictures
are drawn in a thread of their own while the network goes on: what counts is how long the run waits for them. --shared
counts CPU seconds of the process, for a machine that others use: then all that is drawn is in "the rest".
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import table  # noqa: E402
from igos import cli  # noqa: E402

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
STEM = DATA / "yolo-fastest" / "yolo-fastest-1.1-xl"
PARTS = {  # where the function of each part is looked up
    "load the model": "igos.cli.session:load_models",
    "read pictures": "igos.run.workers.worker:Worker._read",
    "look": "igos.run.workers.worker:Worker._look",
    "maps": "igos.run.explain:explain_problem",
    "figures": "igos.run.explain:judged",
    "wait for drawings": "concurrent.futures:Future.result",
    "write": "igos.results.folder:RunFolder.keep",
    "tables": "igos.results.folder:RunFolder.finish",
    "report": "igos.cli.report:write_page",
    "network": "igos.types.scorer:Scorer._timed",
}
WIDTHS = {"part": 24, "seconds": 8, "share": 6}


class Times:
    """Seconds by part, without those of the parts within it."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now, self.spent, self.open = now, dict[str, float](), list[tuple[str, float]]()

    def timed(self, part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **more: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                return work(*args, **more)
            begin = self.now()
            name = f"{self.open[-1][0]}: network" if part == "network" and self.open else part
            self.open.append((name, 0.0))
            try:
                return work(*args, **more)
            finally:
                _, inner = self.open.pop()
                whole = self.now() - begin
                self.spent[name] = self.spent.get(name, 0.0) + whole - inner
                if self.open:
                    outer, before = self.open[-1]
                    self.open[-1] = outer, before + whole

        return timed

    def watch(self) -> None:
        for part, place in PARTS.items():
            module, _, name = place.partition(":")
            owner: Any = importlib.import_module(module)
            *holders, last = name.split(".")
            for holder in holders:
                owner = getattr(owner, holder)
            setattr(owner, last, self.timed(part, getattr(owner, last)))


def main(words: list[str] | None = None) -> list[dict[str, Any]]:
    parser = table.parser(__doc__ or "")
    parser.set_defaults(threads=1)
    parser.add_argument("--photos", type=int, default=4, help="how many (4)")
    parser.add_argument("--metrics", help="as of igos explain; none leaves the figures out")
    parser.add_argument("--shared", action="store_true", help="count CPU seconds")
    flags, more = parser.parse_known_args(words)
    torch.set_num_threads(flags.threads)
    times = Times(time.process_time if flags.shared else time.perf_counter)
    photos = sorted((DATA / "photos").glob("*.jpg"))[: flags.photos]
    model = ["--model", "darknet", "--model_file", f"{STEM}.weights", "--cfg", f"{STEM}.cfg"]
    usual = [*model, "--names", str(STEM.with_name("coco.names")), "--threads", str(flags.threads)]
    with tempfile.TemporaryDirectory() as folder:
        given = [*usual, "--data", *map(str, photos), "--output", f"{folder}/out", *more]
        given += ["--metrics", flags.metrics] if flags.metrics else []
        times.watch()
        begin = times.now()
        if code := cli.main(given):
            raise SystemExit(code)
        whole = times.now() - begin
    rows = [{"part": part, "seconds": s, "share": s / whole} for part, s in times.spent.items()]
    rest = whole - sum(times.spent.values())
    rows += [{"part": "the rest", "seconds": rest, "share": rest / whole}]
    rows += [{"part": "all, without imports", "seconds": whole, "share": 1.0}]
    for row in rows:
        print(table.line(row, WIDTHS))
    table.write_json(flags.json, table.header(0), rows)
    return rows


if __name__ == "__main__":
    main()
