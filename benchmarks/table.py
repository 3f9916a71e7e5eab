"""What the benchmark scripts share: one table on the screen, one JSON file of header and plain rows."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision


def parser(description: str) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", metavar="FILE", help="also write header and rows to FILE")
    made.add_argument("--threads", type=int, default=2, help="CPU threads (2)")
    return made


def header(seed: int | Sequence[int]) -> dict[str, Any]:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next((x.split(":")[1].strip() for x in info.read_text().splitlines() if x.startswith("model name")), cpu)
    return {
        "machine": {"cpu": cpu, "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "versions": {
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "torchvision": str(torchvision.__version__),
            "numpy": np.__version__,
        },
        "seed": seed,
        "command": f"python {shlex.join(sys.argv)}",
    }


def line(row: Mapping[str, Any], widths: Mapping[str, int]) -> str:
    cells = []
    for key, width in widths.items():
        value = row.get(key)
        text = "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
        cells.append(text.ljust(width) if isinstance(value, str) else text.rjust(width))
    return " ".join(cells)


def write_json(path: str | None, head: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    if path:
        Path(path).write_text(json.dumps({"header": head, "rows": rows}, indent=1) + "\n")
