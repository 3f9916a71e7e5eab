"""What a person did wrong, in one line; the command prints it and exits 2. Users import these from igos."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from igos.base.terminal import printable

FLAG = re.compile(r"(\(see )?--([A-Za-z][\w-]*)( (?:PATH|DIR|NAME|FILE)\b)?")
IN_PYTHON = {"model_file": "weights", "manual_seed": "seed", "output": "folder", "pretrained": "pretrained=True"}


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
    """A message with the names of arguments in place of flags."""
    return FLAG.sub(_argument, text.replace("--set ", ""))


def _argument(found: re.Match[str]) -> str:
    before, name, place = found[1] or "", found[2].replace("-", "_"), found[3]
    if name == "list":
        return f"{before}python -m igos --list"
    return f"{before}{IN_PYTHON.get(name, name)}" + (f"={place.strip()}" if place else "")
