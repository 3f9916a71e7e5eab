"""What a process needs that another one started."""

from __future__ import annotations

import ctypes
import signal
import sys

import torch


def alone(threads: int) -> None:
    """So many threads of torch, deaf to Ctrl-C, ended with the parent."""
    torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
