"""Darknet networks against plain loops: every layer, every refusal, every byte of a checkpoint."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from detectors.checkpoint import load_into, load_state_dict
from detectors.darknet import BATCH_NORM_EPS, Darknet, DarknetMaxPool, parse_cfg
from igos.base import resources
from igos.types import ConfigError, WeightsError

HEAD = "[convolutional]\nfilters=6\nsize=1\nactivation=linear\n[yolo]\nmask=0\nanchors=10,14\nclasses=1\n"
SMALL = (
    "[net]\nwidth=32\nheight=32\nchannels=3\n"
    "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[convolutional]\nfilters=4\nsize=3\npad=1\ngroups=2\nactivation=mish\n"
    "[shortcut]\nfrom=-2\nactivation=relu\n"
    "[maxpool]\nsize=3\nstride=1\n"
    "[route]\nlayers=-1,0\ngroups=2\ngroup_id=1\n"
    "[maxpool]\nsize=2\nstride=2\n"
    "[dropout]\nprobability=.5\n"
    "[convolutional]\nfilters=4\nsize=1\nactivation=swish\n"
    "[upsample]\nstride=2\n" + HEAD
)
Build = Callable[..., Darknet]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """The text of a cfg, [net] may be left out -> a network in double precision with lively numbers in it."""

    def make(text: str, eps: float = BATCH_NORM_EPS) -> Darknet:
        path = tmp_path / "net.cfg"
        path.write_text(text if text.startswith("[net]") else "[net]\n" + text)
        torch.manual_seed(0)
        network = Darknet(parse_cfg(path), path, eps).double().eval()
        return enliven(network)

    return make


def enliven(network: Darknet) -> Darknet:
    with torch.no_grad():
        for name, values in network.state_dict().items():
            if name.endswith(("BatchNorm2d.weight", "running_var")):
                values.copy_(torch.rand_like(values) + 0.5)
            elif name.endswith(("BatchNorm2d.bias", "running_mean")):
                values.copy_(torch.randn_like(values))
    return network


def picture(n: int = 2, size: tuple[int, int] = (8, 12)) -> Tensor:
    return torch.rand(n, 3, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def last_map(network: Darknet, x: Tensor, size: tuple[int, int]) -> np.ndarray:
    """What reaches the only [yolo] of one anchor, (N,C,h,w)."""
    with torch.no_grad():
        return network(x).transpose(1, 2).reshape(len(x), -1, *size).numpy()


def numbers(values: Tensor) -> np.ndarray:
    return values.detach().numpy()


def one_by_one(block: Any, x: np.ndarray) -> np.ndarray:
    """A convolution of size 1 with bias and without activation."""
    return conv_loop(x, numbers(block.Conv2d.weight)) + numbers(block.Conv2d.bias)[:, None, None]


def conv_loop(
    x: np.ndarray, w: np.ndarray, stride: int = 1, pad: int = 0, groups: int = 1, dilation: int = 1
) -> np.ndarray:
    """Convolution as its definition reads, one output number at a time."""
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    n, out, k = len(x), len(w), w.shape[2]
    reach = (k - 1) * dilation + 1
    height, width = ((side - reach) // stride + 1 for side in x.shape[2:])
    per_in, per_out = w.shape[1], out // groups
    y = np.zeros((n, out, height, width))
    for o in range(out):
        first = o // per_out * per_in
        for i in range(height):
            for j in range(width):
                top, left = i * stride, j * stride
                patch = x[:, first : first + per_in, top : top + reach, left : left + reach]
                y[:, o, i, j] = (patch[:, :, ::dilation, ::dilation] * w[o]).sum(axis=(1, 2, 3))
    return y


def pool_loop(x: np.ndarray, size: int, stride: int, padding: int) -> np.ndarray:
    """Darknet's: (h + padding - size) / stride + 1 cells, the window starting padding / 2 cells before."""
    n, c, h, w = x.shape
    y = np.zeros((n, c, (h + padding - size) // stride + 1, (w + padding - size) // stride + 1))
    for i in range(y.shape[2]):
        for j in range(y.shape[3]):
            top, left = i * stride - padding // 2, j * stride - padding // 2
            window = x[:, :, max(top, 0) : top + size, max(left, 0) : left + size]
            y[:, :, i, j] = window.max(axis=(2, 3))
    return y


NONLINEAR: dict[str, Callable[[Any], Any]] = {
    "linear": lambda x: x,
    "leaky": lambda x: np.where(x > 0, x, 0.1 * x),
    "relu": lambda x: np.maximum(x, 0),
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "swish": lambda x: x / (1 + np.exp(-x)),
}


def outputs(network: Darknet, x: Tensor, count: int) -> list[np.ndarray]:
    """The chain of the first convolutions, by loops: what each leaves behind."""
    y, seen = x.numpy(), []
    for layer, block in zip(network.layers[:count], network._blocks()[:count], strict=True):
        size, dilation = layer.get("size", 1), layer.get("dilation", 1)
        pad = (size // 2 if layer.get("pad") else layer.get("padding", 0)) * dilation
        conv, norm = block.Conv2d, getattr(block, "BatchNorm2d", None)
        y = conv_loop(y, numbers(conv.weight), layer.get("stride", 1), pad, layer.get("groups", 1), dilation)
        if norm is None:
            y = y + numbers(conv.bias)[:, None, None]
        else:
            gamma, beta, mean, var = (
                numbers(v)[:, None, None] for v in (norm.weight, norm.bias, norm.running_mean, norm.running_var)
            )
            y = gamma * (y - mean) / np.sqrt(var + norm.eps) + beta
        y = NONLINEAR[layer.get("activation", "logistic")](y)
        seen.append(y)
    return seen


# --- the layers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        "size=3\npad=1",
        "size=3\npad=1\nstride=2",
        "size=5\npad=1",
        "size=2\nstride=2",
        "size=1\nstride=1\npad=1",
        "size=3\npad=1\ndilation=2",
        "size=3\npadding=1",
        "size=3\npadding=1\ndilation=2",
        "size=1\nstride=4",
    ],
)
@pytest.mark.parametrize("norm", [0, 1])
def test_convolution(build: Build, options: str, norm: int) -> None:
    text = f"[convolutional]\nbatch_normalize={norm}\nfilters=4\nactivation=leaky\n{options}\n"
    network = build(text + HEAD)
    x, stride = picture(), network.stride
    got = last_map(network, x, (8 // stride, 12 // stride))
    np.testing.assert_allclose(got, outputs(network, x, 2)[-1], rtol=0, atol=1e-12)


def test_convolution_with_groups_and_depthwise(build: Build) -> None:
    text = (
        "[convolutional]\nfilters=6\nsize=3\npad=1\ngroups=3\nactivation=linear\n"
        "[convolutional]\nfilters=6\nsize=3\npad=1\ngroups=6\nactivation=linear\n"
        "[convolutional]\nfilters=4\nsize=3\npad=1\ngroups=2\nactivation=linear\n"
    )
    network, x = build(text + HEAD), picture()
    shapes = [tuple(block.Conv2d.weight.shape[:2]) for block in network._blocks()]
    assert shapes == [(6, 1), (6, 1), (4, 3), (6, 4)]
    np.testing.assert_allclose(last_map(network, x, (8, 12)), outputs(network, x, 4)[-1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NONLINEAR)
@pytest.mark.parametrize("norm", [0, 1])
def test_activation(build: Build, name: str, norm: int) -> None:
    text = f"[convolutional]\nbatch_normalize={norm}\nfilters=4\nsize=1\nactivation={name}\n"
    network, x = build(text + HEAD), 20 * picture() - 10
    np.testing.assert_allclose(last_map(network, x, (8, 12)), outputs(network, x, 2)[-1], rtol=0, atol=1e-10)


def test_a_convolution_without_activation_is_logistic_as_in_darknet(build: Build) -> None:
    network, x = build("[convolutional]\nfilters=4\nsize=1\n" + HEAD), picture()
    np.testing.assert_allclose(last_map(network, x, (8, 12)), outputs(network, x, 2)[-1], rtol=0, atol=1e-12)


def test_folding_batch_norm_changes_no_number_and_leaves_no_norm(build: Build) -> None:
    network, x = build(SMALL), picture(size=(16, 24))
    with torch.no_grad():
        before = network(x)
        after = network.fold()(x)
    assert BATCH_NORM_EPS == 1e-5  # Darknet's .00001f
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert torch.allclose(before, after, rtol=0, atol=1e-12)
    assert [name for name, _ in network.module_list[0].named_children()] == ["Conv2d", "activation"]


CHAIN = "".join(
    f"[convolutional]\nfilters=4\nsize=3\npad=1\nactivation={name}\n" for name in ("linear", "leaky", "swish")
)


@pytest.mark.parametrize(
    ("layer", "combine"),
    [
        ("[shortcut]\nfrom=-3\nactivation=linear", lambda a, b, c: a + c),
        ("[shortcut]\nfrom=0", lambda a, b, c: a + c),
        ("[shortcut]\nfrom=-2\nactivation=leaky", lambda a, b, c: NONLINEAR["leaky"](b + c)),
        ("[shortcut]\nfrom=-2,0\nactivation=relu", lambda a, b, c: np.maximum(a + b + c, 0)),
        ("[route]\nlayers=-1", lambda a, b, c: c),
        ("[route]\nlayers = -3", lambda a, b, c: a),
        ("[route]\nlayers=1", lambda a, b, c: b),
        ("[route]\nlayers=-1, 0", lambda a, b, c: np.concatenate([c, a], axis=1)),
        ("[route]\nlayers=0,-1,-2", lambda a, b, c: np.concatenate([a, c, b], axis=1)),
        ("[route]\nlayers=-1\ngroups=2\ngroup_id=0", lambda a, b, c: c[:, :2]),
        ("[route]\nlayers=-1\ngroups=2\ngroup_id=1", lambda a, b, c: c[:, 2:]),
        ("[route]\nlayers=1\ngroups=4\ngroup_id=2", lambda a, b, c: b[:, 2:3]),
        (
            "[route]\nlayers=-1,0\ngroups=2\ngroup_id=1",
            lambda a, b, c: np.concatenate([c[:, 2:], a[:, 2:]], axis=1),
        ),
        ("[dropout]\nprobability=.9", lambda a, b, c: c),
        ("[upsample]\nstride=1", lambda a, b, c: c),
        ("[maxpool]\nsize=2\nstride=1", lambda a, b, c: pool_loop(c, 2, 1, 1)),
    ],
)
def test_joining_layers(build: Build, layer: str, combine: Callable[..., np.ndarray]) -> None:
    network, x = build(CHAIN + layer + "\n" + HEAD), picture()
    expected = combine(*outputs(network, x, 3))
    expected = one_by_one(network.module_list[4], expected)
    np.testing.assert_allclose(last_map(network, x, (8, 12)), expected, rtol=0, atol=1e-12)


def test_upsampling_repeats_pixels(build: Build) -> None:
    text = "[convolutional]\nfilters=4\nsize=3\nstride=4\npad=1\nactivation=linear\n[upsample]\nstride=2\n"
    network, x = build(text + HEAD), picture()
    assert network.stride == 4 and network.layers[-1]["stride"] == 2
    big = outputs(network, x, 1)[0].repeat(2, axis=2).repeat(2, axis=3)
    expected = one_by_one(network.module_list[2], big)
    np.testing.assert_allclose(last_map(network, x, (4, 6)), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("size", "stride", "padding"),
    [
        (1, 1, 0),
        (2, 1, 1),
        (2, 2, 1),
        (2, 2, 0),
        (3, 1, 2),
        (3, 2, 2),
        (4, 2, 3),
        (5, 1, 4),
        (9, 1, 8),
        (13, 1, 12),
    ],
)
@pytest.mark.parametrize("sides", [(8, 12), (5, 7)])
def test_max_pooling_pads_as_darknet(size: int, stride: int, padding: int, sides: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *sides, generator=torch.Generator().manual_seed(0)) - 5  # all far below a zero padding
    got = DarknetMaxPool(size, stride, padding)(x).numpy()
    np.testing.assert_array_equal(got, pool_loop(x.numpy(), size, stride, padding))


@pytest.mark.parametrize(("options", "padding"), [("stride=2", 1), ("size=2\nstride=2\npadding=0", 0), ("size=5", 4)])
def test_max_pooling_options(build: Build, options: str, padding: int) -> None:
    pool = build(f"[maxpool]\n{options}\n{HEAD}").module_list[0]
    assert isinstance(pool, DarknetMaxPool) and pool.before + pool.after == padding


def test_spatial_pyramid_pooling(build: Build) -> None:
    text = CHAIN + "[maxpool]\nstride=1\nsize=5\n[route]\nlayers=-2\n[maxpool]\nstride=1\nsize=9\n"
    text += "[route]\nlayers=-4\n[maxpool]\nstride=1\nsize=13\n[route]\nlayers=-1,-3,-5,-6\n"
    network, x = build(text + HEAD), picture()
    last = outputs(network, x, 3)[2]
    stack = np.concatenate([pool_loop(last, k, 1, k - 1) for k in (13, 9, 5)] + [last], axis=1)
    expected = one_by_one(network.module_list[-2], stack)
    np.testing.assert_allclose(last_map(network, x, (8, 12)), expected, rtol=0, atol=1e-12)


def test_gradients_are_right_through_every_layer(build: Build) -> None:
    """In-place activations must not spoil what backward needs."""
    network = build(SMALL)
    network.requires_grad_(False)
    x = picture(1, (4, 4)).requires_grad_(True)
    assert torch.autograd.gradcheck(network, (x,), fast_mode=True)


def test_the_picture_is_left_as_it_was(build: Build) -> None:
    network, x = build(SMALL), picture(size=(8, 8))
    before = x.clone()
    with torch.no_grad():
        assert torch.equal(network(x), network(x))
    assert torch.equal(x, before)


# --- decoding -----------------------------------------------------------------------------------------

TWO_HEADS = (
    "[convolutional]\nfilters=5\nsize=3\nstride=4\npad=1\nactivation=leaky\n"
    "[convolutional]\nfilters=16\nsize=1\nactivation=linear\n"
    "[yolo]\nmask = 2,0\nanchors = 10,14,  23,27, 37.5,58\nclasses=3\nnum=3\n{first}\n"
    "[route]\nlayers=0\n"
    "[upsample]\nstride=2\n"
    "[convolutional]\nfilters=8\nsize=1\nactivation=linear\n"
    "[yolo]\nmask=1\nanchors=10,14, 23,27, 37.5,58\nclasses=3\nnum=3\n{second}\n"
)


@pytest.mark.parametrize(("first", "second"), [(1.0, 1.0), (1.05, 1.2), (2.0, 1.0)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_decoding_against_a_loop(build: Build, first: float, second: float, layout: torch.memory_format) -> None:
    options = [f"scale_x_y={s}" if s != 1 else "" for s in (first, second)]
    network = build(TWO_HEADS.format(first=options[0], second=options[1]))
    x, (height, width) = 4 * picture(2, (16, 24)) - 2, (16, 24)
    with torch.no_grad():
        rows = network(x.contiguous(memory_format=layout))
        boxes = network.decode(rows, (height, width)).numpy()
    trunk = outputs(network, x, 1)[0]
    big = trunk.repeat(2, axis=2).repeat(2, axis=3)
    maps = [one_by_one(network.module_list[1], trunk), one_by_one(network.module_list[5], big)]
    anchors = [(10, 14), (23, 27), (37.5, 58)]
    expected_rows, expected_boxes = [], []
    for values, mask, stride, scale in ((maps[0], (2, 0), 4, first), (maps[1], (1,), 2, second)):
        for a, anchor in enumerate(mask):
            for i in range(height // stride):
                for j in range(width // stride):
                    t = values[:, a * 8 : (a + 1) * 8, i, j]
                    cx = (NONLINEAR["logistic"](t[:, 0]) * scale - 0.5 * (scale - 1) + j) * stride
                    cy = (NONLINEAR["logistic"](t[:, 1]) * scale - 0.5 * (scale - 1) + i) * stride
                    w, h = np.exp(t[:, 2]) * anchors[anchor][0], np.exp(t[:, 3]) * anchors[anchor][1]
                    expected_rows.append(t)
                    expected_boxes.append(np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], axis=1))
    np.testing.assert_allclose(rows.numpy(), np.stack(expected_rows, axis=1), rtol=0, atol=1e-12)
    np.testing.assert_allclose(boxes, np.stack(expected_boxes, axis=1), rtol=0, atol=1e-10)


def test_strides_and_heads_are_found(build: Build) -> None:
    network = build(TWO_HEADS.format(first="", second=""))
    assert (network.stride, network.heads, network.classes) == (4, [2, 6], 3)
    half = CHAIN + "[maxpool]\nstride=2\n" + HEAD + "[route]\nlayers=0\n[maxpool]\nstride=3\n" + HEAD
    network = build(half)
    assert network.stride == 6
    rows = network(picture(1, (6, 12)))
    assert rows.shape == (1, 3 * 6 + 2 * 4, 6) and network.decode(rows, (6, 12)).shape == (1, 26, 4)


# --- refusals -----------------------------------------------------------------------------------------


def refusal(build: Build, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        build(text)
    message = str(caught.value)
    assert "\n" not in message and "net.cfg" in message
    return message


UNKNOWN = ["region", "reorg", "reorg3d", "connected", "sam", "scale_channels", "Gaussian_yolo", "avgpool"]
UNKNOWN += ["local_avgpool", "softmax", "cost", "crop", "lstm", "batchnorm", "implicit", "detection"]
ODD = ["antialiasing", "xnor", "binary", "bin_output", "flipped", "sway", "rotate", "stretch", "coordconv"]


@pytest.mark.parametrize("kind", UNKNOWN)
def test_unknown_layers_are_refused_by_name(build: Build, kind: str) -> None:
    message = refusal(build, CHAIN + f"[{kind}]\nfrom=-1\nclasses=1\n" + HEAD)
    assert f"layer 3 [{kind.lower()}]" in message


@pytest.mark.parametrize(
    ("section", "option"),
    [
        *[("convolutional", f"{name}=1") for name in ODD],
        ("convolutional", "stride_x=2"),
        ("convolutional", "stride_y=2"),
        ("convolutional", "share_index=0"),
        ("maxpool", "maxpool_depth=1"),
        ("maxpool", "antialiasing=1"),
        ("maxpool", "stride_x=2"),
        ("upsample", "scale=2"),
        ("upsample", "scale=.5"),
        ("shortcut", "weights_type=per_feature"),
        ("shortcut", "weights_type=per_channel"),
        ("yolo", "new_coords=1"),
    ],
)
def test_options_that_change_the_network_are_refused_by_name(build: Build, section: str, option: str) -> None:
    first = "[convolutional]\nfilters=6\nsize=1\nstride=2\nactivation=linear\n"
    needs = {
        "convolutional": "filters=6\nsize=3\npad=1\nactivation=linear",
        "shortcut": "from=-1",
        "yolo": "mask=0\nanchors=1,2\nclasses=1",
    }
    base = f"{first}[{section}]\n{needs.get(section, 'stride=1')}\n"
    build(base + HEAD)
    message = refusal(build, base + option + "\n" + HEAD)
    assert f"layer 1 [{section}]" in message and option.split("=")[0] in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[convolutional]\nfilters=4\nsize=1\nactivation=hardtan\n" + HEAD, ("hardtan", "leaky", "layer 0")),
        ("[convolutional]\nfilters=4\nsize=1\nactivation=0\n" + HEAD, ("activation 0", "leaky")),
        (CHAIN + "[shortcut]\nfrom=-1\nactivation=gelu\n" + HEAD, ("gelu", "layer 3")),
        ("[convolutional]\nsize=1\nactivation=linear\n" + HEAD, ("filters", "layer 0")),
        ("[convolutional]\nfilters=0\nsize=1\n" + HEAD, ("filters=0",)),
        ("[convolutional]\nfilters=many\nsize=1\n" + HEAD, ("filters=many",)),
        ("[convolutional]\nfilters=4\nsize=1\nstride=0\n" + HEAD, ("stride=0",)),
        ("[convolutional]\nfilters=4\nsize=1\nstride=1.5\n" + HEAD, ("stride=1.5",)),
        ("[convolutional]\nfilters=4\nsize=1\ngroups=3\n" + HEAD, ("groups",)),
        ("[convolutional]\nfilters=4\nsize=3\n" + HEAD, ("layer 0", "size 3")),
        ("[convolutional]\nfilters=4\nsize=2\npad=1\n" + HEAD, ("layer 0", "size 2")),
        ("[maxpool]\nsize=3\nstride=1\npadding=0\n" + HEAD, ("layer 0", "size 3")),
        ("[maxpool]\nsize=0\n" + HEAD, ("size=0",)),
        ("[upsample]\nstride=2\n" + HEAD, ("layer 0", "beyond the picture")),
        (CHAIN + "[upsample]\nstride=-2\n" + HEAD, ("stride=-2",)),
        (CHAIN + "[route]\n" + HEAD, ("layer 3", "'layers'")),
        (CHAIN + "[route]\nlayers=\n" + HEAD, ("layer 3 [route]",)),
        (CHAIN + "[route]\nlayers=,\n" + HEAD, ("layer 3 [route]", "[]")),
        (CHAIN + "[route]\nlayers=3\n" + HEAD, ("layer 3", "[3]", "does not come before")),
        (CHAIN + "[route]\nlayers=-1,-4\n" + HEAD, ("[-1, -4]", "does not come before")),
        (CHAIN + "[route]\nlayers=99\n" + HEAD, ("[99]",)),
        (CHAIN + "[route]\nlayers=one\n" + HEAD, ("layer 3 [route]",)),
        (CHAIN + "[route]\nlayers=-1\ngroups=3\n" + HEAD, ("layer 3", "group 0 of 3")),
        (CHAIN + "[route]\nlayers=-1\ngroups=2\ngroup_id=2\n" + HEAD, ("group 2 of 2",)),
        (CHAIN + "[route]\nlayers=-1\ngroups=0\n" + HEAD, ("groups=0",)),
        (
            CHAIN + "[maxpool]\nstride=2\n[route]\nlayers=-1,0\n" + HEAD,
            ("layer 4 [route]", "different shape"),
        ),
        (
            CHAIN + "[maxpool]\nstride=2\n[shortcut]\nfrom=0\n" + HEAD,
            ("layer 4 [shortcut]", "different shape"),
        ),
        (
            CHAIN + "[convolutional]\nfilters=2\nsize=1\n[shortcut]\nfrom=-2\n" + HEAD,
            ("layer 4 [shortcut]", "different shape"),
        ),
        (CHAIN + "[shortcut]\n" + HEAD, ("layer 3", "'from'")),
        (CHAIN, ("[yolo]",)),
        (CHAIN + "[yolo]\nmask=0\nanchors=1,2\nclasses=1\n", ("layer 3 [yolo]", "6 channels", "gives 4")),
        (HEAD.replace("mask=0\n", ""), ("layer 1 [yolo]", "'mask'")),
        (HEAD.replace("classes=1\n", ""), ("layer 1 [yolo]", "'classes'")),
        (HEAD.replace("anchors=10,14\n", ""), ("layer 1 [yolo]", "'anchors'")),
        (HEAD.replace("mask=0", "mask=1"), ("layer 1 [yolo]", "mask=[1]")),
        (HEAD.replace("mask=0", "mask=-1"), ("layer 1 [yolo]", "mask=[-1]")),
        (HEAD.replace("mask=0", "mask=0.0"), ("layer 1 [yolo]", "mask=[0.0]")),
        (HEAD.replace("mask=0", "mask="), ("layer 1 [yolo]", "mask=")),
        (HEAD + "scale_x_y=wide\n", ("layer 1 [yolo]", "wide")),
        (HEAD.replace("10,14", "10,14,3"), ("layer 1 [yolo]",)),
        (HEAD.replace("10,14", "ten,14"), ("layer 1 [yolo]",)),
        (HEAD + HEAD.replace("classes=1", "classes=2").replace("=6", "=7"), ("disagree", "[1, 2]")),
        ("[net]\nchannels=1\n" + HEAD, ("channels=1", "RGB")),
    ],
)
def test_what_cannot_be_built_is_refused(build: Build, text: str, words: tuple[str, ...]) -> None:
    message = refusal(build, text)
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("begins with [net]",)),
        ("# only a comment\n", ("begins with [net]",)),
        (HEAD, ("begins with [net]",)),
        ("[ net ]\nwidth=3\n[]\n", None),
        ("[net]\nwidth\n", ("line 2", "'width'")),
        ("width=32\n[net]\n", ("line 1", "'width=32'")),
        ("[net\nwidth=32\n", ("line 1", "'[net'")),
        ("[net]\n=32\n", ("line 2", "'=32'")),
        ("[net]\n" + "x" * 10_000, ("line 2",)),
    ],
)
def test_broken_text_is_refused_with_its_line(tmp_path: Path, text: str, words: tuple[str, ...] | None) -> None:
    path = tmp_path / "net.cfg"
    path.write_text(text)
    if words is None:
        assert parse_cfg(path)[0]["width"] == 3
        return
    with pytest.raises(ConfigError) as caught:
        parse_cfg(path)
    message = str(caught.value)
    assert all(word in message for word in words) and str(path) in message
    assert "\n" not in message and len(message) < 400


@pytest.mark.parametrize("content", [None, b"\x93NUMPY\xff\xfe\x00"])
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "net.cfg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read as text"):
        parse_cfg(path)
    with pytest.raises(ConfigError, match="cannot be read as text"):
        parse_cfg(tmp_path)


def test_parsing_reads_the_dialect(tmp_path: Path) -> None:
    path = tmp_path / "net.cfg"
    path.write_bytes(
        b"\xef\xbb\xbf# a mark of Windows before\r\n[Net]\r\n width = 320 # wide\r\n; note\r\nhue=.1\r\n"
        b"width=99\r\n\r\n[yolo]\r\nanchors = 12, 18,  37.5,\r\nmask=3\r\nnms_kind=greedynms\r\ntype=sse\r\n"
    )
    net, yolo = parse_cfg(path)
    assert net == {"type": "net", "width": 320, "hue": 0.1}
    assert yolo == {"type": "yolo", "anchors": [12, 18, 37.5], "mask": 3, "nms_kind": "greedynms"}


def test_a_damaged_cfg_builds_soundly_or_is_refused(tmp_path: Path) -> None:
    """What is built from a mangled text runs and has as many boxes as rows; all else is a ConfigError."""
    chance, path, built = random.Random(0), tmp_path / "net.cfg", 0
    for _ in range(150):
        lines = SMALL.splitlines()
        for _ in range(chance.choice([1, 1, 2, 3])):
            at = chance.randrange(len(lines))
            key, equals, _ = lines[at].partition("=")
            new = chance.choice(["", "0", "-1", "2", "3", "1.5", "-2,-1", "x", "5"])
            lines[at : at + 1] = chance.choice([[], [lines[at]] * 2, [key + equals + new], [lines[at], "[maxpool]"]])
        path.write_text("\n".join(lines))
        try:
            network = Darknet(parse_cfg(path), path).eval()
        except ConfigError as error:
            assert "\n" not in str(error)
            continue
        built += 1
        size = (network.stride, 2 * network.stride)
        with torch.no_grad():
            rows = network(torch.rand(1, 3, *size))
            assert network.decode(rows, size).shape == (1, rows.shape[1], 4)
    assert 30 < built < 130


# --- Darknet's weights --------------------------------------------------------------------------------

VERSION_2 = np.array([0, 2, 5, 7, 0], dtype=np.int32).tobytes()  # images seen as int64
VERSION_1 = np.array([0, 1, 0, 7], dtype=np.int32).tobytes()  # images seen as int32


def weights(path: Path, count: int, header: bytes = VERSION_2, extra: bytes = b"") -> Path:
    path.write_bytes(header + np.arange(1, count + 1, dtype=np.float32).tobytes() + extra)
    return path


PAIR = (
    "[convolutional]\nbatch_normalize=1\nfilters=2\nsize=3\npad=1\nactivation=leaky\n"
    "[maxpool]\nstride=1\nsize=3\n"
    "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=1\ngroups=2\nactivation=leaky\n"
)
PAIR_FLOATS = (4 * 2 + 2 * 3 * 9) + (4 * 4 + 4) + (6 + 6 * 4)


@pytest.mark.parametrize("header", [VERSION_2, VERSION_1, np.array([1, 0, 0, 9, 9], dtype=np.int32).tobytes()])
def test_weights_fill_every_tensor_in_darknets_order(build: Build, tmp_path: Path, header: bytes) -> None:
    network = build(PAIR + HEAD).float()
    network.load_weights(weights(tmp_path / "a.weights", PAIR_FLOATS, header))
    numbers = iter(range(1, PAIR_FLOATS + 1))
    for index, norm in ((0, True), (2, True), (3, False)):
        block: Any = network.module_list[index]
        bn = getattr(block, "BatchNorm2d", None)
        assert (bn is not None) == norm
        first = [bn.bias, bn.weight, bn.running_mean, bn.running_var] if bn is not None else [block.Conv2d.bias]
        for values in [*first, block.Conv2d.weight]:
            assert values.flatten().tolist() == [next(numbers) for _ in range(values.numel())]
    assert next(numbers, None) is None


@pytest.mark.parametrize("change", [-1, 1, -PAIR_FLOATS, 1000])
@pytest.mark.parametrize("header", [VERSION_2, VERSION_1])
def test_weights_of_another_length_are_refused(build: Build, tmp_path: Path, change: int, header: bytes) -> None:
    network = build(PAIR + HEAD)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    path = weights(tmp_path / "a.weights", PAIR_FLOATS + change, header)
    with pytest.raises(WeightsError) as caught:
        network.load_weights(path)
    message = str(caught.value)
    assert all(str(word) in message for word in (path, PAIR_FLOATS, PAIR_FLOATS + change, "net.cfg"))
    assert "\n" not in message
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        b"\0" * 12,
        VERSION_2[:19],
        VERSION_1[:15],
        VERSION_2 + b"\0" * 4 * PAIR_FLOATS + b"\0",
        np.array([1200, 2, 0, 0, 0], dtype=np.int32).tobytes() + b"\0" * 4 * PAIR_FLOATS,  # transposed, of 2016
        np.array([0, 1200, 0, 0, 0], dtype=np.int32).tobytes() + b"\0" * 4 * PAIR_FLOATS,
        np.array([0, -2, 0, 0, 0], dtype=np.int32).tobytes() + b"\0" * 4 * PAIR_FLOATS,
        np.ones(PAIR_FLOATS + 5, dtype=np.float32).tobytes(),  # no header at all
        b"PK\x03\x04" + b"\0" * 4 * PAIR_FLOATS,  # torch's zip
        b"<!DOCTYPE html><html>404: not found</html>" * 20,
    ],
)
def test_files_that_are_no_weights_are_refused(build: Build, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.weights"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        build(PAIR + HEAD).load_weights(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


# --- state dicts with Ultralytics' names --------------------------------------------------------------


def saved(state: dict[str, Tensor], path: Path, how: str) -> Path:
    if path.suffix == ".safetensors":
        save_file({name: value.clone() for name, value in state.items()}, path)
        return path
    beside: dict[str, Any] = {"epoch": -1, "best_fitness": None, "training_results": "", "optimizer": None}
    content = {"wrapped": {"model": state}, "training": {**beside, "model": state}}.get(how, state)
    torch.save(content, path, _use_new_zipfile_serialization=how != "before torch 1.6")
    return path


def test_names_are_those_of_ultralytics(build: Build) -> None:
    norm = [f"module_list.0.BatchNorm2d.{n}" for n in ("weight", "bias", "running_mean", "running_var")]
    norm += ["module_list.0.BatchNorm2d.num_batches_tracked"]
    expected = ["module_list.0.Conv2d.weight", *norm]
    expected += [name.replace(".0.", ".2.") for name in expected]
    assert list(build(PAIR + HEAD).state_dict()) == expected + [
        "module_list.3.Conv2d.weight",
        "module_list.3.Conv2d.bias",
    ]


@pytest.mark.parametrize("how", ["plain", "wrapped", "training", "before torch 1.6", "safetensors"])
def test_a_state_dict_comes_back(build: Build, tmp_path: Path, how: str) -> None:
    network, x = build(SMALL).float(), picture(size=(8, 8)).float()
    path = saved(network.state_dict(), tmp_path / ("a.safetensors" if how == "safetensors" else "a.pt"), how)
    (tmp_path / "again.cfg").write_text(SMALL)
    other = Darknet(parse_cfg(tmp_path / "again.cfg")).eval()
    load_into(other, load_state_dict(path), path)
    with torch.no_grad():
        assert torch.equal(network(x), other(x))


@pytest.mark.parametrize("change", ["extra", "lacking", "shape"])
def test_a_state_dict_that_does_not_fit_is_refused(build: Build, tmp_path: Path, change: str) -> None:
    network = build(SMALL)
    state = dict(network.state_dict())
    name = "module_list.1.Conv2d.bias"
    if change == "extra":
        name = "module_list.77.Conv2d.bias"
        state[name] = torch.zeros(3)
    elif change == "lacking":
        del state[name]
    else:
        state[name] = torch.zeros(3)
    path = tmp_path / "a.pt"
    torch.save(state, path)
    with pytest.raises(WeightsError) as caught:
        load_into(network, load_state_dict(path), path)
    message = str(caught.value)
    assert name in message and str(path) in message and "\n" not in message


# --- the network of the project -----------------------------------------------------------------------


def test_yolov3_spp_is_the_published_network() -> None:
    """yolov3-spp.weights has 252,209,544 bytes, 20 of them header; its heads are layers 89, 101 and 113."""
    path = resources.folder("configs") / "yolov3-spp.cfg"
    network = Darknet(parse_cfg(path), path).eval().requires_grad_(False)
    assert sum(slot.numel() for slot in network._slots()) == (252_209_544 - 20) // 4 == 63_052_381
    assert network.heads == [89, 101, 113] and len(network.layers) == 114 and network.classes == 80
    assert [network.layers[i]["stride"] for i in network.heads] == [32, 16, 8]
    assert [network.layers[i]["mask"] for i in network.heads] == [[6, 7, 8], [3, 4, 5], [0, 1, 2]]
    anchors = [10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119, 116, 90, 156, 198, 373, 326]
    assert all(network.layers[i]["anchors"] == anchors for i in network.heads)
    assert {network.layers[i]["sources"][-1] for i in (93, 105)} == {61, 36}
    assert network.layers[83]["sources"] == [82, 80, 78, 77]
    kinds = [layer["type"] for layer in network.layers]
    assert [kinds.count(k) for k in ("convolutional", "shortcut", "maxpool", "upsample")] == [76, 23, 3, 2]
    assert (network.net["width"], network.net["height"], network.stride) == (512, 512, 32)
    x = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        rows = network(x)
        boxes = network.decode(rows, (64, 96))
    assert rows.shape == (1, 3 * (2 * 3 + 4 * 6 + 8 * 12), 85) and boxes.shape[:2] == rows.shape[:2]
    assert bool(torch.isfinite(rows).all()) and bool(torch.isfinite(boxes).all())
