"""Class names: of the datasets that torchvision's weights were trained on, and from a file."""

from __future__ import annotations

import numbers
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torchvision.models import ResNet50_Weights
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights
from torchvision.models.segmentation import FCN_ResNet50_Weights

from igos.base.reading import read_text
from igos.data.emblems import CLASSES
from igos.types import ConfigError

BACKGROUND = "__background__"
Labels = Sequence[str] | Mapping[Any, Any] | None  # names in order, or by id, or ids by name
NUMBERED = re.compile(r"(\d{1,6})\s*:\s*(?=\S)")  # how each line of a YAML's list of names begins
SYNSET = re.compile(r"n\d{8}\s+(?=\S)")  # how each line of ImageNet's synset_words.txt begins


def imagenet() -> list[str]:
    """The 1000 classes of ImageNet-1k in the order of torchvision's classifiers."""
    return list(ResNet50_Weights.IMAGENET1K_V1.meta["categories"])


def coco() -> list[str]:
    """The 80 classes of COCO, without background and without the 10 numbers that COCO never used."""
    every = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    return [name for name in every if name not in (BACKGROUND, "N/A")]


def voc() -> list[str]:
    """The 20 classes of Pascal VOC, without background."""
    every = FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1.meta["categories"]
    return [name for name in every if name != BACKGROUND]


def emblems() -> list[str]:
    """The classes of the bundled scenes, without background."""
    return list(CLASSES)


DATASETS: dict[str, Callable[[], list[str]]] = {"imagenet": imagenet, "coco": coco, "voc": voc, "emblems": emblems}


def read_names(path: str | Path) -> list[str]:
    """One class name per line; ImageNet's 'n01440764 tench, Tinca tinca' -> 'tench, Tinca tinca', and '16: dog', where
    every line has its number, -> 'dog', at that number.

    Raises ConfigError for a file that is missing, empty, not UTF-8 text, or has an empty line between names.
    """
    if not Path(path).is_file():
        raise ConfigError(f"--names {path}: no such file")
    try:
        text = read_text(path, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--names {path}: cannot be read as text ({error})") from None
    lines = [line.strip() for line in text.rstrip().split("\n")]
    if lines == [""]:
        raise ConfigError(f"--names {path}: empty; one class name per line is needed")
    if "" in lines:
        raise ConfigError(f"--names {path}: line {lines.index('') + 1} is empty; one class name per line is needed")
    if all(SYNSET.match(line) for line in lines):
        lines = [SYNSET.sub("", line, count=1) for line in lines]
    found = [NUMBERED.match(line) for line in lines]
    if all(found):
        pairs = [(int(m[1]), line[m.end() :]) for m, line in zip(found, lines, strict=True) if m]
        return _by_id(pairs, f"--names {path}")
    return lines


def listed(labels: Any, what: str = "labels") -> list[str] | None:
    """Class names in the order of their ids: of names in order (a list, an array), by id (Hugging Face's id2label, its
    ids numbers or text), or ids by name; None of None. Ids begin at 0, or at 1 where no class has 0.

    Raises ConfigError for a text, for names that are none, and for ids that are double or missing.
    """
    if labels is None:
        return None
    if isinstance(labels, (str, bytes)):
        raise ConfigError(f"{what}: {labels[:40]!r} is one text; give the names in a list")
    if isinstance(labels, Mapping):
        pairs = list(labels.items())
        if pairs and all(_id(v) is not None and not isinstance(v, str) for _, v in pairs):
            pairs = [(v, k) for k, v in pairs]
        odd = next((k for k, _ in pairs if _id(k) is None), None)
        if odd is not None:
            raise ConfigError(f"{what}: {odd!r} is no id; a dict is id -> name or name -> id")
        return _by_id([(int(k), _name(v, what)) for k, v in pairs], what)
    if not isinstance(labels, Iterable) or isinstance(labels, (set, frozenset)) or getattr(labels, "ndim", 1) != 1:
        raise ConfigError(f"{what}: a {type(labels).__name__} has no order of names; give them in a list")
    return [_name(v, what) for v in labels]


def _id(value: Any) -> int | None:
    """A whole number >= 0, or its digits, as a number; else None."""
    if isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= 0:
        return int(value)
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else None


def _name(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(
            f"{what}: {value if isinstance(value, numbers.Number) else repr(value)} is no class name; names are text"
        )
    return str(value)


def _by_id(pairs: Sequence[tuple[int, str]], what: str) -> list[str]:
    """Names in the order of their ids, which are 0 to n-1 or 1 to n."""
    named = dict(pairs)
    if len(named) < len(pairs):
        double = next(i for i in named if [j for j, _ in pairs].count(i) > 1)
        raise ConfigError(f"{what}: id {double} has two names")
    first = min(named, default=0)
    lost = next((i for i in range(first, first + len(named)) if i not in named), None)
    if first > 1 or lost is not None:
        gap = 0 if first > 1 else lost
        raise ConfigError(f"{what}: id {gap} has no name; ids run from 0, or from 1, without a gap")
    return [named[i] for i in sorted(named)]


def of_classes(asked: list[str] | None, count: int, what: str, usual: Sequence[str] | None = None) -> list[str]:
    """The names asked for, else the usual ones, else numbers. Raises ConfigError unless they are as many as classes."""
    known = asked if asked is not None else list(usual or [f"class {i}" for i in range(count)])
    fit(known, count, what)
    return known


def of_classifier(asked: list[str] | None, columns: int, what: str, usual: Sequence[str] | None = None) -> list[str]:
    """As of_classes, of a classifier's columns: one stands for two classes, of which the second may be named alone."""
    if columns == 1 and asked is not None and len(asked) == 1:
        asked = [f"not {asked[0]}", asked[0]]
    return of_classes(asked, max(columns, 2), what, usual)


def of_columns(
    asked: Sequence[str] | None, columns: int, none: int | None, what: str, usual: Sequence[str] | None = None
) -> list[str]:
    """Names for the columns of a detector; column `none` (-1 is the last) stands for no object, and may go without.

    Names not asked for are the usual ones, or the columns' numbers. Raises ConfigError where they do not fit.
    """
    at = None if none is None else none % columns
    named = list(asked if asked is not None else usual or [f"class {i}" for i in range(columns) if i != at])
    if at is None or len(named) == columns:
        fit(named, columns, what)
        return named
    fit(named, columns - 1, what)
    return [*named[:at], BACKGROUND, *named[at:]]


def choose(names: str | Path | Sequence[str] | None, dataset: str | None) -> list[str] | None:
    """The names that the user asked for: a list, a file's, else a dataset's, else None. Raises ConfigError."""
    if isinstance(names, (list, tuple)):
        return [str(n) for n in names]
    if isinstance(names, (str, Path)):
        return read_names(names)
    if dataset is None:
        return None
    if dataset not in DATASETS:
        raise ConfigError(f"--dataset {dataset!r} is not one of {', '.join(DATASETS)}")
    return DATASETS[dataset]()


def fit(names: Sequence[str], count: int, what: str) -> None:
    """Raises ConfigError unless there are as many names as classes; `what` says where the names come from."""
    if len(names) != count:
        raise ConfigError(f"{what}: {len(names)} class names, but the network has {count} classes")
