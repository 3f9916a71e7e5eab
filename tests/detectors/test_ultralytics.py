"""Networks of Ultralytics: detections equal predict(), gradients work after it, files are read without running code.

The package brings opencv-python, which overwrites the headless cv2, so these tests run in an environment of its own
(IGOS_ULTRALYTICS=1, see .ci/run).
"""

from __future__ import annotations

import copy
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
import yaml

import igos
from detectors import labels as names_of
from detectors import preset_of
from detectors.dense import DenseAdapter
from detectors.pins import choosing, noting
from igos import cli
from igos.types import Adapter, ConfigError, WeightsError
from tests.conftest import shared_data
from tests.detectors.test_yolov3 import noise

if os.environ.get("IGOS_ULTRALYTICS") != "1":
    pytest.skip("IGOS_ULTRALYTICS=1 runs them, where the extra [ultralytics] is installed", allow_module_level=True)

os.environ["YOLO_AUTOINSTALL"], os.environ["YOLO_OFFLINE"] = "false", "true"

from ultralytics import RTDETR, YOLO  # noqa: E402
from ultralytics.nn import tasks  # noqa: E402

PHOTOS = ("darknet_dog.jpg", "rise_catdog.png")
SIDE = 160  # px
PLAIN = (
    "yolov3-tinyu",
    "yolov5n",
    "yolov8n",
    "yolov9t",
    "yolov10n",
    "yolo11n",
    "yolo12n",
    "yolo26n",
    "yolov8n-seg",
    "yolo26n-seg",
)
YAMLS = {"yolov3-tinyu": "yolov3-tiny", "yolov10n": "yolov10n"}


@cache
def real() -> Any:
    """YOLOv8n with the weights of Ultralytics."""
    state = torch.load(shared_data("detectors", "yolov8n_fused_fp16.pth"), weights_only=True)
    model = tasks.DetectionModel("yolov8n.yaml", verbose=False).eval().fuse(verbose=False)
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    return model


@cache
def drawn(name: str) -> Any:
    """A network with random weights whose scores are spread, with 3 classes."""
    torch.manual_seed(0)
    kind = tasks.SegmentationModel if name.endswith("-seg") else tasks.DetectionModel
    model = kind(f"{YAMLS.get(name, name)}.yaml", nc=3, verbose=False).eval()
    head = model.model[-1]
    narrow = head.reg_max == 1  # the four sides themselves, which are positive in a trained network
    for part in ("cv3", "one2one_cv3", "cv2", "one2one_cv2"):
        for level in getattr(head, part, []):
            level[-1].weight.data.normal_(0, level[-1].weight[0].numel() ** -0.5)
            level[-1].bias.data.normal_(3 if narrow and part.endswith("cv2") else -2, 0.5)
    return with_size(model)


TINY = """
nc: 3
backbone: [[-1, 1, Conv, [16, 3, 2]], [-1, 1, Conv, [16, 3, 2]], [-1, 1, Conv, [32, 3, 2]], [-1, 1, Conv, [32, 3, 2]],
  [-1, 1, Conv, [32, 3, 2]]]
head: [[[2, 3, 4], 1, RTDETRDecoder, [nc, 32, 20, 4, 4, 2, 64]]]
"""


@cache
def rt_detr() -> Any:
    torch.manual_seed(0)
    model = tasks.RTDETRDetectionModel(yaml.safe_load(TINY), verbose=False).eval()
    head = model.model[-1]
    for layer in (head.enc_score_head, *head.dec_score_head):
        layer.weight.data.normal_(0, 0.5)
        layer.bias.data.normal_(0, 1)
    for p in head.enc_bbox_head.layers[-1].parameters():
        p.data.zero_()  # a query's box begins as its place alone says
    return with_size(model)


def small(photo: str) -> PIL.Image.Image:
    """SIDE x SIDE px. Networks of random weights are tame on the very pictures that `settle` has shown them."""
    with PIL.Image.open(shared_data("photos", photo)) as opened:
        return opened.convert("RGB").resize((SIDE, SIDE))


def settle(model: Any) -> None:
    """Norms that see the photos as normal, so that what comes out differs from cell to cell."""
    for m in model.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.momentum = 1.0
    model.train()
    with torch.no_grad():
        seen = np.stack([np.array(small(photo)) for photo in PHOTOS])
        model.predict(torch.from_numpy(seen).permute(0, 3, 1, 2) / 255)
    model.eval()


def with_size(model: Any) -> Any:
    settle(model)
    model.args = {"imgsz": SIDE}
    model.names = {0: "cat", 1: "dog", 2: "car"}
    return model


def wrapped(model: Any, folder: Path | None = None) -> Any:
    """The network in a YOLO(...), or of a folder an RTDETR(...), as a user has it."""
    if folder is not None:
        (folder / "rtdetr-tiny.yaml").write_text(TINY)
    made = YOLO("yolov8n.yaml") if folder is None else RTDETR(str(folder / "rtdetr-tiny.yaml"))
    made.model, made.task = model, "segment" if type(model.model[-1]).__name__.startswith("Segment") else "detect"
    return made


def predicted(
    model: Any, picture: PIL.Image.Image, threshold: float, size: int, folder: Path | None = None, **more: Any
) -> torch.Tensor:
    """What predict() sees: (n,6) x1, y1, x2, y2, score, class in px of the picture."""
    (found,) = wrapped(copy.deepcopy(model), folder).predict(
        picture, conf=threshold, imgsz=size, verbose=False, device="cpu", **more
    )
    return found.boxes.data.clone()


def rounding(model: Any, adapter: Any, photo: Any) -> tuple[float, float]:
    """How far a network with random weights is from itself in double precision: px of a side, and score."""
    x = adapter.read(photo).pixels[None]
    with torch.no_grad():
        made = [copy.deepcopy(model).to(d)(x.to(d))[0] for d in (torch.float32, torch.float64)]
    one, two = (rows[0] if isinstance(rows, tuple) else rows for rows in made)  # beside what masks are made of
    far = (one.double() - two).abs()
    if "one2one_cv2" in vars(model.model[-1])["_modules"]:  # (N,rows,columns) of the best rows, which may change places
        return 0.0, 0.0
    return float(far[:, :4].max()), float(far[:, 4:7].max())


def agree(
    adapter: Any, photo: Any, own: torch.Tensor, threshold: float, rounded: tuple[float, float] = (0.0, 0.0)
) -> None:
    """Each detection is one of the others: 0.5 px, the same class, 1e-4 of score, beside what float32 rounds."""
    image = adapter.read(photo)
    seen = adapter.detect(image, threshold)
    own = own[(own[:, 2:4] > own[:, :2] + 1e-3).all(1)]
    boxes = image.geometry.to_source(torch.stack([t.box for t in seen]))
    scores, labels = torch.tensor([t.score for t in seen]), torch.tensor([t.label for t in seen])
    assert len(seen) == len(own) > 1
    far = torch.cdist(boxes, own[:, :4], p=torch.inf) / (0.5 + 3 * rounded[0])
    far = far.maximum((scores[:, None] - own[:, 4]).abs() / (1e-4 + 3 * rounded[1]))
    far = far + 100 * (labels[:, None] != own[:, 5])
    assert float(far.amin(0).max()) < 1 and float(far.amin(1).max()) < 1


def graded(adapter: Any, photo: Any) -> float:
    """The largest gradient of the first detection's logit, after its score was found to be the detection's."""
    image = adapter.read(photo)
    first = adapter.detect(image, 0.01)[:1]
    assert float(adapter.scorer(first)(image.pixels[None, None])) == pytest.approx(first[0].score, abs=1e-5)
    x = image.pixels[None].clone().requires_grad_(True)
    (g,) = torch.autograd.grad(adapter.scorer(first, "logit").forward(x, torch.tensor([0])).sum(), x)
    assert bool(g.isfinite().all())
    return float(g.abs().max())


def test_the_real_yolov8n_sees_what_predict_sees() -> None:
    adapter = igos.adapt(real(), names_of.coco())
    assert isinstance(adapter, DenseAdapter) and isinstance(adapter, Adapter)
    for photo in PHOTOS:
        path = shared_data("photos", photo)
        agree(adapter, path, predicted(real(), PIL.Image.open(path).convert("RGB"), 0.25, 640), 0.25)
    image = adapter.read(shared_data("photos", PHOTOS[0]))
    assert image.geometry.network == (480, 640)  # no larger than needed, as predict has it
    dog, *_ = adapter.detect(image)
    assert dog.name == "dog" and dog.score > 0.9
    (e,) = igos.explain(adapter, image, [dog], "iGOS+", metrics=(), iterations=2)
    assert dog.box is not None
    heat = image.geometry.map_to_source(e.saliency)
    x1, y1, x2, y2 = (int(v) for v in image.geometry.to_source(dog.box))
    assert float(heat[y1:y2, x1:x2].mean()) > 2 * float(heat.mean())


@pytest.mark.parametrize("name", PLAIN)
def test_each_generation_sees_what_predict_sees(name: str) -> None:
    adapter = igos.adapt(drawn(name))
    assert list(adapter.labels) == ["cat", "dog", "car"]
    for photo in PHOTOS:
        path = small(photo)
        agree(adapter, path, predicted(drawn(name), path, 0.3, SIDE), 0.3, rounding(drawn(name), adapter, path))
    assert graded(adapter, path) > 0
    if hasattr(drawn(name).model[-1], "one2one_cv2"):
        other = igos.adapt(drawn(name), end2end=True)
        agree(other, path, predicted(drawn(name), path, 0.3, SIDE, nms=False), 0.3)
        assert graded(other, path) > 0
    else:
        with pytest.raises(ConfigError, match="end2end: its head .* has no part that needs no suppression"):
            igos.adapt(drawn(name), end2end=True)
    assert hasattr(drawn(name).model[-1], "postprocess") and "postprocess" not in vars(drawn(name).model[-1])


def test_rt_detrs_queries_are_pinned(tmp_path: Path) -> None:
    adapter: Any = igos.adapt(wrapped(rt_detr(), tmp_path))
    torch.save({"model": copy.deepcopy(rt_detr()), "ema": None}, tmp_path / "best.pt")
    assert adapter.preset == preset_of("ultralytics", tmp_path / "best.pt") == "detect-detr"
    for photo in PHOTOS:
        path = small(photo)
        agree(adapter, path, predicted(rt_detr(), path, 0.01, SIDE, tmp_path), 0.01)
    assert graded(adapter, path) > 0
    image = adapter.read(path)
    assert image.geometry.network == (SIDE, SIDE)
    target = adapter.detect(image, 0.01)[0]
    assert len(target.pins) == 1
    hidden = image.pixels.clone()
    hidden[:, 80:, 80:] = 0.5

    def begins(picture: torch.Tensor, mode: Any) -> torch.Tensor:
        with torch.no_grad(), mode:
            return adapter.module(picture[None])[1][2][0]

    here, free = begins(image.pixels, noting()), begins(hidden, noting())
    assert torch.equal(begins(hidden, choosing([target.pins])), here) and not torch.equal(free, here)


def test_gradients_work_after_predict() -> None:
    model = wrapped(copy.deepcopy(real()))
    path = shared_data("photos", PHOTOS[0])
    with PIL.Image.open(path) as opened:
        model.predict(opened.convert("RGB"), verbose=False)
        adapter = igos.adapt(model)
        assert graded(adapter, path) > 0
        model.predict(opened.convert("RGB"), verbose=False)  # the user's own is another
    assert graded(adapter, path) > 0


def test_a_file_is_read_without_its_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, photo = tmp_path / "best.pt", shared_data("photos", PHOTOS[0])
    torch.save({"model": copy.deepcopy(drawn("yolov8n")).half(), "ema": None, "train_args": {"imgsz": SIDE}}, path)
    adapter = igos.load("ultralytics", path)
    assert list(adapter.labels) == ["cat", "dog", "car"] and adapter.read(photo).geometry.network == (128, 160)
    assert graded(adapter, photo) > 0
    larger = igos.load("ultralytics", path, input_size=200)
    assert larger.read(photo).geometry.network == (192, 224)
    (tmp_path / "own.names").write_text("a\nb\nc\n")
    assert list(igos.load("ultralytics", path, names=tmp_path / "own.names").labels) == ["a", "b", "c"]
    words = ["model", "ultralytics", "--model_file", str(path), "--data", str(photo), "--drawn", str(tmp_path)]
    assert cli.main([*words, "--threshold", "0.01"]) == 0
    told = capsys.readouterr().out
    assert "head Detect" in told and f"preset {preset_of('ultralytics', path)}" in told


class Evil:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("ran"),)


def test_files_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def saved(value: Any, name: str = "x.pt") -> Path:
        torch.save(value, tmp_path / name)
        return tmp_path / name

    def refused(path: Any, words: str, kind: type[Exception] = WeightsError, **options: Any) -> None:
        with pytest.raises(kind, match=words) as told:
            igos.load("ultralytics", path, **options)
        assert "\n" not in str(told.value)

    refused(tmp_path / "yolov8n.pt", "no such file")  # nothing is looked for online
    refused(None, "model ultralytics needs weights=FILE.pt", ConfigError)
    refused(shared_data("detectors", "yolov8n_fused_fp16.pth"), "not a .pt file of Ultralytics")
    refused(saved({"model": drawn("yolov8n").state_dict()}), "not a network of Ultralytics")
    refused(saved({"model": torch.nn.Linear(2, 2)}), "holds a Linear, not a network of Ultralytics")
    refused(saved({"epoch": 3}), "holds a state dict|holds a NoneType")
    (tmp_path / "text.pt").write_text("no weights")
    refused(tmp_path / "text.pt", "damaged, or no checkpoint")
    whole = (tmp_path / "x.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "cut.pt", "damaged, or no checkpoint")
    bad = saved({"model": copy.deepcopy(drawn("yolov8n")), "x": Evil()})
    refused(bad, "holds code beside the layers of Ultralytics; trust=True runs it")
    assert not (tmp_path / "ran").exists()
    assert isinstance(igos.load("ultralytics", bad, trust=True), DenseAdapter) and (tmp_path / "ran").exists()
    broken = copy.deepcopy(drawn("yolov8n"))
    next(broken.parameters()).data.fill_(float("nan"))
    refused(saved({"model": broken}), "holds numbers that are not finite")


def test_other_tasks_are_refused_by_name() -> None:
    for text, kind, words in (
        ("yolov8n-pose.yaml", tasks.PoseModel, "head is Pose, which answers keypoints"),
        ("yolov8n-obb.yaml", tasks.OBBModel, "head is OBB, which answers turned boxes"),
        ("yolov8n-world.yaml", tasks.WorldModel, "head is WorldDetect, which answers classes from a text"),
        ("yolov8n-cls.yaml", tasks.ClassificationModel, "head is Classify, which answers classes of whole pictures"),
    ):
        with pytest.raises(ConfigError, match=words):
            igos.adapt(kind(text, verbose=False))
    with pytest.raises(ConfigError, match="takes pictures of 1 channel .grey.; 3"):
        igos.adapt(tasks.DetectionModel("yolov8n.yaml", ch=1, nc=2, verbose=False))
    with pytest.raises(ConfigError, match="labels: 2 class names, but the network has 3 classes"):
        igos.adapt(drawn("yolov8n"), ["a", "b"])
    exported = YOLO("yolov8n.yaml")
    del exported.model
    exported.model = "best.onnx"
    with pytest.raises(ConfigError, match="'best.onnx'. is an exported file; give the .pt, or model onnx"):
        igos.adapt(exported)


def test_without_the_extra_one_line_names_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    torch.save({}, tmp_path / "x.pt")
    for name in [n for n in sys.modules if n.partition(".")[0] == "ultralytics"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    with pytest.raises(ConfigError, match=r"ultralytics.* is not installed: pip install 'igos\[ultralytics\]'"):
        igos.load("ultralytics", tmp_path / "x.pt")


def test_photos_of_every_shape_are_read_as_predict_reads_them() -> None:
    from ultralytics.data.augment import LetterBox

    adapter = igos.adapt(drawn("yolov8n"))
    for h, w in ((100, 159), (159, 100), (37, 300), (160, 160), (449, 640), (121, 123), (89, 160)):
        rgb = noise(h, w)
        own = LetterBox((SIDE, SIDE), auto=True, stride=32)(image=rgb)
        image = adapter.read(rgb)
        assert np.array_equal(np.uint8(image.pixels.permute(1, 2, 0).numpy() * 255 + 0.5), own)
