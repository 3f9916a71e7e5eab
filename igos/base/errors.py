"""What a person did wrong, in one line; the command prints it and exits 2. Users import these from igos."""

from __future__ import annotations


def one_line(error: Exception, limit: int = 160) -> str:
    """The kind and the words of an error of somebody else's code, for a line of our own."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:limit]


class IgosError(Exception):
    """What igos raises for a mistake, in one line: what was wrong, where, and what is allowed."""


class ConfigError(IgosError):
    """A flag, a preset or an argument that cannot be used."""


class WeightsError(IgosError):
    """A checkpoint or network description that is missing, damaged or does not fit."""


class ImageError(IgosError):
    """A picture that cannot be read or used."""


class NetworkError(IgosError):
    """A network that raised, hung or died on a picture."""
