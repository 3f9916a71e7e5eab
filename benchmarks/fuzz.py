"""Damaged and hostile input by the hundred thousand: presets, words, pictures, networks, weights, annotations, folders
of runs: with damage, with flipped bits, by strangers, with hostile names, used by many threads at once.

    python benchmarks/fuzz.py --cases 100000

Each kind of input (tests/fuzzing.py) runs in a process of its own. Of a kind: cases, how many were refused by an
IgosError and how many accepted; escaped are other exceptions, hangs, memory beyond half a gigabyte and crashes, and of
the folders of runs: a byte that changed in a folder beside them, content that passes for what was written and is not,
words that a terminal would obey.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import table  # noqa: E402
from tests.fuzzing import SECONDS, TARGETS, cases, outcome  # noqa: E402

WIDTHS = {"target": 14, "cases": 7, "refused": 8, "accepted": 9, "escaped": 8, "s": 7, "ms a case": 10}
ROOM = 4 << 30  # address space beyond what the libraries take
SHOWN = 20
WARM = 20  # cases before the address space is limited


class Enough(Exception):
    """The time is over: hypothesis stops at an error, not at a wish."""


def run(name: str, count: int, start: int, seconds: float) -> dict[str, Any]:
    """One target in this process; what escaped, each kind once with the first case that showed it."""
    warnings.simplefilter("ignore")
    target, told, shown = TARGETS[name], Counter[str](), dict[str, str]()
    begin = time.perf_counter()

    @seed(start)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        derandomize=False,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(target.cases)
    def each(case: Any) -> None:
        if time.perf_counter() - begin > seconds:
            raise Enough
        found = outcome(target, case)
        kind = found.split(":")[0]
        told[kind] += 1
        if kind == "escaped":
            place = ":".join(found.split(":")[:3])  # of one kind and place the first case
            shown.setdefault(place, f"{found}: {case!r}"[:2000])

    with contextlib.suppress(Enough):
        each()
    spent = time.perf_counter() - begin
    counts = {k: told[k] for k in ("refused", "accepted", "escaped")}
    return {"target": name, "cases": told.total(), **counts, "s": round(spent), "shown": shown}


def limit() -> None:
    """Address space for this process and ROOM more, so that a giant allocation fails instead of being granted."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else None
    if pages is not None:
        most = pages * os.sysconf("SC_PAGE_SIZE") + ROOM
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main() -> int:
    parser = table.parser(__doc__ or "")
    parser.add_argument("--cases", type=int, default=100_000, help="of all targets together (100000)")
    parser.add_argument("--seconds", type=float, default=7200.0, help="stop a target after its share of these (7200)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=TARGETS, help="one target, in this process")
    parser.add_argument("--rows", action="store_true", help="print the row as JSON")
    given_ = parser.parse_args()
    torch.set_num_threads(given_.threads)
    if given_.only:
        run(given_.only, WARM, given_.seed + 1, given_.seconds)  # libraries are loaded at first use, which takes room
        limit()
        row = run(given_.only, given_.cases, given_.seed, given_.seconds)
        print(json.dumps(row) if given_.rows else json.dumps(row, indent=1))
        return int(bool(row["escaped"]))
    head, rows = table.header(given_.seed), []
    print(json.dumps(head))
    print(table.line({k: k for k in WIDTHS}, WIDTHS))
    for name, count in cases(given_.cases).items():
        share = given_.seconds * count / given_.cases
        words = [sys.executable, __file__, "--only", name, "--rows", "--cases", str(count), "--seed", str(given_.seed)]
        words += ["--seconds", str(share), "--threads", str(given_.threads)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=share + 60 * SECONDS)
        try:
            row = json.loads(done.stdout.splitlines()[-1])
        except (IndexError, ValueError):
            shown = {f"escaped: exit {done.returncode}": done.stderr[-900:]}
            row = {"target": name, "cases": None, "escaped": 1, "s": 0, "shown": shown}
        row["ms a case"] = 1000 * row["s"] / row["cases"] if row.get("cases") else None
        rows.append(row)
        print(table.line(row, WIDTHS), flush=True)
        for what, case in list(row["shown"].items())[:SHOWN]:
            print(f"    {what}\n        {case}")
    total = {k: sum(r.get(k) or 0 for r in rows) for k in ("cases", "refused", "accepted", "escaped", "s")}
    print(table.line({"target": "all", **total}, WIDTHS))
    table.write_json(given_.json, head, rows)
    return int(total["escaped"] > 0)


if __name__ == "__main__":
    sys.exit(main())
