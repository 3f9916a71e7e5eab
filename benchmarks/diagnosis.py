"""What a diagnosis costs, stage by stage: seconds, the share of them inside the network, memory.

    python benchmarks/diagnosis.py [--photos 8] [--nulls 10] [--explain 8] [--threads 1] [--shared]

Yolo-Fastest-1.1-xl on COCO photos of ../shared/data, spread over all 40. look: each picture's detections, misses and
what they rest on; nulls: null candidates; explained: errors with figures and pictures. Imports and the model's
loading are in none. --shared counts CPU seconds of the process, for a machine that others use. Then the pictures
an hour of one core for 40 photos, 50 nulls and 30 errors by these figures, and the memory of the process after each
picture.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
STEM = DATA / "yolo-fastest" / "yolo-fastest-1.1-xl"
WIDTHS = {"stage": 10, "of": 12, "seconds each": 12, "inside the network": 18}
PHOTOS, NULLS, EXPLAINED = 40, 50, 30


def resident() -> float:
    """MB of this process that lie in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=8)
    parser.add_argument("--nulls", type=int, default=10)
    parser.add_argument("--explain", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shared", action="store_true", help="CPU seconds")
    flags = parser.parse_args()
    if flags.shared:
        time.perf_counter = time.process_time
    from benchmarks import table
    from igos import cli
    from igos.cli import diagnose
    from igos.data import nulls
    from igos.results.folder import RunFolder

    nulls.COUNT = flags.nulls
    stages, memory = list[dict[str, Any]](), list[float]()
    work, tell = diagnose.Diagnosis._work, RunFolder.tell

    def worked(self: Any, folder: Any, cells: Any, values: Any, **more: Any) -> None:
        before = self.seconds, self.inside
        work(self, folder, cells, values, **more)
        spent, inside = self.seconds - before[0], self.inside - before[1]
        count = folder.tally.explanations or len(folder.rows)
        what = {"look": "pictures"}.get(values["diagnose"], "candidates" if values["diagnose"] == "nulls" else "errors")
        stages.append({"stage": values["diagnose"], "of": f"{count} {what}", "seconds each": spent / max(count, 1),
                       "inside the network": inside / max(spent, 1e-9), "spent": spent, "inside": inside})  # fmt: skip
        print(table.line(stages[-1], WIDTHS), flush=True)

    def told(self: Any, facts: Any) -> None:
        tell(self, facts)
        memory.append(resident())

    print(table.line({k: k for k in WIDTHS}, WIDTHS), flush=True)
    diagnose.Diagnosis._work, RunFolder.tell = worked, told  # type: ignore[method-assign]
    photos = sorted((DATA / "coco" / "images").iterdir())
    chosen = [str(p) for p in photos[:: max(len(photos) // flags.photos, 1)][: flags.photos]]
    with tempfile.TemporaryDirectory() as folder:
        asked = ["diagnose", "--model", "darknet", "--model_file", f"{STEM}.weights", "--cfg", f"{STEM}.cfg", "--data"]
        asked += [*chosen, "--annotations", str(DATA / "coco" / "instances.json"), "--explain", str(flags.explain)]
        code = cli.main([*asked, "--threads", str(flags.threads), "--output", f"{folder}/out", "--quiet"])
    if code:
        sys.exit(code)
    each = {s["stage"]: s["seconds each"] for s in stages}
    whole = sum(n * each.get(k, 0.0) for k, n in (("look", PHOTOS), ("nulls", NULLS), ("explained", EXPLAINED)))
    share = sum(s["inside"] for s in stages) / sum(s["spent"] for s in stages)
    print(f"inside the network {share:.2f}; {PHOTOS} photos, {NULLS} nulls, {EXPLAINED} errors: {whole:.0f} s, "
          f"{3600 * PHOTOS / whole:.0f} pictures an hour; looked at alone {3600 / each['look']:.0f}")  # fmt: skip
    print(f"memory after each picture, MB: {', '.join(f'{m:.0f}' for m in memory)}")


if __name__ == "__main__":
    main()
