"""What a person did wrong, in one line; the command prints it and exits 2. Users import these from igos."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from igos.base.terminal import printable

FLAG = re.compile(r"`[^`]*`|--([A-Za-z][\w-]*)( (?:PATH|DIR|NAME|FILE|FOLDER)\b)?( ?)")
IN_PYTHON = {
    "model_file": "weights",
    "manual_seed": "seed",
    "output": "folder",
    "pretrained": "pretrained=True",
    "model_layout": "layout",
    "trust": "trust=True",
}


def one_line(error: Exception, limit: int = 160) -> str:
    """The kind and the words of an error of somebody else's code, for a line of our own."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:limit]


def a_kind(value: object) -> str:
    """What a value is, in words: a dict, an object, None."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


class IgosError(Exception):
    """What igos raises for a mistake, in one line: what was wrong, where, and what is allowed. Control characters of a
    name in it are escapes.

    >>> try:
    ...     igos.explain("emblem-vgg", "samples/scene-04.png", method="iGOS-")
    ... except igos.IgosError as error:
    ...     print(str(error).split(":")[0])
    unknown method 'iGOS-'
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class ConfigError(IgosError):
    """A flag, a preset or an argument that cannot be used.

    >>> try:
    ...     igos.explain("emblem-vgg", "samples/scene-04.png", precision="half")
    ... except igos.ConfigError as error:
    ...     print(error)
    precision 'half' is not one of float32, bfloat16
    """


class WeightsError(IgosError):
    """A checkpoint or network description that is missing, damaged or does not fit.

    >>> try:
    ...     igos.load("resnet50")
    ... except igos.WeightsError as error:
    ...     print(error)
    model resnet50 needs weights=PATH or pretrained=True; random weights explain nothing
    """


class ImageError(IgosError):
    """A picture that cannot be read or used.

    >>> try:
    ...     igos.load("emblem-vgg").read("nowhere.png")
    ... except igos.ImageError as error:
    ...     print(error)
    nowhere.png: no such file
    """


class NetworkError(IgosError):
    """A network that raised, hung or died on a picture.

    >>> issubclass(igos.NetworkError, igos.IgosError)
    True
    """


@contextmanager
def in_python() -> Iterator[None]:
    """Mistakes inside are told in the words of Python: `weights=PATH` where the command says `--model_file PATH`.

    A block, or a decorator of what Python calls.
    """
    try:
        yield
    except IgosError as error:
        error.args = tuple(as_python(a) if isinstance(a, str) else a for a in error.args)
        raise


def as_python(text: str) -> str:
    """A message with the names of arguments in place of flags; commands between backticks stay."""
    return FLAG.sub(_argument, text)


def _argument(found: re.Match[str]) -> str:
    if found[1] is None:
        return found[0]
    name, place, after = found[1].replace("-", "_"), found[2], found[3]
    if name == "set":  # --set size=8
        return ""
    told = "`python -m igos --list`" if name == "list" else IN_PYTHON.get(name, name)
    return told + (f"={place.strip()}" if place else "") + after
