"""The ids that class names have elsewhere: in COCO, or in a list of a user's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from igos.data.truth import same_class


def coco_ids() -> dict[str, int]:
    """The category ids of COCO's 80 classes by name: they run to 90 and have gaps."""
    from igos.base.vision import torchvision

    every = torchvision.models.detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    return {name: i for i, name in enumerate(every) if i and name != "N/A"}


def ids_of(names: Sequence[str], known: Mapping[str, int]) -> dict[str, tuple[str, int]] | None:
    """Of each class name the spelling and the id that `known`, ids by name, has for it; None where it lacks one."""
    found: dict[str, tuple[str, int]] = {}
    for name in names:
        alike = name if name in known else next((k for k in known if same_class(k, name)), None)
        if alike is None:
            return None
        found[name] = alike, known[alike]
    return found
