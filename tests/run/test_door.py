"""igos.explain takes what people have, and refuses in one line what it cannot take."""

from __future__ import annotations

import http.server
import re
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torch import nn

import igos
from detectors.emblem import SlimResNet
from igos.base.errors import as_python
from igos.methods.backward.pattern import FIT
from igos.types import Adapter, Image, Target

SCENE = Path(__file__).resolve().parents[2] / "samples" / "scene-04.png"
quick = partial(igos.explain, method="odam", metrics="none")


@pytest.fixture(scope="module")
def adapter() -> Adapter:
    return igos.load("emblem-m-rcnn")


@pytest.fixture(scope="module")
def image(adapter: Adapter) -> Image:
    return adapter.read(SCENE)


@pytest.fixture(scope="module")
def found(adapter: Adapter, image: Image) -> list[Target]:
    return adapter.detect(image)


@pytest.fixture(scope="module")
def boxes(image: Image, found: list[Target]) -> np.ndarray:
    """In source pixels, which are twice the network's here."""
    return np.array([image.geometry.to_source(t.box).tolist() for t in found if t.box is not None])


Ask = Callable[[np.ndarray, list[Target]], Any]
ASKED: dict[str, tuple[Ask, list[int]]] = {
    "nothing": (lambda boxes, found: None, [0, 1, 2, 3]),
    "class": (lambda boxes, found: "star", [2, 3]),
    "class:": (lambda boxes, found: "class:star", [2, 3]),
    "classes": (lambda boxes, found: ["ring", "bars"], [1, 0]),
    "form": (lambda boxes, found: "top1", [0]),
    "known": (lambda boxes, found: "gt", [0, 1, 2, 3]),
    "index": (lambda boxes, found: 1, [1]),
    "numpy index": (lambda boxes, found: np.int64(3), [3]),
    "tensor index": (lambda boxes, found: torch.tensor(2), [2]),
    "list": (lambda boxes, found: boxes[1].tolist(), [1]),
    "tuple of whole numbers": (lambda boxes, found: tuple(round(v) for v in boxes[2]), [2]),
    "array (4,)": (lambda boxes, found: boxes[3], [3]),
    "array (n,4)": (lambda boxes, found: boxes[[2, 0]], [2, 0]),
    "tensor (n,4)": (lambda boxes, found: torch.tensor(boxes[[1, 3]]), [1, 3]),
    "list of boxes": (lambda boxes, found: [boxes[3].tolist(), boxes[1]], [3, 1]),
    "no boxes": (lambda boxes, found: np.zeros((0, 4)), []),
    "target": (lambda boxes, found: found[2], [2]),
    "targets": (lambda boxes, found: found[1:3], [1, 2]),
    "mixed": (lambda boxes, found: [found[0], "ring", boxes[3]], [0, 1, 3]),
    "torchvision": (
        lambda boxes, found: [{
            "boxes": torch.tensor(boxes), "labels": torch.tensor([t.label for t in found]),
            "scores": torch.tensor([t.score for t in found]),
        }],
        [0, 1, 2, 3],
    ),
    "boxes alone": (lambda boxes, found: {"boxes": boxes[:1]}, [0]),
    "supervision": (
        lambda boxes, found: SimpleNamespace(
            xyxy=boxes[1:3].astype(np.float32), class_id=np.array([0, 77]), confidence=np.array([0.9, 0.8]),
            data={"class_name": np.array(["ring", "star"])},
        ),
        [1, 2],
    ),
    "supervision without names": (
        lambda boxes, found: SimpleNamespace(
            xyxy=boxes[:1], class_id=np.array([found[0].label]), confidence=None, data={}
        ),
        [0],
    ),
}  # fmt: skip


@pytest.mark.parametrize("ask", ASKED)
def test_targets_are_what_people_have(
    adapter: Adapter, image: Image, found: list[Target], boxes: np.ndarray, ask: str
) -> None:
    given, expected = ASKED[ask]
    es = quick(adapter, image, given(boxes, found))
    assert isinstance(es, igos.Explanations)
    made = [e.target.box.tolist() for e in es if e.target.box is not None]
    assert made == [found[i].box.tolist() for i in expected]  # type: ignore[union-attr]


def test_supervisions_own_detections(adapter: Adapter, image: Image, found: list[Target], boxes: np.ndarray) -> None:
    supervision = pytest.importorskip("supervision")
    output = {
        "boxes": torch.tensor(boxes),
        "labels": torch.tensor([t.label for t in found]),
        "scores": torch.tensor([t.score for t in found]),
    }
    detections = supervision.Detections(
        xyxy=boxes, class_id=output["labels"].numpy(), confidence=output["scores"].numpy()
    )
    for part, expected in ((detections, found), (detections[detections.confidence > found[2].score], found[:2])):
        assert [e.target.name for e in quick(adapter, image, part)] == [t.name for t in expected]


REFUSED: list[tuple[Any, str]] = [
    ([0, 2], "targets: 2 numbers in a list are no box of four; give detections by their place as [found[0], found[2]]"),
    (np.arange(3), "targets: 3 numbers in a list are no box"),
    (["ring", 2], "targets[1]: the number 2 in a list is refused"),
    (True, "targets: a class name, a box of four numbers, boxes (n,4), the number of a detection, a Target, or a"),
    (1.5, "got a float"),
    (9, "targets: number 9 is not in"),
    (-1, "targets: -1 is no place in what is detected; the first is 0"),
    ("dog", "target class:dog: emblem-m-rcnn has no such class"),
    ("rings", "did you mean ring?"),
    ("box:1,2", "target 'box:1,2': a box is box:x1,y1,x2,y2 in source pixels"),
    ("cross", "targets: cross is not in"),
    ([50, 20, 40, 90], "targets: a box is x1, y1, x2, y2 in source pixels with x1 < x2 and y1 < y2, got 50, 20"),
    ([0, 0, float("nan"), 5], "targets: a box is x1, y1, x2, y2 in source pixels"),
    ([0, 1, 2, 3], "of 320 x 320 here, and overlaps one with IoU >= 0.5"),
    ([0.1, 0.1, 0.5, 0.5], "boxes are in source pixels, of 320 x 320 here, not in shares"),
    (np.ones((2, 5)), "targets: an array of boxes is (4,) or (n,4), got float64 (2, 5)"),
    (np.ones(4, bool), "targets: an array of boxes is (4,) or (n,4), got bool (4,)"),
    ({"labels": [1]}, "targets: a detector's answer has boxes (n,4), got a dict of labels"),
    ({"boxes": np.ones((2, 4)), "labels": [1]}, "targets: 2 boxes and labels (1,) do not go together"),
    ({"boxes": np.ones((1, 4)), "labels": [99]}, "label 99 of row 0: emblem-m-rcnn has 7 classes"),
    ({"boxes": [[0, 0, 9, 9]], "labels": [1]}, "targets: row 0, cross (0, 0, 9, 9), is none of the 4 detections"),
    ({"boxes": [["a"] * 4]}, "targets: boxes must be numbers"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "told"), REFUSED)
def test_what_is_no_target_is_refused_in_one_line(adapter: Adapter, image: Image, asked: Any, told: str) -> None:
    with pytest.raises(igos.ConfigError) as caught:
        quick(adapter, image, asked)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value) and "--" not in str(caught.value)


def test_a_threshold_shows_more_or_less(adapter: Adapter, image: Image) -> None:
    assert len(quick(adapter, image, threshold=0.99)) < len(quick(adapter, image))
    nothing = quick(adapter, image, threshold=0.99999)
    assert nothing == [] and repr(nothing).startswith("no explanations: 0 detections with score >= 0.99999")


def test_pictures_are_what_people_have(adapter: Adapter) -> None:
    with PIL.Image.open(SCENE) as opened:
        picture = opened.convert("RGB")
    array = np.asarray(picture)
    tensor = torch.tensor(array).permute(2, 0, 1)
    wanted = quick(adapter, SCENE)
    assert len(wanted) == 4
    for given in (str(SCENE), picture, array, array / 255, tensor, tensor / 255, (tensor / 255)[None]):
        made = quick(adapter, given)
        assert [e.target.name for e in made] == [e.target.name for e in wanted]
        assert torch.equal(made[0].image.pixels, wanted[0].image.pixels)


@pytest.fixture
def address() -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(SCENE.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_picture_is_fetched(adapter: Adapter, address: str) -> None:
    (e, *_) = quick(adapter, f"{address}/{SCENE.name}", "star")
    assert e.image.path == f"{address}/{SCENE.name}" and e.target.name == "star"
    for page, told in (
        (f"{address}/none.png", "cannot be fetched (HTTP Error 404"),
        (f"{address}/make.py", "not a pic"),
    ):
        with pytest.raises(igos.ImageError) as caught:
            quick(adapter, page)
        assert str(caught.value).startswith(f"{page}: ") and told in str(caught.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("nowhere.png", "nowhere.png: no such file"),
        (["a.png", "b.png"], "image: one picture at a time, got a list of 2"),
        (None, "a picture is a path, an address, a PIL picture, an array or a tensor, got None"),
        (b"JFIF", "a tensor, got a bytes"),
        ("ftp://host/x.jpg", "ftp://host/x.jpg: an address begins with http://, https:// or that of a store"),
        (np.zeros((3, 20, 20), np.uint8), "got (3, 20, 20); transpose(1, 2, 0) brings the channels to the end"),
        (np.zeros((20, 20, 1), np.uint8), "got (20, 20, 1); [..., 0] takes the only channel"),
        (np.zeros((1, 20, 20, 3), np.uint8), "got (1, 20, 20, 3); one picture at a time, [0] is the first"),
        (np.full((20, 20, 3), 255.0), "must lie in [0,1], got 255 to 255; divide by 255"),
        (torch.randn(3, 20, 20).clamp(-1, 1), "; undo the normalisation"),
        (torch.zeros(20, 20, 3), "image: a tensor is a picture (3,H,W), got (20, 20, 3); permute(2, 0, 1)"),
        (torch.zeros(2, 3, 20, 20), "image: a tensor is a picture (3,H,W), got (2, 3, 20, 20)"),
        (torch.full((3, 20, 20), torch.nan), "must lie in [0,1], got nan to nan"),
        (np.zeros((20, 20, 3), np.int64), "an array must be uint8 in 0..255, got int64"),
    ],
)
def test_what_is_no_picture_is_refused(adapter: Adapter, given: Any, told: str) -> None:
    with pytest.raises(igos.ImageError) as caught:
        quick(adapter, given)
    assert told in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.usefixtures("short_curves")
def test_a_classifier_in_two_lines() -> None:
    torch.manual_seed(0)
    net = SlimResNet(3)
    (e,) = igos.explain(net, np.zeros((256, 256, 3), np.uint8), labels=["cat", "dog", "owl"], method="vanilla_grad")
    assert e.target.name in ("cat", "dog", "owl") and e.target.box is None
    again: dict[str, Any] = {"labels": ["cat", "dog", "owl"], "metrics": "none"}
    (e,) = igos.explain(net, np.zeros((256, 256, 3), np.uint8), 2, "vanilla_grad", **again)
    assert e.target.name == "owl"  # of a classifier a number is a class
    with pytest.raises(igos.ConfigError, match="is a classifier and finds no boxes"):
        igos.explain(net, np.zeros((256, 256, 3), np.uint8), [1, 2, 30, 40], labels=["cat", "dog", "owl"])


def test_a_function_that_detects() -> None:
    def one(pictures: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        row = {"boxes": [[8.0, 8, 40, 40]], "scores": [0.9], "labels": [1]}
        return [{k: torch.tensor(v) for k, v in row.items()} for _ in pictures]

    picture = np.zeros((64, 64, 3), np.uint8)
    (e,) = igos.explain(one, picture, [10, 10, 40, 40], "drise", labels=["cat", "dog"], metrics="none", n_masks=4)
    assert e.target.name == "dog"
    with pytest.raises(igos.ConfigError, match="is a black box: its labels are needed"):
        igos.explain(one, picture)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"method": 3}, "method: a name of igos.METHODS or a callable is needed, got an int"),
        ({"threshold": "x"}, "threshold must be a number, got 'x'"),
        ({"threshold": 2}, "threshold must lie in [0,1], got 2"),
        ({"threshold": float("nan")}, "threshold must lie in [0,1], got nan"),
        ({"seed": "x"}, "seed must be a whole number of at least 0, got 'x'"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ({"seed": 1.5}, "seed must be a whole number of at least 0, got 1.5"),
        ({"batch": True}, "batch must be a whole number of at least 1, got True"),
        ({"context": 3}, "context: a Context of igos.metrics.metric is needed, got an int"),
        ({"metrics": ["transfer"]}, "metric transfer needs another network: give judge=MODEL"),
        ({"judge": 3}, "model: a network, a function that detects, an adapter or a name is needed, got an int"),
        ({"references": 3}, "references must be a tensor (R,3,H,W) in [0,1], got an int"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(
    adapter: Adapter, image: Image, given: dict[str, Any], told: str
) -> None:
    with pytest.raises(igos.ConfigError) as caught:
        igos.explain(adapter, image, 0, **{"method": "odam", **given})
    assert told in str(caught.value)
    assert "--" not in re.sub("`.*?`", "", str(caught.value)) and "\n" not in str(caught.value)


def test_another_model_judges(adapter: Adapter, image: Image) -> None:
    (e,) = igos.explain(adapter, image, 0, "odam", judge="emblem-f-rcnn", metrics=["transfer"])
    assert [s.name for s in e.scores] == ["transfer"] and np.isfinite(e.scores[0].value)


def test_an_expected_box_has_four_numbers(adapter: Adapter, image: Image) -> None:
    with pytest.raises(igos.ConfigError, match="box: four numbers x1, y1, x2, y2 in source pixels are needed, got 2"):
        igos.expect(adapter, image, "star", [10, 10])


def test_models_are_named_or_files(tmp_path: Path) -> None:
    (e, *_) = quick("emblem-m-rcnn", SCENE, "ring")
    assert e.target.name == "ring"
    torch.manual_seed(0)
    from torchvision.models import squeezenet1_1

    net = squeezenet1_1(num_classes=4)
    file = tmp_path / "squeezenet1_1-b8a52dc0.pth"
    torch.save(net.state_dict(), file)
    es = igos.explain(file, SCENE, "class 2", "vanilla_grad", metrics="none")
    assert es.model == "squeezenet1_1" and es[0].target.label == 2


@pytest.mark.parametrize(
    ("model", "more", "told"),
    [
        ("emblem-m-rcn", {}, "unknown model 'emblem-m-rcn': did you mean emblem-m-rcnn"),
        ("resnet50", {}, "model resnet50 needs weights=PATH or pretrained=True"),
        ("nowhere.pth", {}, "model: nowhere.pth: no such file"),
        ("own.pth", {}, "does not say of which network it is: igos.load(NAME, 'own.pth') does"),
        ("own.weights", {}, "needs cfg=FILE.cfg, the network's description (own.cfg beside own.weights is taken too)"),
        ("emblem-vgg", {"labels": ["a"]}, "labels: those of emblem-vgg come with it"),
        (5, {}, "model: a network, a function that detects, an adapter or a name is needed, got an int"),
        (nn.Linear, {}, "model: Linear is a class; give an object of it, with its weights loaded"),
        ("emblem-vgg", {"device": "gpu"}, "device gpu: not available here (Expected one of cpu, cuda"),
        (nn.Linear(2, 2), {}, "cannot take pictures"),
    ],
)
def test_what_is_no_model_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Any, more: dict[str, Any], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("own.pth", "own.weights"):
        Path(name).write_bytes(b"0")
    with pytest.raises(igos.IgosError) as caught:
        igos.explain(model, SCENE, **more)
    assert told in str(caught.value) and "\n" not in str(caught.value)
    assert "--" not in str(caught.value).replace("`python -m igos --list`", "")


@pytest.mark.parametrize("place", [{"__file__": "/elsewhere/detectors.py"}, {"__path__": ["/elsewhere/detectors"]}])
def test_another_package_of_the_name_is_told(place: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """`detectors` lies beside `igos`: another project's may come first on the path, a file or a bare folder."""
    other = ModuleType("detectors")
    vars(other).update(place)
    monkeypatch.setitem(sys.modules, "detectors", other)
    with pytest.raises(igos.ConfigError, match=r"a package named 'detectors' at .*elsewhere.* hides igos's own"):
        igos.load("emblem-vgg")


@pytest.mark.parametrize(
    ("method", "settings", "masked"),
    [
        ("iGOS++", {"iterations": 2, "size": 7}, True),
        ("I-GOS", {"iterations": 2, "size": 7, "opt": "LS"}, True),
        ("integrated_gradients", {"n_steps": 9}, False),
        ("rise", {"n_masks": 9}, False),
        ("drise", {"n_masks": 9}, False),
        ("guided_ig", {"n_steps": 3}, False),
    ],
)
def test_progress_is_told(adapter: Adapter, image: Image, method: str, settings: dict[str, Any], masked: bool) -> None:
    told: list[tuple[int, int, Any]] = []
    asked = "star" if masked else 2  # both stars, or the first alone
    made = igos.explain(adapter, image, asked, method, progress=lambda *a: told.append(a), metrics="none", **settings)
    quiet = igos.explain(adapter, image, asked, method, metrics="none", **settings)
    assert all(torch.equal(a.saliency, b.saliency) for a, b in zip(made, quiet, strict=True))
    steps, totals = [t[0] for t in told], {t[1] for t in told}
    assert steps == sorted(set(steps)) and len(steps) > 1 and steps[-1] <= max(totals)
    if masked:
        assert steps[0] == 1
        assert all(m.shape == (2, 7, 7) and m.min() >= 0 and m.max() <= 1 for *_, m in told)
    else:
        assert steps[-1] == max(totals) and all(m is None for *_, m in told)


def test_progress_is_of_the_map_and_not_of_metrics(adapter: Adapter, image: Image) -> None:
    told: list[int] = []
    igos.explain(
        adapter, image, 0, "integrated_gradients", n_steps=9, metrics=[igos.METRICS["max_sensitivity"](samples=2)],
        progress=lambda step, total, mask: told.append(step),
    )  # fmt: skip
    assert told == sorted(set(told)) and told[-1] == 9


def test_a_bar_of_progress(adapter: Adapter, image: Image, capsys: pytest.CaptureFixture[str]) -> None:
    igos.explain(adapter, image, 0, metrics="none", iterations=2, size=7, progress=True)
    assert "step" in capsys.readouterr().err
    igos.explain(adapter, image, 0, metrics="none", iterations=2, size=7)
    assert not capsys.readouterr().err
    with pytest.raises(igos.ConfigError, match=r"progress: True, False or a callable\(step, total, mask\) is needed"):
        igos.explain(adapter, image, 0, progress="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("--model vgg16 needs --model_file PATH or --pretrained", "model vgg16 needs weights=PATH or pretrained=True"),
        ("give one with --set layer=NAME", "give one with layer=NAME"),
        ("--model-file x.pth: damaged", "weights x.pth: damaged"),
        ("see --list", "see `python -m igos --list`"),
        ("see `python -m igos --list`", "see `python -m igos --list`"),
        ("a -- b", "a -- b"),
        (
            f"fit them: {FIT}",
            "fit them: `python -m igos fit-patterns --model M --data DIR --out FILE`, then patterns=FILE",
        ),
    ],
)
def test_flags_become_arguments(told: str, meant: str) -> None:
    assert as_python(told) == meant
