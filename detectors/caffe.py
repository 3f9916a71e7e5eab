"""VGG16 as Caffe had it, the network of the published patterns (Kindermans et al. 2018): BGR pictures of 225 px,
squeezed whatever their aspect, 0..255 less the mean colour.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import PIL.Image
import torch
from torch import Tensor, nn
from torchvision.models import vgg16
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF

from detectors import labels as names_of
from detectors.checkpoint import Undrawn, load_into, load_state_dict
from detectors.classifier import ClassifierAdapter
from detectors.pictures import read_rgb
from igos.base.geometry import Geometry
from igos.base.untrusted import load_npz
from igos.types import ConfigError, Image, WeightsError

SIDE, LEAST = 225, 32  # px; https://github.com/DFKI-NLP/pgig resizes to 225, five poolings halve what is there
MEAN_BGR = (103.939, 116.779, 123.68)  # of 0..255


def read_squeezed(source: Any, side: int, interpolation: InterpolationMode) -> Image:
    """Squeezed to side x side, its aspect ignored. Raises ImageError."""
    rgb, path = read_rgb(source)
    h, w = rgb.shape[:2]
    picture = TF.resize(PIL.Image.fromarray(rgb), [side, side], interpolation=interpolation)
    return Image(
        TF.pil_to_tensor(picture).float() / 255, Geometry((h, w), (side, side), (side / h, side / w)), rgb, path
    )


class CaffeAdapter(ClassifierAdapter):
    """A network of BGR pictures side x side, 0..255 less MEAN_BGR; the pixels of an Image stay RGB in [0,1]."""

    def __init__(
        self,
        module: nn.Module,
        labels: list[str],
        *,
        name: str = "caffe",
        side: int = SIDE,
        device: str | torch.device | None = None,
        activation: str | None = None,
    ) -> None:
        mean, std = [m / 255 for m in MEAN_BGR], [1 / 255] * 3
        super().__init__(
            module,
            labels,
            name=name,
            crop=side,
            resize=side,
            mean=mean,
            std=std,
            device=device,
            activation=activation,
        )

    @property
    def reader(self) -> Callable[[Any], Image]:
        return partial(read_squeezed, side=self.crop, interpolation=self.interpolation)

    def _normalised(self, pictures: Tensor) -> Tensor:
        return super()._normalised(pictures.flip(1))


def load_caffe(
    name: str,
    weights: str | Path | None = None,
    device: str | torch.device | None = None,
    *,
    names: str | Path | None = None,
    dataset: str | None = None,
    input_size: int | None = None,
    activation: str | None = None,
) -> CaffeAdapter:
    """VGG16 from an .npz of the 32 arrays arr_0 .. arr_31, weight and bias of each layer in turn, the weights of dense
    layers (inputs, outputs); or from a state dict with torchvision's names. Raises ConfigError and WeightsError.
    """
    if weights is None:
        raise WeightsError(f"--model {name} needs --model_file PATH, an .npz of 32 arrays or a state dict")
    if input_size is not None and input_size < LEAST:
        raise ConfigError(f"--input_size {input_size}: {name} needs pictures of at least {LEAST} px")
    asked = names_of.choose(names, dataset)
    with torch.device("meta"), Undrawn():
        parameters = [n for n, _ in network(1000).named_parameters()]
    state = _arrays(weights, parameters) if Path(weights).suffix == ".npz" else load_state_dict(weights)
    classes = state.get(parameters[-1], torch.empty(1000)).numel()
    with Undrawn():
        module = network(classes)
    load_into(module, state, weights)
    usual = names_of.imagenet() if classes == 1000 else None
    labels = names_of.of_classifier(asked, classes, str(names or dataset or name), usual)
    return CaffeAdapter(module, labels, name=name, side=input_size or SIDE, device=device, activation=activation)


def network(classes: int) -> nn.Module:
    return vgg16(weights=None, init_weights=False, num_classes=classes)


def _arrays(path: str | Path, parameters: list[str]) -> dict[str, Tensor]:
    if not Path(path).is_file():
        raise WeightsError(f"{path}: no such file")
    try:
        found = {key: torch.from_numpy(a).float() for key, a in load_npz(path).items()}
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"{path}: damaged or not arrays ({' '.join(str(error).split())})") from None
    keys = [f"arr_{i}" for i in range(len(parameters))]
    if set(found) != set(keys):
        odd = next((k for k in found if k not in keys), None) or f"no {next(k for k in keys if k not in found)}"
        raise WeightsError(
            f"{path}: {len(found)} arrays ({odd}) in place of {keys[0]} .. {keys[-1]}, weight and bias of each layer"
        )
    return {n: found[k].T if found[k].ndim == 2 else found[k] for n, k in zip(parameters, keys, strict=True)}
