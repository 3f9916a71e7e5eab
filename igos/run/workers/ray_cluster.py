"""The engine of many machines: workers that are actors of a Ray cluster, fed from our own queue (extra `ray`).

An actor answers a batch with a stream of events, each of which is written as it comes. An actor that dies, alone or
with its machine, is made again where there is room, and what was not settled of its batch goes back to the queue. Ray
itself repeats nothing: what is done is what the run's folder holds.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch

from igos.results.manifest import Item
from igos.run.workers.engines import Pool, Task
from igos.run.workers.events import Event, portable
from igos.run.workers.worker import Worker
from igos.types import ConfigError, IgosError, NetworkError

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # without GPUs of its own an actor sees none
os.environ.setdefault("RAY_prestart_worker_first_driver", "0")  # an actor has an environment of its own, and a process
try:
    import ray
    from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError
except ImportError:
    raise ConfigError('--engine ray needs Ray: pip install "igos[ray]"') from None
from igos.run.workers import ray_own  # noqa: E402

TICK = 5.0  # seconds after which the cluster is looked at where nobody speaks
ALONE = 120.0  # seconds for which a run waits for a machine where none is left
REACHED = 10.0  # seconds in which the cluster of RAY_ADDRESS must answer
FETCH = 120.0  # seconds that an event may take on its way


class Explainer:
    """The actor: one network, which answers Items with Events."""

    def load(self, make: Callable[[], Worker], threads: int) -> str | IgosError:
        """The machine's id in the cluster, or why there is no network."""
        torch.set_num_threads(threads)
        try:
            self.worker = make()
        except IgosError as error:
            return type(error)(str(error))
        return str(ray.get_runtime_context().get_node_id())

    def work(self, items: Sequence[Item], ahead: Sequence[str], single: bool) -> Iterator[Event | IgosError]:
        try:
            for event in self.worker.work(items, ahead, single):
                yield portable(event)
        except IgosError as error:
            yield type(error)(str(error))


class Seat:
    """An actor as the driver sees it: an ObjectRef or a stream of them is what it is to say next."""

    actor: type = Explainer

    def __init__(self, make: Callable[[], Worker], threads: int, needs: Mapping[str, float], starts: int) -> None:
        self.task: Task | None = None
        self.following: Task | None = None
        self.ready, self.died, self.starts, self.heard = False, False, starts, time.monotonic()
        self.machine = ""
        options = {
            "num_cpus": needs["CPU"],
            "num_gpus": needs["GPU"],
            "max_restarts": 0,
            "max_task_retries": 0,
            "scheduling_strategy": "SPREAD",
            "runtime_env": {"env_vars": {"OMP_NUM_THREADS": str(threads)}},
        }
        make_actor: Any = ray.remote(self.actor)
        self.handle = make_actor.options(**options).remote()
        self.says: Any = self.handle.load.remote(make, threads)

    def ask(self, task: Task, ahead: list[str]) -> None:
        stream = {"num_returns": "streaming", "_generator_backpressure_num_objects": 1}  # what is said is heard
        self.says = self.handle.work.options(**stream).remote(task.items, ahead, task.single)

    def hear(self) -> tuple[list[Event], str | None]:
        try:
            said = ray.get(next(self.says) if self.ready else self.says, timeout=FETCH)
        except StopIteration:
            self.task, self.says = None, None
            return [], None
        except RayError as error:
            return [], self._loss(error)
        self.heard = time.monotonic()
        if isinstance(said, IgosError):
            raise said
        if not self.ready:
            self.ready, self.machine, self.says = True, str(said), None
        elif self.task is not None:
            return [self.task.see(said)], None
        return [], None

    def _loss(self, error: RayError) -> str:
        """Why it was lost: "" where that cannot be its picture's fault, but its machine's or the way's."""
        if isinstance(error, RayTaskError):
            self.died = True
            return f"{type(error.cause).__name__}: {error.cause}"
        self.died = isinstance(error, GetTimeoutError) or (
            isinstance(error, RayActorError) and self.machine in machines()
        )
        reason = str(error).partition("Worker exit detail: ")[2].partition(". ")[0]
        return f"the process of the network died ({reason or type(error).__name__})" if self.died else ""

    def end(self) -> None:
        with suppress(Exception):  # it has died, or the cluster has
            ray.kill(self.handle)


class Cluster(Pool):
    """Actors on a Ray cluster: the one of RAY_ADDRESS or of `ray start`, else one of this machine alone, which ends
    with the run. workers: by default as many as there is room for; num_cpus, num_gpus: of each.

    Raises ConfigError where no cluster answers or a worker has no room on any of its machines.
    """

    seat: type[Seat] = Seat

    def __init__(
        self,
        make: Callable[[int], Worker],
        workers: int | None = None,
        timeout: float | None = None,
        threads: int | None = None,
        num_cpus: float | None = None,
        num_gpus: float | None = None,
    ) -> None:
        self._own = connect()
        there = machines().values()
        gpus = float(any(m.get("GPU") for m in there)) if num_gpus is None else num_gpus
        self._threads = threads or max(int(num_cpus or 1), 1)
        self._needs = {"CPU": self._threads if num_cpus is None else num_cpus, "GPU": gpus}
        rooms = sum(room(m, self._needs) for m in there)
        if not rooms:
            most = ", ".join(f"{m.get('CPU', 0):g} CPUs and {m.get('GPU', 0):g} GPUs" for m in there) or "none"
            self._leave()
            raise ConfigError(f"--engine ray: no machine holds a worker of {self._in_words()}; there are: {most}")
        super().__init__(workers or rooms, timeout)
        self._make, self._alone = make, time.monotonic()

    def work(self, batches: Sequence[Sequence[Item]]) -> Iterator[Event]:
        try:
            with stoppable():
                yield from super().work(batches)
        finally:
            self._leave()

    def _start(self, number: int, starts: int = 1) -> Seat:
        return self.seat(partial(self._make, number), self._threads, self._needs, starts)

    def _speaking(self, members: Sequence[Seat], seconds: float | None) -> list[Seat]:
        says = {seat.says: seat for seat in members if seat.says is not None}
        ready, _ = ray.wait(list(says), timeout=min(TICK if seconds is None else seconds, TICK))
        if not ready:
            self._look(members)
        elif len(says) > 1:
            ready, _ = ray.wait(list(says), num_returns=len(says), timeout=0)
        return [says[r] for r in ready]

    def _look(self, members: Sequence[Seat]) -> None:
        """End the run where no machine has been there for long. Raises NetworkError."""
        there = machines()
        if any(s.machine in there for s in members) or any(room(m, self._needs) for m in there.values()):
            self._alone = time.monotonic()
        elif time.monotonic() - self._alone > ALONE:
            raise NetworkError(f"no machine of the Ray cluster is left that holds a worker of {self._in_words()}")

    def _in_words(self) -> str:
        return " and ".join(f"{n:g} {kind}{'s' * (n != 1)}" for kind, n in self._needs.items() if n) or "no CPU"

    def _leave(self) -> None:
        if self._own:
            ray.shutdown()
            ray_own.forget()


def connect() -> bool:
    """Join the cluster, if this process has not; whether it had not: that of RAY_ADDRESS, else the one that runs on
    this machine, else an own one. Raises ConfigError where it does not answer.
    """
    if ray.is_initialized():
        return False
    address = os.environ.get("RAY_ADDRESS", "")
    if address.startswith("ray://"):
        raise ConfigError(f"RAY_ADDRESS={address}: run igos on a machine of the cluster, with its address as HOST:PORT")
    host, _, port = address.rpartition(":")
    if port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), REACHED).close()
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise ConfigError(f"RAY_ADDRESS={address}: no Ray cluster answers there ({why})") from None
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if address == "local" or not _joined(address, quiet):
            ray_own.start(include_dashboard=False, **quiet)
    except (RuntimeError, ConnectionError, ValueError) as error:
        named = f"RAY_ADDRESS={address}: " if address else ""
        raise ConfigError(f"{named}no Ray cluster answers ({' '.join(str(error).split())[:200]})") from None
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)  # Ray puts its own there
    with suppress(AttributeError):
        ray._private.worker._worker_logs_enabled = False  # what its machines print when they end
    return True


def _joined(address: str, options: dict[str, Any]) -> bool:
    """Whether there is a cluster, which is then joined. Raises what ray.init raises where one is named."""
    try:
        ray.init(address=address or "auto", **options)
    except ConnectionError:
        if address:
            raise
        return False
    return True


@contextmanager
def stoppable() -> Iterator[None]:
    """What SIGTERM's handler raises while Ray waits, of which Ray makes a KeyboardInterrupt."""
    before, raised = signal.getsignal(signal.SIGTERM), list[BaseException]()
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*words: Any) -> None:
        try:
            before(*words)
        except BaseException as error:
            raised.append(error)
            raise

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt as error:
        raise (raised or [error])[0] from None
    finally:
        signal.signal(signal.SIGTERM, before)


def machines() -> dict[str, dict[str, float]]:
    """The resources of the machines that are there, by their ids."""
    return {m["NodeID"]: m["Resources"] for m in ray.nodes() if m["Alive"]}


def room(machine: Mapping[str, float], needs: Mapping[str, float]) -> int:
    """How many workers a machine holds."""
    return min((int(machine.get(kind, 0) // n) for kind, n in needs.items() if n), default=1)
