"""What the commands share: flags that refuse in one line, the detectors package, the device."""

from __future__ import annotations

import argparse
import difflib
import re
from types import ModuleType
from typing import NoReturn

import torch

from igos.types import ConfigError

MODEL_OPTIONS = ("cfg", "names", "dataset", "input_size", "fit", "pretrained")  # flags that belong to a model


def adapters() -> ModuleType:
    """The project's own `detectors` package. Raises ConfigError if another one is in its place."""
    import detectors

    if not hasattr(detectors, "ADAPTERS"):
        place = getattr(detectors, "__file__", None) or list(detectors.__path__)
        raise ConfigError(f"a package named 'detectors' at {place} hides igos's own; remove it")
    return detectors


class Parser(argparse.ArgumentParser):
    """One line per mistake, and near names for a flag that is not known."""

    def error(self, message: str) -> NoReturn:
        unknown = re.match(r"unrecognized arguments: (\S+)", message)
        if unknown:
            near = difflib.get_close_matches(unknown[1], self._option_string_actions, n=2)
            message = f"unknown argument {unknown[1]}" + (f"; did you mean {' or '.join(near)}?" if near else "")
        raise ConfigError(f"{message} (see --help)")


def pick_device(name: str | None) -> torch.device:
    """The named device, else a GPU if there is one, else the CPU. Raises ConfigError if it is not there."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except Exception as error:  # each backend refuses in its own way
        reason = str(error).strip().split("\n")[0]
        raise ConfigError(f"--device {name}: not available here ({reason})") from None
    return device
