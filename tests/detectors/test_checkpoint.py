"""Checkpoints: every shape of file that holds tensors is read, everything else is one line, no code runs."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, mnasnet0_5, squeezenet1_1
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from detectors.checkpoint import Undrawn, download, load_into, load_state_dict
from detectors.classifier import load_classifier
from igos.types import WeightsError


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


def refused(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        load_state_dict(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message and len(message) < 300 + len(str(path))
    return message


@pytest.mark.parametrize(
    ("suffix", "wrapper"),
    [(".pth", None), (".pth", "state_dict"), (".pth", "model"), (".pt", None), (".safetensors", None)],
)
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_reads(tmp_path: Path, suffix: str, wrapper: str | None, prefix: str, dtype: torch.dtype) -> None:
    state = {prefix + k: v.to(dtype) if v.is_floating_point() else v for k, v in network().state_dict().items()}
    path = tmp_path / f"a{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state if wrapper is None else {"epoch": 3, wrapper: state, "lr": [0.1]}, path)
    found = load_state_dict(path)
    assert set(found) == set(network().state_dict())
    for key, value in found.items():
        assert torch.equal(value, state[prefix + key].to(value.dtype))
        assert value.dtype == (torch.int64 if key.endswith("tracked") else torch.float32)
    load_into(network(), found, path)


def test_a_mixed_prefix_and_a_legacy_file_and_parameters(tmp_path: Path) -> None:
    state = {"module.a": nn.Parameter(torch.ones(2)), "b": torch.ones(1, dtype=torch.float64)}
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    found = load_state_dict(tmp_path / "old.pth")
    assert list(found) == ["module.a", "b"] and found["b"].dtype == torch.float64
    assert not any(v.requires_grad for v in found.values())


class Trap:
    """Unpickling it would make a folder."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("what", ["trap", "trap inside", "module", "module inside"])
def test_code_is_never_run(tmp_path: Path, what: str, new: bool) -> None:
    path, sprung = tmp_path / "a.pth", tmp_path / "sprung"
    trap = Trap(sprung)
    held = {"trap": trap, "trap inside": {"a": torch.ones(1), "b": trap}, "module": network()}
    held["module inside"] = {"model": network()}
    torch.save(held[what], path, _use_new_zipfile_serialization=new)
    assert "holds Python objects (" in refused(path)
    assert not sprung.exists()


@pytest.mark.filterwarnings("ignore:.*torch.jit:Warning")
def test_a_torchscript_program_is_refused(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    path = tmp_path / "a.pth"
    torch.jit.save(torch.jit.trace(nn.ReLU(), torch.ones(1)), str(path))
    recwarn.clear()
    assert "holds a TorchScript program" in refused(path)
    assert len(recwarn) == 0


@pytest.mark.parametrize(
    "held",
    [
        {},
        [torch.ones(2)],
        torch.ones(2),
        {"a": 1.0},
        {0: torch.ones(1)},
        {"model": {"lr": 0.1}},
        lambda: torch.optim.Adam(network().parameters()).state_dict(),  # made in the test: it imports torch's compiler
    ],
    ids=["empty", "list", "tensor", "number", "numbered", "nested", "optimiser"],
)
def test_other_things_are_refused(tmp_path: Path, held: Any) -> None:
    torch.save(held() if callable(held) else held, tmp_path / "a.pth")
    assert "not a dict of tensors" in refused(tmp_path / "a.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello, I am no checkpoint\n", bytes(100), b"PK\x03\x04" + bytes(60)])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    assert "damaged or not a checkpoint" in refused(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_cut_file_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".pth":
        torch.save(network().state_dict(), path)
    else:
        save_file(network().state_dict(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert "damaged or not a checkpoint" in refused(path)


def test_missing_files_are_refused(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "nothing.pth")
    assert "no such file" in refused(tmp_path)


def mismatch(change: dict[str, Tensor | None]) -> str:
    state = {**network().state_dict(), **change}
    with pytest.raises(WeightsError) as caught:
        load_into(network(), {k: v for k, v in state.items() if v is not None}, "a.pth")
    message = str(caught.value)
    assert message.startswith("a.pth: does not fit Sequential: ") and "\n" not in message
    return message.removeprefix("a.pth: does not fit Sequential: ")


def test_mismatches_are_named_and_counted() -> None:
    assert mismatch({"0.weight": None}) == "1 missing (0.weight)"
    assert mismatch({"0.weight": None, "2.bias": None}) == "2 missing (0.weight, ...)"
    assert mismatch({"head.weight": torch.ones(1)}) == "1 unexpected (head.weight)"
    assert mismatch({"2.bias": torch.ones(5)}) == "1 of another shape (2.bias 5 for 2)"
    every = {"0.weight": None, "head": torch.ones(1), "2.bias": torch.ones(5), "0.bias": torch.tensor(1.0)}
    assert mismatch(every) == (
        "1 missing (0.weight); 1 unexpected (head); 2 of another shape (0.bias scalar for 4, ...)"
    )


def test_load_into_fills_and_leaves_the_state_alone() -> None:
    state = {k: v + 1 for k, v in network().state_dict().items()}
    before = {k: v.clone() for k, v in state.items()}
    module = network()
    load_into(module, state, "a.pth")
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert list(state) == list(before) and not hasattr(state, "_metadata")


class Versioned(nn.Module):
    """Remembers which version its weights were saved with."""

    _version = 7

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.seen: int | None = None

    def _load_from_state_dict(self, state: Any, prefix: str, metadata: dict[str, Any], *rest: Any) -> None:
        self.seen = metadata.get("version")
        super()._load_from_state_dict(state, prefix, metadata, *rest)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_versions_travel_with_the_weights(tmp_path: Path, prefix: str) -> None:
    state = OrderedDict({prefix + "0.weight": torch.zeros(1)})
    state._metadata = {  # type: ignore[attr-defined]
        "": {"version": 1},
        "module": {"version": 1},
        (prefix + "0"): {"version": 3},
    }
    torch.save(state, tmp_path / "a.pth")
    module = nn.Sequential(Versioned())
    load_into(module, load_state_dict(tmp_path / "a.pth"), "a.pth")
    assert module[0].seen == 3  # type: ignore[union-attr]


def test_without_versions_the_network_counts_as_up_to_date(tmp_path: Path) -> None:
    module = Versioned()
    load_into(module, {"weight": torch.zeros(1)}, "a.pth")
    assert module.seen == 7
    save_file(mnasnet0_5(weights=None).state_dict(), tmp_path / "a.safetensors")
    load_into(mnasnet0_5(weights=None), load_state_dict(tmp_path / "a.safetensors"), "a.safetensors")


def test_a_network_that_a_file_fills_draws_no_random_weights(tmp_path: Path) -> None:
    drawn = squeezenet1_1(weights=None, num_classes=3)
    torch.save(drawn.state_dict(), tmp_path / "a.pth")
    before = torch.get_rng_state()
    load_classifier("squeezenet1_1", tmp_path / "a.pth")
    assert torch.equal(torch.get_rng_state(), before)
    with Undrawn():
        made = squeezenet1_1(weights=None, num_classes=3)
    load_into(made, drawn.state_dict(), "a.pth")
    assert all(torch.equal(v, drawn.state_dict()[k]) for k, v in made.state_dict().items())


@pytest.mark.parametrize("weights", [ResNet18_Weights.IMAGENET1K_V1, FasterRCNN_ResNet50_FPN_Weights.COCO_V1])
def test_download(weights: Any) -> None:
    with mock.patch.object(type(weights), "get_state_dict", return_value={"module.a": torch.ones(1).half()}) as get:
        found = download(weights, "resnet18")
    assert found["a"].dtype == torch.float32
    assert get.call_args.kwargs == {"progress": True, "check_hash": True, "weights_only": True}


@pytest.mark.parametrize("error", [URLError("no route\nto host"), OSError("disk full"), RuntimeError("invalid hash")])
def test_download_says_what_to_do_instead(error: Exception) -> None:
    with (
        mock.patch.object(ResNet18_Weights, "get_state_dict", side_effect=error),
        pytest.raises(WeightsError, match="pass --model_file PATH") as caught,
    ):
        download(ResNet18_Weights.IMAGENET1K_V1, "resnet18")
    assert "\n" not in str(caught.value) and "resnet18" in str(caught.value)
