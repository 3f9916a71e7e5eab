"""Where does the time of a whole run go? `igos` on ten COCO photos, every object above .6, yolo-fastest-1.1-xl,
its preset.

    python benchmarks/whole.py
    python benchmarks/whole.py --flags --config quick

Each row is one process with one thread, from its start to its end. Seconds: `start` (Python, imports, the model is
loaded), `read` (pictures), `detect`, `network` (inside the network, for maps and curves), `maps` (the rest of the
method and of the metrics), `draw` (pictures of each explanation), `write` (arrays, rows, files), `page` (report.html),
`rest`.
ratio: all of it over `network`.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
PARTS = ("start", "read", "detect", "network", "maps", "draw", "write", "page", "rest")
WIDTHS = {"run": 22, "objects": 7, **dict.fromkeys(PARTS, 8), "whole": 8, "ratio": 6}


def child(begun: float, answer: Path, words: list[str]) -> None:
    """Run the command in this process and write the seconds of its parts."""
    import torch

    from igos.cli import main, report
    from igos.results.folder import RunFolder
    from igos.run.workers.worker import Worker

    torch.set_num_threads(1)
    spent: Counter[str] = Counter()
    rest = 0.0  # inside the network

    def timed(owner: Any, name: str, part: str) -> None:
        call: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(call)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal rest
            start = time.monotonic()
            made = call(*args, **kwargs)
            spent[part] += time.monotonic() - start
            if part == "maps":
                rest += made[1]
            return made

        setattr(owner, name, wrapped)

    for owner, name, part in (
        (Worker, "_read", "read"), (Worker, "_look", "detect"), (Worker, "_explain", "maps"),
        (Worker, "_drawn", "draw"), (Worker, "_data", "write"), (RunFolder, "keep", "write"),
        (report, "write_page", "page"),
    ):  # fmt: skip
        timed(owner, name, part)
    started: list[float] = []
    first = Worker.work

    def work(self: Worker, *args: Any, **kwargs: Any) -> Any:
        started.append(time.monotonic())
        return first(self, *args, **kwargs)

    Worker.work = work  # type: ignore[method-assign]
    code = main.main(words)
    spent["start"], spent["network"] = started[0] - begun, rest
    spent["maps"] -= rest
    answer.write_text(json.dumps({"code": code, **spent}))


def main() -> None:
    from benchmarks import table

    parser = table.parser(__doc__ or "")
    parser.add_argument("--photos", type=int, default=10, help="how many (10)")
    parser.add_argument("--flags", nargs="...", default=[], help="more words for the command, last")
    flags = parser.parse_args()
    stem = DATA / "yolo-fastest" / "yolo-fastest-1.1-xl"
    if not Path(f"{stem}.weights").exists():
        raise SystemExit(f"real data missing: {stem}.weights")
    photos = [str(p) for p in sorted((DATA / "coco" / "images").iterdir())]
    words = ["--model", "darknet", "--cfg", f"{stem}.cfg", "--model_file", f"{stem}.weights", "--threshold", "0.6"]
    print(" ".join(k.rjust(w) if k != "run" else k.ljust(w) for k, w in WIDTHS.items()))
    rows = []
    for name, more in {"default": [], "--metrics none": ["--metrics", "none"]}.items():
        with tempfile.TemporaryDirectory() as place:
            answer, out = Path(place) / "answer.json", Path(place) / "out"
            begun = time.monotonic()
            call = ["--child", str(begun), str(answer), *words, "--data", *photos[: flags.photos], "--output", str(out)]
            subprocess.run(
                [sys.executable, __file__, *call, *more, *flags.flags], check=True, stdout=subprocess.DEVNULL
            )
            whole, told = time.monotonic() - begun, json.loads(answer.read_text())
            parts = {p: told.get(p, 0.0) for p in PARTS[:-1]}
            objects = sum(1 for line in (out / "results.jsonl").open() if json.loads(line).get("folder"))
            row = {"run": name, "objects": objects, **parts, "rest": whole - sum(parts.values()), "whole": whole}
            rows.append({**row, "ratio": whole / parts["network"]})
        print(table.line(rows[-1], WIDTHS), flush=True)
    table.write_json(flags.json, table.header(0), rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(float(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
    else:
        main()
