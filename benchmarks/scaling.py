"""How far does a run scale out? From two workers on this machine to 4,096, which are simulated.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --only readers

0 readers    CPU ms of one process to find and to read a picture (its bytes, their hash, its pixels) that lies in a
             folder, a tar shard, a table, a list of paths, or a store (memory://, without a store's own delay)
1 measured   the bundled detector on this machine, one thread per network: processes of our own, and actors of Ray
2 sleeping   real Ray, up to 16 actors that sleep the time that a picture took and answer with as many bytes; the
             driver, the manifest and the shards are real
3 costs      what the driver's single process spends: per event that comes by Ray, per look at all actors, per line of
             the manifest, per explanation that is stored in folders or in shards
4 model      a simulation event by event with these costs: each actor waits until the driver has heard it, the driver
             hears all that have something to say in turn. share: of what as many actors would do that never wait;
             most: what takes most of the driver's time; busy: the driver's share of the time

Rates are taken between the first fifth and the ninth tenth of the explanations: without the loading of the networks.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tarfile
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["PYTHONPATH"] = os.pathsep.join([sys.path[0], os.environ.get("PYTHONPATH", "")])

import ray  # noqa: E402

from benchmarks import table  # noqa: E402
from benchmarks.driver_model import Costs, simulate  # noqa: E402
from detectors.pictures import read_rgb  # noqa: E402
from igos.base import resources  # noqa: E402
from igos.base.hashing import digest  # noqa: E402
from igos.data.pictures import find_pictures  # noqa: E402
from igos.results.folder import RunFolder  # noqa: E402
from igos.results.manifest import Item, Manifest  # noqa: E402
from igos.run.cells import cells_of  # noqa: E402
from igos.run.drive import drive  # noqa: E402
from igos.run.engine import make_worker  # noqa: E402
from igos.run.models import load_models, pick_model  # noqa: E402
from igos.run.plan import Plan, resolve  # noqa: E402
from igos.run.workers import engines  # noqa: E402
from igos.run.workers.engines import Engine, Task  # noqa: E402
from igos.run.workers.events import Began, Done, Event, Seen  # noqa: E402
from igos.run.workers.processes import Processes  # noqa: E402
from igos.run.workers.ray_cluster import Cluster, Seat  # noqa: E402
from igos.run.workers.worker import Worker  # noqa: E402

LAYOUTS = ("folders", "shards")
SLEEPERS = (1, 2, 4, 8, 16)
SIMULATED = (16, 64, 256, 1024, 4096)
READ = 100  # pictures of part 0
STORED = 2000  # explanations that are stored to time it: two shards
PER_SLEEPER = 0.3  # GB of memory


@dataclass(frozen=True)
class Sample:
    """What one picture gave."""

    seen: Seen
    done: Done

    def named(self, name: str) -> tuple[Seen, Began, Done]:
        """The same of a picture of another name."""
        folder = f"{name}/0-x"
        line = {"sha256": "", **(self.seen.line or {}), "targets": [{"folder": folder}]}
        files = {folder + path[path.index("/", path.index("/") + 1) :]: b for path, b in self.done.files.items()}
        done = replace(self.done, row={**self.done.row, "folder": folder, "id": name}, files=files)
        return replace(self.seen, name=name, line=line), Began({folder: ""}), done


class Timed:
    """An engine whose explanations are timed as they come."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.workers, self.moments = engine, engine.workers, list[float]()

    def work(self, batches: Sequence[Sequence[Item]]) -> Iterator[Event]:
        for event in self.engine.work(batches):
            if isinstance(event, Done):
                self.moments.append(time.perf_counter())
            yield event

    @property
    def per_hour(self) -> float:
        first, last = len(self.moments) // 5, len(self.moments) * 9 // 10
        return 3600 * (last - first) / (self.moments[last] - self.moments[first])


class Canned:
    """An engine that has its answers already."""

    workers = 1

    def __init__(self, sample: Sample) -> None:
        self.sample = sample

    def work(self, batches: Sequence[Sequence[Item]]) -> Iterator[Event]:
        for (item,) in batches:
            yield from self.sample.named(item.name)


class Sleeper:
    """An actor that answers as a network does, with bytes alone."""

    def load(self, make: Any, threads: int) -> str:
        import ray

        return ray.get_runtime_context().get_node_id()

    def work(self, seconds: float, size: int) -> Iterator[tuple[int, bytes]]:
        yield 0, b"x" * 1000
        yield 1, b""
        time.sleep(seconds)
        yield 2, b"x" * size


class SleepingSeat(Seat):
    actor, sample, seconds = Sleeper, None, 1.0
    spent, heard_events = 0.0, 0

    def ask(self, task: Task, ahead: list[str]) -> None:
        begin = time.perf_counter()
        stream = {"num_returns": "streaming", "_generator_backpressure_num_objects": 1}
        self.says = self.handle.work.options(**stream).remote(self.seconds, size_of(self.sample.done))
        SleepingSeat.spent += time.perf_counter() - begin

    def hear(self) -> tuple[list[Event], str | None]:
        begin, task = time.perf_counter(), self.task
        said, lost = super().hear()
        SleepingSeat.spent += time.perf_counter() - begin
        SleepingSeat.heard_events += 1
        return [task.see(self.sample.named(task.items[0].name)[kind]) for kind, _ in said], lost


class Sleeping(Cluster):
    seat = SleepingSeat


def size_of(done: Done) -> int:
    return len(done.data) + sum(map(len, done.files.values()))


def pictures(folder: Path, count: int) -> Path:
    """So many copies of the bundled scenes."""
    scenes = sorted((resources.folder("samples")).glob("scene-*.png"))
    folder.mkdir(parents=True)
    for n in range(count):
        shutil.copy(scenes[n % len(scenes)], folder / f"{n:05}.png")
    return folder


def planned(data: Path, **more: Any) -> Plan:
    flags, preset = pick_model({"model": "emblem-m-rcnn", "data": [str(data)], "target": "top1", **more})
    return resolve(flags, preset)


def opened(place: Path, layout: str) -> RunFolder:
    shutil.rmtree(place, ignore_errors=True)
    folder = RunFolder(place, {}, layout)
    folder.write_run({})
    return folder


def readers(place: Path, count: int) -> list[dict[str, Any]]:
    """The same pictures from each kind of place."""
    folder = pictures(place / "readers", count)
    files = sorted(folder.iterdir())
    with tarfile.open(place / "shard.tar", "w") as tar:
        for file in files:
            tar.add(file, file.name)
    data = [file.read_bytes() for file in files]
    pq.write_table(pa.table({"image": data}), place / "table.parquet", row_group_size=100)
    (place / "list.txt").write_text("\n".join(map(str, files)))
    fs = fsspec.filesystem("memory")
    for file, content in zip(files, data, strict=True):
        fs.pipe_file(f"/scaling/{file.name}", content)
    fs.pipe_file("/scaling-shard/shard.tar", (place / "shard.tar").read_bytes())
    places = {
        "folder": folder,
        "shard": place / "shard.tar",
        "table": place / "table.parquet",
        "list": place / "list.txt",
    }
    stores = {"store": "memory://scaling", "shard in a store": "memory://scaling-shard/shard.tar"}
    rows = []
    for kind, at in {**places, **stores}.items():
        begin = time.process_time()
        found = find_pictures([str(at)])
        middle = time.process_time()
        for path, _ in found:
            digest(path)
            read_rgb(path)
        spent = time.process_time() - middle
        rows.append({"place": kind, "find_ms": 1e3 * (middle - begin) / count, "read_ms": 1e3 * spent / count})
        print(table.line(rows[-1], {"place": 16, "find_ms": 8, "read_ms": 8}), flush=True)
    fs.store.clear()
    return rows


def measured(plan: Plan, place: Path) -> list[dict[str, Any]]:
    """The bundled detector with one and two workers."""
    make, rows = partial(make_worker, cells_of(plan), Worker, {}), []
    for kind, engine in {"processes": Processes, "ray": Cluster}.items():
        for workers in (1, 2):
            timed = Timed(engine(make, workers, threads=1))
            drive(cells_of(plan), timed, opened(place, "shards"), progress=False)
            per_hour, first = timed.per_hour, rows[-1]["per_hour"] if workers == 2 else timed.per_hour
            rows.append({"engine": kind, "workers": workers, "per_hour": per_hour, "ratio": per_hour / first})
            print(table.line(rows[-1], {"engine": 10, "workers": 7, "per_hour": 10, "ratio": 6}), flush=True)
    return rows


def sleeping(plan: Plan, place: Path, sample: Sample, seconds: float) -> list[dict[str, Any]]:
    """Actors that sleep, on real Ray."""
    SleepingSeat.sample, SleepingSeat.seconds = sample, seconds
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    rows: list[dict[str, Any]] = []
    for workers in [n for n in SLEEPERS if n * PER_SLEEPER < free - 2]:
        data = pictures(place / f"data-{workers}", 20 * workers)
        timed = Timed(Sleeping(time.sleep, workers, threads=1, num_gpus=0))
        drive(
            cells_of(replace(plan, run=replace(plan.run, data=[str(data)]))),
            timed,
            opened(place / "s", "shards"),
            False,
        )
        ratio = timed.per_hour / rows[0]["per_hour"] if rows else 1.0
        ideal = timed.per_hour / (workers * 3600 / seconds)
        rows.append({"actors": workers, "per_hour": timed.per_hour, "ratio": ratio, "share": ideal})
        print(table.line(rows[-1], {"actors": 6, "per_hour": 12, "ratio": 6, "share": 6}), flush=True)
    return rows


def costs(place: Path, samples: Mapping[str, Sample]) -> Costs:
    stored = {}
    names = [(f"/x/{n}.png", f"{n:06}") for n in range(STORED)]
    for layout, sample in samples.items():
        folder = opened(place / layout, layout)
        begin = time.perf_counter()
        for _, name in names:
            done = sample.named(name)[2]
            folder.keep(done.row, done.data, done.files)
        stored[layout] = (time.perf_counter() - begin) / STORED
    manifest = Manifest(opened(place / "m", "folders").path, lambda: names)
    begin = time.perf_counter()
    for _, name in names:
        manifest.add(name, samples["shards"].seen.line or {})
    line = (time.perf_counter() - begin) / STORED
    looks = {n: look(n) for n in SIMULATED}
    event = SleepingSeat.spent / SleepingSeat.heard_events
    received = {layout: event + receive(size_of(s.done)) - receive(0) for layout, s in samples.items()}
    return Costs(event, looks, line, received, stored)


def receive(size: int) -> float:
    """Seconds of the driver to take what has come, of so many bytes."""
    handle = ray.remote(Sleeper).options(num_cpus=1).remote()
    times = []
    for _ in range(50):
        says = handle.work.options(num_returns="streaming").remote(0.0, size)
        for _ in range(3):
            ray.wait([says])
            begin = time.perf_counter()
            ray.get(next(says))
            taken = time.perf_counter() - begin
        times.append(taken)
    ray.kill(handle)
    return statistics.median(times)


def look(actors: int) -> float:
    """Seconds of the driver per look at so many actors, of which none has anything to say."""
    handle = ray.remote(Sleeper).options(num_cpus=1).remote()
    handle.work.remote(3600.0, 0)
    says = [handle.work.options(num_returns="streaming").remote(0.0, 0) for _ in range(actors)]
    stubs = [SimpleNamespace(task=1, following=None, ready=True, says=s, heard=0.0) for s in says]
    times = []
    for _ in range(7):
        begin = time.perf_counter()
        engines._share(deque([Task([])]), stubs)  # type: ignore[arg-type]
        waited = list({s.says: s for s in stubs if s.says is not None})
        ray.wait(waited, timeout=0)
        ray.wait(waited, num_returns=len(waited), timeout=0)
        times.append(time.perf_counter() - begin)
    ray.kill(handle)
    return statistics.median(times)


def main() -> None:
    parser = table.parser(__doc__ or "")
    parser.add_argument("--pictures", type=int, default=60, help="of each run of part 1 (60)")
    parser.add_argument("--only", choices=("readers",), help="this part alone")
    parser.set_defaults(threads=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as root:
        place = Path(root)
        print("0 readers: place, CPU ms to find a picture, and to read it")
        zero = readers(place, READ)
        if given.only:
            if given.json:
                table.write_json(given.json, table.header(0), zero)
            return
        data = pictures(place / "data", given.pictures)
        plans = {layout: planned(data, layout=layout) for layout in LAYOUTS}
        samples = {}
        for layout, plan in plans.items():
            item = Item(str(data / "00000.png"), "00000")
            events = list(Worker(cells_of(plan), load_models(plan.run)[0]).work([item]))
            seen, done = (next(e for e in events if isinstance(e, kind)) for kind in (Seen, Done))
            samples[layout] = Sample(seen, done)
        print("1 measured: engine, workers, explanations per hour, ratio to one worker")
        one = measured(plans["shards"], place / "out")
        seconds = next(3600 / r["per_hour"] for r in one if r["engine"] == "ray")
        print(f"\n2 sleeping {seconds:.2f} s: actors, explanations per hour, ratio to one, share of never waiting")
        cluster = {"num_cpus": max(SLEEPERS), "object_store_memory": 2 * 10**8, "logging_level": "ERROR"}
        ray.init(include_dashboard=False, log_to_driver=False, **cluster)
        two = sleeping(plans["shards"], place, samples["shards"], seconds)
        three = costs(place, samples)
        ray.shutdown()
        print("\n3 costs of the driver, ms")
        received = ", ".join(f"{1e3 * s:.2f} ({layout})" for layout, s in three.received.items())
        print(
            f"event {1e3 * three.event:.2f}; explanation received {received}; "
            f"line of the manifest {1e3 * three.line:.2f}"
        )
        print("look at so many actors:", ", ".join(f"{n}: {1e3 * s:.2f}" for n, s in three.look.items()))
        sizes = {layout: size_of(s.done) for layout, s in samples.items()}
        for layout, spent in three.stored.items():
            rate = sizes[layout] / spent / 1e6
            print(f"stored in {layout} {1e3 * spent:.2f}, {sizes[layout] / 1e3:.0f} kB each, {rate:.0f} MB/s")
        widths = {"layout": 8, "seconds": 7, "actors": 6, "per_hour": 12, "share": 6, "busy": 6, "most": 8, "MB_s": 7}
        print("\n4 model: " + ", ".join(widths))
        four = []
        for layout in LAYOUTS:
            for pace in (seconds, 10.0, 60.0):
                for actors in SIMULATED:
                    row = simulate(actors, pace, three, layout)
                    row["MB_s"] = row["per_hour"] / 3600 * sizes[layout] / 1e6
                    four.append(row)
                    print(table.line(row, widths), flush=True)
        print(f"\nmodel at 16 actors that sleep {seconds:.2f} s: {simulate(16, seconds, three, 'shards')['share']:.3f}")
        print(f"measured (part 2): {two[-1]['share']:.3f} at {two[-1]['actors']} actors")
        if given.json:
            table.write_json(given.json, table.header(0), [*zero, *one, *two, {**vars(three), "bytes": sizes}, *four])


if __name__ == "__main__":
    main()
