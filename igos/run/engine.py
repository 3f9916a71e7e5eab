"""Which engine does the work of a run, by its flags; and the worker that each process makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from igos.run.cells import Cell
from igos.run.models import load_models
from igos.run.settings import Run
from igos.run.workers.engines import Engine
from igos.run.workers.processes import Processes
from igos.run.workers.worker import Worker


def apart(config: Run) -> bool:
    """Whether the run's networks are at work in processes of their own."""
    return config.engine != "local" or config.workers is not None or config.timeout is not None


def engine_of(cells: Sequence[Cell], make: Callable[..., Worker], **more: Any) -> Engine:
    """The engine that the run's flags ask for; its workers are make(cells, adapter, judge, **more)."""
    config = cells[0].plan.run
    each = partial(make_worker, cells, make, more)
    if config.engine == "ray":
        from igos.run.workers.ray_cluster import Cluster  # an extra

        gpus = 0.0 if config.device == "cpu" and config.num_gpus is None else config.num_gpus
        return Cluster(each, config.workers, config.timeout, config.threads, config.num_cpus, gpus)
    return Processes(each, config.workers or 1, config.timeout, config.threads)


def make_worker(cells: Sequence[Cell], make: Callable[..., Worker], more: dict[str, Any], number: int) -> Worker:
    """The worker of that number, with models of its own: on several GPUs, each takes the next one."""
    config = cells[0].plan.run
    if config.device is None and torch.cuda.device_count() > 1:
        config = replace(config, device=str(number % torch.cuda.device_count()))
    adapter, judge = load_models(config)
    return make(cells, adapter, judge, **more)
