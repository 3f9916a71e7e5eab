"""Class names: of the datasets that torchvision's weights were trained on, and from a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from torchvision.models import ResNet50_Weights
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights
from torchvision.models.segmentation import FCN_ResNet50_Weights

from igos.base.reading import read_text
from igos.data.emblems import CLASSES
from igos.types import ConfigError

BACKGROUND = "__background__"
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
    """One class name per line, or ImageNet's 'n01440764 tench, Tinca tinca' -> 'tench, Tinca tinca'.

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
    return lines


def choose(names: str | Path | None, dataset: str | None) -> list[str] | None:
    """The names that the user asked for: a file's, else a dataset's, else None. Raises ConfigError."""
    if names is not None:
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
