"""What a worker answers: events, which are plain data and go from process to process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from igos.types import IgosError


@dataclass(frozen=True)
class Seen:
    """What was seen in a picture: its line of the manifest, None where that is known already; seconds, what the network
    took for it, and waited, those for which it stood still until the picture was read; each, those of one score of a
    target, 0 where nobody measured it; drawn: whether its explanations get pictures.
    """

    name: str
    line: Mapping[str, Any] | None
    seconds: float = 0.0
    waited: float = 0.0
    each: float = 0.0
    drawn: bool = True


@dataclass(frozen=True)
class Began:
    """The explanations that the network turns to now: their folders, and what will be the ids of their rows."""

    keys: Mapping[str, str]


@dataclass(frozen=True)
class Done:
    """An explanation: its row, the bytes of explanation.npz (none where the row alone is kept), pictures by their path
    in the run's folder; seconds, those that the network took.
    """

    row: Mapping[str, Any]
    data: bytes
    files: Mapping[str, bytes]
    seconds: float = 0.0


@dataclass(frozen=True)
class Failed:
    """No explanation. item: the folder that it would have, or the picture's name where the whole picture failed; path:
    the picture's; reason, in words; status: of the row; key: what would have been the row's id.

    error: what is raised when this is so of every picture, None where that is no mistake; refused: the network refused
    the settings, and will in every other picture; warning: what else is to be said of the picture.
    """

    item: str
    path: str
    reason: str
    status: str = "error"
    error: IgosError | None = None
    key: str | None = None
    refused: bool = False
    warning: str | None = None


@dataclass(frozen=True)
class Told:
    """What is known of a picture of which nothing is explained: its row, and facts, written beside the rows."""

    row: Mapping[str, Any]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Late:
    """Explanations that are still drawn: `ready` says whether they are done, `made` waits for them. Within the process
    alone.
    """

    ready: Callable[[], bool]
    made: Callable[[], list[Done]]


Event = Seen | Began | Done | Failed | Told | Late


def portable(event: Event) -> Event:
    """Without the traceback of an error, which cannot go to another process."""
    if isinstance(event, Failed) and event.error is not None:
        return replace(event, error=type(event.error)(str(event.error)))
    return event
