"""Runs on a real Ray cluster of two machines, both of them this one: processes and a machine killed in mid-run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from igos import cli
from igos.results.folder import RunFolder
from igos.results.manifest import Item
from igos.results.read import read_rows
from igos.run.cells import cells_of
from igos.run.drive import drive, run
from igos.types import ConfigError, NetworkError
from tests import faults
from tests.commands import Command
from tests.conftest import ROOT, Later
from tests.faults import Faulty, pictures, plan, same_maps
from tests.forks import ASKS, python

ray = Later("ray", "" if os.environ.get("CI") else "the extra [ray] is not installed")
ray_utils, ray_cluster = Later("ray.cluster_utils"), Later("igos.run.workers.ray_cluster")
STORE = 100 * 2**20
WATCHED = {  # a machine that says nothing for about two seconds is given up
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 4,
    "prestart_worker_first_driver": False,  # nobody would use these processes: an actor's environment is its own
    "worker_niceness": 0,  # 15 by default: beside the other process of the tests they would hardly run
}


def add(machines: Any, forks: bool, **more: Any) -> None:
    """A machine of one processor. forks: its workers have imported torch and igos; else each is started as Ray does."""
    if forks:
        setup = {"setup_worker_path": str(Path(python()).with_name(ASKS))}
        more |= {**setup, "worker_path": str(ROOT / "tests" / "ray_worker.py")}
    machines.add_node(num_cpus=1, object_store_memory=STORE, **more)


@pytest.fixture(scope="module")
def machines() -> Iterator[Any]:
    made = ray_utils.Cluster()
    few = {"include_dashboard": False, "include_log_monitor": False, "no_monitor": True}
    add(made, True, _system_config=WATCHED, **few)
    add(made, False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", made.address)
        assert ray_cluster.connect()
    yield made
    ray.shutdown()
    made.shutdown()


def calm(data: Path, out: Path) -> None:
    """A run in this process with one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = RunFolder(out, {})
    folder.write_run({})
    run(plan(data), Faulty(), folder, progress=False)
    torch.set_num_threads(before)


def on_cluster(data: Path, out: Path, pause: float = 0.0, target: str = "all", **more: Any) -> list[dict[str, Any]]:
    """The rows of a run with a network of one thread on each machine."""
    asked = plan(data, target=target)
    engine = ray_cluster.Cluster(partial(faults.make_worker, asked, pause, out.parent / "spare"), threads=1, **more)
    assert engine.workers == 2 or more
    folder = RunFolder(out, {})
    folder.write_run({})
    drive(cells_of(asked), engine, folder, progress=False)
    folder.finish()
    return read_rows(out)


def once(rows: list[dict[str, Any]], count: int) -> None:
    """Each explanation of so many pictures has one row, and that is good."""
    assert Counter(r["folder"] for r in rows) == Counter(
        {f"p{n:03}/{i}-{side}": 1 for n in range(count) for i, side in enumerate(("left", "right"))}
    )
    assert {r["status"] for r in rows} <= faults.EXPLAINED


def after_rows(out: Path, count: int, act: Any) -> threading.Thread:
    """Do something as soon as there are so many rows."""

    def watch() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            path = out / "results.jsonl"
            if path.exists() and path.read_bytes().count(b"\n") >= count:
                return act()
            time.sleep(0.02)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def actors() -> list[int]:
    """The processes of this machine's actors."""
    told = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in told.splitlines() if "ray::Explainer" in line]


@pytest.mark.usefixtures("sketched")
def test_a_killed_process_and_a_lost_machine_cost_nothing(machines: Any, tmp_path: Path) -> None:
    data, out = pictures(tmp_path / "data", 16), tmp_path / "out"
    killed: list[Any] = []

    def kill_process() -> None:
        killed.append(actors()[0])
        os.kill(killed[0], signal.SIGKILL)

    def lose_machine() -> None:
        killed.append(machines.list_all_nodes()[-1])
        machines.remove_node(killed[-1], allow_graceful=False)

    acts = [after_rows(out, 4, kill_process), after_rows(out, 14, lose_machine)]
    rows = on_cluster(data, out, pause=0.03)
    for act in acts:
        act.join()
    assert len(killed) == 2 and len(machines.list_all_nodes()) == 1
    once(rows, 16)
    calm(data, tmp_path / "calm")
    same_maps(out, tmp_path / "calm")
    add(machines, True)


def test_every_fault_of_a_network_is_a_row(machines: Any, tmp_path: Path) -> None:
    data = pictures(tmp_path / "data", 8, {1: "raise", 2: "hang", 4: "die", 5: "die1", 6: "nan", 7: "none"})
    made = on_cluster(data, tmp_path / "out", target="top1", timeout=4)
    rows = {(r["item"] or r["folder"]).partition("/")[0]: r for r in made}
    assert len(rows) == len(made) == 8, "every explanation has one row"
    assert [rows[p.stem]["status"] for p in sorted(data.iterdir())] == [
        "ok", "error", "error", "ok", "error", "ok", "not-finite", "skipped",
    ]  # fmt: skip
    assert "no answer from the network within 4 s" in rows["p002-hang"]["error"]
    assert "the process of the network died (" in rows["p004-die"]["error"]
    assert rows["p001-raise"]["error"].endswith("RuntimeError: the network's own mistake")
    deadline = time.monotonic() + 20
    while actors() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not actors()


def test_what_no_machine_holds_is_refused(machines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no machine holds a worker of 1 CPU and 3 GPUs; there are: 1 CPUs and 0 GPU"):
        ray_cluster.Cluster(partial(faults.make_worker, None, 0, None), num_gpus=3)
    with monkeypatch.context() as patch:
        patch.setattr("ray.is_initialized", lambda: False)
        for address, told in {"127.0.0.1:9": "no Ray cluster answers there", "ray://x:1": "run igos on a"}.items():
            patch.setenv("RAY_ADDRESS", address)
            with pytest.raises(ConfigError, match=told):
                ray_cluster.connect()
    monkeypatch.setattr("igos.run.workers.ray_cluster.ALONE", 0.0)
    engine = ray_cluster.Cluster(partial(faults.make_worker, None, 0, None))
    engine._needs["CPU"] = 5
    with pytest.raises(NetworkError, match="no machine of the Ray cluster is left that holds a worker of 5 CPUs"):
        engine._look([])


def test_a_model_that_cannot_be_loaded_stops_the_run(machines: Any, tmp_path: Path) -> None:
    engine = ray_cluster.Cluster(partial(broken, str(tmp_path)), workers=1)
    (picture,) = pictures(tmp_path / "data", 1).iterdir()
    with pytest.raises(ConfigError, match="there is no model"):
        list(engine.work([[Item(str(picture), "p000")]]))


SOCKETS = """
import json, os, sys
from pathlib import Path
from igos.run.workers import ray_cluster
import ray

def family(pid):
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            pass
    own = {pid}
    while more := {p for p, above in parents.items() if above in own} - own:
        own |= more
    return own

def listening(pids):
    inodes = set()
    for pid in pids:
        for fd in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                inodes.add(os.readlink(fd))
            except OSError:
                pass
    lines = [l.split() for f in ("tcp", "tcp6") for l in Path(f"/proc/net/{f}").read_text().splitlines()[1:]]
    return [l[1].partition(":")[0] for l in lines if l[3] == "0A" and f"socket:[{l[9]}]" in inodes]

assert ray_cluster.connect()
mode, token = os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"]
ray.get(ray.remote(lambda: 1).remote())
found = listening(family(os.getpid()))
ray.shutdown()
ray_cluster.ray_own.forget()
print(json.dumps([found, mode, len(token), "RAY_AUTH_MODE" in os.environ]))
"""


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="the sockets of processes are looked up in /proc")
def test_the_own_cluster_listens_on_loopback_behind_a_token(tmp_path: Path) -> None:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH")}
    command = [sys.executable, "-c", SOCKETS]
    environment = {**kept, "RAY_ADDRESS": "local", "HOME": str(tmp_path)}
    told = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert told.returncode == 0, told.stderr
    found, mode, length, left = json.loads(told.stdout.splitlines()[-1])
    assert len(found) >= 4 and {address[-8:] for address in found} <= {"0100007F", "01000000"}, found
    assert (mode, length, left) == ("token", 64, False) and not told.stderr
    assert not (tmp_path / ".ray").exists(), "no token is left in the home folder"


def broken(place: str, number: int) -> Any:
    raise ConfigError(f"{place}: there is no model")


def test_the_command_gives_the_maps_of_one_machine(machines: Any, tmp_path: Path) -> None:
    words = ["--config", "quick", "--num_samples", "2", "--threads", "1", "--metrics", "none", "--layout", "shards"]
    words += ["--iterations", "2", "--target", "top1"]
    assert cli.main([*words, "--output", str(tmp_path / "one")]) == 0
    words += ["--engine", "ray", "--workers", "2", "--output", str(tmp_path / "ray")]
    code, _, err = Command("-m", "igos", *words, cwd=tmp_path, env={"RAY_ADDRESS": machines.address}).end()
    assert code == 0 and not err, err
    same_maps(tmp_path / "ray", tmp_path / "one")
