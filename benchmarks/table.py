"""What the benchmark scripts share: one table on the screen, one JSON file of header and plain rows."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision

from igos.base.files import write_bytes
from igos.types import ConfigError


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


def cell(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def line(row: Mapping[str, Any], widths: Mapping[str, int]) -> str:
    values = ((row.get(key), width) for key, width in widths.items())
    return " ".join(cell(v).ljust(w) if isinstance(v, str) else cell(v).rjust(w) for v, w in values)


def marks(name: str) -> tuple[str, str]:
    """The two lines of a file between which a command puts what it made."""
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


def placed(text: str, name: str, made: str) -> str:
    """The text with what stands between its marks replaced. Raises ConfigError without the two, once and in order."""
    begin, end = marks(name)
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ConfigError(f"the file needs the two lines {begin} and {end}, once each and in this order")
    return f"{text.split(begin)[0]}{begin}\n\n{made}\n\n{end}{text.split(end)[1]}"


def ready(name: str, *files: Path | None) -> None:
    """Raises ConfigError for a file without its marks, before the work begins."""
    for file in filter(None, files):
        placed(file.read_text(), name, "")


def place(file: Path | None, name: str, made: str) -> None:
    """Write into a file, between its marks; None: nowhere. Raises ConfigError without marks."""
    if file is not None:
        write_bytes(file, placed(file.read_text(), name, made).encode())


def markdown(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def write_json(path: str | None, head: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    if path:
        Path(path).write_text(json.dumps({"header": head, "rows": rows}, indent=1) + "\n")
