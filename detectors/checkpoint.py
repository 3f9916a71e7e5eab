"""Checkpoints: a file becomes a dict of tensors, a dict of tensors fills a network; no code is ever run."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections import OrderedDict
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from igos.types import WeightsError

DRAWS = (  # what torchvision's networks draw their weights by
    *(Tensor.uniform_, Tensor.normal_),
    *(nn.init.uniform_, nn.init.normal_, nn.init.trunc_normal_),
    *(nn.init.kaiming_uniform_, nn.init.kaiming_normal_, nn.init.xavier_uniform_, nn.init.xavier_normal_),
)
WRAPPERS = ("state_dict", "model")
PARALLEL = "module."  # what nn.DataParallel puts before every key


class Undrawn(TorchFunctionMode):
    """Networks built inside draw no random weights, which takes seconds: `load_into` fills every number of them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in DRAWS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def load_state_dict(path: str | Path) -> dict[str, Tensor]:
    """A .safetensors file, or what torch.save wrote -> name -> tensor, on the CPU.

    Half precision becomes float32; a dict under the key "state_dict" or "model" is taken out; a "module."
    before all names is cut off. Raises WeightsError for a file that is missing, damaged or not a dict of
    tensors (a whole pickled module, a TorchScript archive, an optimiser's state).
    """
    if not Path(path).is_file():
        raise WeightsError(f"{path}: no such file")
    if Path(path).suffix == ".npz":
        raise WeightsError(f"{path}: arrays without names; vgg16-caffe alone is read from such a file")
    try:
        if Path(path).suffix == ".safetensors":
            found: Any = load_file(path, device="cpu")
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what torch has to warn of, the refusal below says
                check_stored(path)
                found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can make the readers raise nearly anything
        raise WeightsError(f"{path}: {_reason(error)}") from None
    for key in WRAPPERS:
        if isinstance(found, dict) and _is_tensor_dict(found.get(key)):
            found = found[key]
            break
    if not _is_tensor_dict(found):
        raise WeightsError(f"{path}: not a dict of tensors; save the weights with torch.save(model.state_dict(), ...)")
    for name, value in found.items():
        if not _is_whole(value):
            what = f"{str(value.layout).removeprefix('torch.')} {str(value.dtype).removeprefix('torch.')}"
            raise WeightsError(f"{path}: {name} {_size(value)} ({what}) does not hold all of its numbers, plain ones")
    return _tidy(found)


def load_into(module: nn.Module, state: dict[str, Tensor], path: str | Path) -> None:
    """Fill the module, every name and shape matching; a WeightsError names the first that do not.

    A module on the meta device gets its storage only when they match.
    """
    state = _with_versions(state, module)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # into a network without storage this only compares names and shapes
            module.load_state_dict(state)
        if any(p.is_meta for p in module.parameters()):
            with_storage(module).load_state_dict(state)
        return check_finite(module, path)
    except RuntimeError as error:
        first = str(error)
    own = module.state_dict()
    shapes = [k for k, v in state.items() if k in own and own[k].shape != v.shape]
    rest = _with_versions(OrderedDict((k, v) for k, v in state.items() if k not in shapes), module, like=state)
    try:
        missing, unexpected = module.load_state_dict(rest, strict=False)
    except RuntimeError:  # a module that renames what it takes for an older file can make misfits of its own
        missing, unexpected, shapes = [], [], []
    faults = {
        "missing": [k for k in missing if k not in shapes],
        "unexpected": list(unexpected),
        "of another shape": [f"{k} {_size(state[k])} for {_size(own[k])}" for k in shapes],
    }
    details = [f"{len(keys)} {kind} ({keys[0]}{', ...' * (len(keys) > 1)})" for kind, keys in faults.items() if keys]
    where = f"{path}: does not fit {type(module).__name__}"
    raise WeightsError(f"{where}: {'; '.join(details) or _one_line(first)}")


def with_storage(module: nn.Module) -> nn.Module:
    """The module, built on the meta device, with storage on the CPU. Not to_empty, whose empty_like of a tensor on meta
    imports sympy: a second.
    """
    return module._apply(lambda t: torch.empty(t.shape, dtype=t.dtype) if t.is_meta else t)


def check_finite(module: nn.Module, where: str | Path) -> None:
    """Raises WeightsError, naming the first tensor of the module that holds nan or infinite numbers."""
    for name, values in module.state_dict().items():
        if not isinstance(values, Tensor) or not values.is_floating_point() or bool(values.sum().isfinite()):
            continue  # the sum, the quicker test, is finite only where each of them is
        if not bool(values.isfinite().all()):
            raise WeightsError(f"{where}: {name} holds numbers that are not finite (nan or inf); nothing can be scored")


def download(weights: Any, name: str) -> dict[str, Tensor]:
    """The state dict of a member of a torchvision WeightsEnum, from torch's cache or the network.

    The hash is checked. Raises WeightsError without network and for a file that is not the right one.
    """
    try:
        found = weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (OSError, HTTPException, RuntimeError) as error:
        raise WeightsError(
            f"--pretrained: {name} cannot be downloaded from {weights.url} ({_one_line(str(error))}); "
            "download it elsewhere and pass --model_file PATH"
        ) from None
    return _tidy(found)


def _tidy(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """No half precision, no "module."; the versions that nn.Module keeps beside the names stay."""
    cut = len(PARALLEL) if all(k.startswith(PARALLEL) for k in found) else 0
    state = OrderedDict((k[cut:], _widen(v)) for k, v in found.items())
    versions = getattr(found, "_metadata", None)
    if isinstance(versions, dict):
        kept = {k: v for k, v in versions.items() if isinstance(k, str) and isinstance(v, dict)}
        root = PARALLEL.rstrip(".")
        if cut:
            kept = {k[cut:]: v for k, v in kept.items() if k == root or k.startswith(PARALLEL)}
        state._metadata = kept  # type: ignore[attr-defined]
    return state


def _with_versions(state: dict[str, Tensor], module: nn.Module, like: Any = None) -> dict[str, Tensor]:
    """A copy with the versions of `like`; where none is known the module itself counts as up to date.

    safetensors files carry none, and torchvision's MNASNet refuses to load without.
    """
    copy = OrderedDict(state)
    versions = dict(getattr(state if like is None else like, "_metadata", None) or {})
    versions.setdefault("", {"version": module._version})
    copy._metadata = versions  # type: ignore[attr-defined]
    return copy


def _is_tensor_dict(found: Any) -> bool:
    return (
        isinstance(found, dict)
        and len(found) > 0
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in found.items())
    )


def check_stored(path: str | Path) -> None:
    """torch.save packs nothing: an archive that unpacks to more than its own size is no checkpoint but a bomb."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = sum(info.file_size for info in archive.infolist())
        if size > Path(path).stat().st_size + 2**20:  # what is packed is a TorchScript's code, refused by its name
            raise ValueError(f"it unpacks to {size} bytes, more than the file has")


def _is_whole(value: Tensor) -> bool:
    """A dense tensor of plain numbers that has storage for each of them, and is not one number in the guise of many."""
    if value.layout != torch.strided or value.is_quantized or value.is_complex() or value.device.type != "cpu":
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def _widen(value: Tensor) -> Tensor:
    value = value.detach()
    return value.float() if value.is_floating_point() and value.element_size() < 4 else value


def _reason(error: Exception) -> str:
    text = str(error)
    code = re.search(r"GLOBAL (\S+)", text)
    if code or "TorchScript" in text:
        what = f"Python objects ({code[1]})" if code else "a TorchScript program"
        return f"holds {what} in place of tensors; save the weights with torch.save(model.state_dict(), ...)"
    return f"damaged or not a checkpoint ({type(error).__name__}: {_one_line(text)})"


def _one_line(text: str, limit: int = 120) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[:limit] + "..."


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
