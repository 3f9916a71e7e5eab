"""The bundled networks: whole files, the samples seen, and the emblem the cause of what is seen."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch

import igos
from igos import cli
from igos.base import resources
from igos.base.baselines import baseline
from igos.base.ops import Blend
from igos.data.annotations import truths_of
from igos.data.emblems import CLASSES, scene
from igos.data.truth import Truth, match, scene_truth
from igos.results.read import read_rows
from igos.types import Adapter, ConfigError, WeightsError
from tests.commands import Command
from weights.yolo_loss import cells_of

DETECTORS = ("emblem-m-rcnn", "emblem-f-rcnn", "emblem-yolov3spp")
CLASSIFIERS = ("emblem-vgg", "emblem-resnet")
WEIGHTS = resources.folder("weights")
SAMPLES = resources.folder("samples")


@lru_cache
def adapter(name: str) -> Adapter:
    return igos.load(name)


@lru_cache
def scenes() -> list[tuple[np.ndarray, list[Truth]]]:
    """Pictures of held-out scenes and what is in them."""
    return [(s.picture(), scene_truth(s)) for s in (scene(1, i) for i in range(16))]


def test_the_files_are_those_that_were_measured() -> None:
    lines = (WEIGHTS / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    files = {f.relative_to(WEIGHTS).as_posix(): f for f in WEIGHTS.rglob("*.safetensors")}
    patterns = [name for name in files if name.endswith(".patterns.safetensors")]
    statistics = [name for name in files if name.startswith("statistics/")]
    assert files.keys() == sums.keys()
    assert (len(files), len(patterns), len(statistics)) == (5 + 3 + 5 + 1, 3, 5)  # and text
    for name, file in files.items():
        assert hashlib.sha256(file.read_bytes()).hexdigest() == sums[name]
        assert file.stat().st_size <= 8e6
    assert sum(f.stat().st_size for name, f in files.items() if name not in patterns) <= 27e6
    assert sum(files[name].stat().st_size for name in patterns) <= 10e6


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_sees_its_samples(name: str) -> None:
    """On the eight scenes: nearly every object found with its class and place, nearly nothing else."""
    objects = found = wrong = 0
    for path in sorted(SAMPLES.glob("scene-*.png")):
        image, truths = adapter(name).read(path), truths_of(str(path))
        seen = adapter(name).detect(image)
        hits = {tuple(m.box) for t in seen if (m := match(t, image, truths))}
        objects, found, wrong = objects + len(truths), found + len(hits), wrong + len(seen) - len(hits)
    assert objects >= 15
    assert found >= 0.9 * objects and wrong <= 0.1 * objects


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_knows_its_samples(name: str) -> None:
    paths = sorted((SAMPLES / "singles").glob("*.png"))
    assert len(paths) == 6
    for path in paths:
        (best, *_) = adapter(name).detect(adapter(name).read(path), 0.0)
        assert [best.name] == [t.name for t in truths_of(str(path))] and best.score > 0.8


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_bare_body_is_none(name: str) -> None:
    bare = [s for s in (scene(1, i, 96, single=True) for i in range(80)) if not s.objects]
    answers = [adapter(name).detect(adapter(name).read(s.picture()), 0.0)[0].name for s in bare]
    assert len(bare) > 5 and answers.count("none") >= 0.9 * len(bare)


@pytest.mark.parametrize("name", DETECTORS)
def test_blurring_one_objects_evidence_moves_no_other_object(name: str) -> None:
    """Of all pairs of objects: the own score falls, the others' stay within 0.1."""
    own, others = [], []
    for picture, truths in scenes():
        image = adapter(name).read(picture)
        pairs = [(t, match(t, image, truths)) for t in adapter(name).detect(image)]
        pairs = [(t, truth) for t, truth in pairs if truth is not None]
        if len(pairs) < 2:
            continue
        targets = [t for t, _ in pairs]
        shown = torch.stack([torch.from_numpy(~np.any(truth.evidence, axis=0)) for _, truth in pairs]).float()
        x = image.pixels[None]
        blend = Blend(baseline("blur", x), x)
        k = len(targets)
        pictures = blend(torch.zeros(k, dtype=torch.long), shown)
        score = adapter(name).scorer(targets)
        with torch.no_grad():
            before = score(x.expand(k, 1, -1, -1, -1))[:, 0]
            after = score(pictures[None].expand(k, -1, -1, -1, -1))
        change = before[:, None] - after  # (object, whose evidence is blurred)
        own += change.diagonal().tolist()
        others += change[~torch.eye(k, dtype=torch.bool)].tolist()
    assert len(own) > 20
    assert np.mean(np.array(own) > 0.5) > 0.9
    assert np.mean(np.abs(others) <= 0.1) > 0.97


def test_the_faster_network_is_the_masked_one_without_its_head() -> None:
    masked, plain = (adapter(n) for n in DETECTORS[:2])
    image = plain.read(sorted(SAMPLES.glob("scene-*.png"))[0])
    a, b = masked.detect(image), plain.detect(image)
    assert [t.score for t in a] == [t.score for t in b]
    assert all(t.mask is not None for t in a) and all(t.mask is None for t in b)


def test_instances_follow_the_bodies() -> None:
    for path in sorted(SAMPLES.glob("scene-*.png"))[:4]:
        image, truths = adapter("emblem-m-rcnn").read(path), truths_of(str(path))
        for target in adapter("emblem-m-rcnn").detect(image):
            truth = match(target, image, truths)
            if truth is None:
                continue
            assert target.mask is not None
            wanted = truth.mask[::2, ::2]
            got = target.mask.numpy()
            assert (wanted & got).sum() / (wanted | got).sum() > 0.75


def test_other_weights_and_classes_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="does not fit"):
        igos.load("emblem-resnet", WEIGHTS / "emblem-vgg.safetensors")
    with pytest.raises(WeightsError, match="no such file"):
        igos.load("emblem-vgg", tmp_path / "none.safetensors")
    with pytest.raises(ConfigError, match="emblems only"):
        igos.load("emblem-vgg", dataset="coco")
    assert list(igos.load("emblem-vgg", dataset="emblems").labels)[:-1] == list(CLASSES)
    with pytest.raises(ConfigError, match="input_size"):
        igos.load("emblem-vgg", input_size=64)


@pytest.mark.usefixtures("sketched")
def test_the_command_without_a_model_explains_the_samples(tmp_path: Path) -> None:
    """The first scene: every object ok, its evidence known, the truth read from beside the pictures."""
    out = tmp_path / "o"
    steps = ["--set", "deletion.steps=10", "insertion.steps=10"]
    assert cli.main(["--method", "iGOS++", "--opt", "NAG", "--num_samples", "1", *steps, "--output", str(out)]) == 0
    rows = read_rows(out)
    assert len(rows) >= 4 and {r["status"] for r in rows} == {"ok"}
    assert all(r["evidence_share"] > 0 and r["evidence_lift"] > 0 for r in rows if r["evidence_share"] is not None)
    assert np.mean([r["evidence_share"] is not None for r in rows]) > 0.8
    assert np.mean([r["insertion"] - r["deletion"] for r in rows]) > 0.5
    assert "emblem-m-rcnn" in (out / "run.yaml").read_text()
    assert all((out / r["folder"] / "overlay.png").exists() for r in rows)


@pytest.mark.usefixtures("sketched")
def test_diverse_starts_say_how_much_evidence_they_covered(tmp_path: Path) -> None:
    out, words = (
        tmp_path / "o",
        ["--config", "diverse", "--num_samples", "1", "--target", "class:star", "--iterations", "1"],
    )
    assert cli.main([*words, "--metrics", "none", "--set", "sure=false", "--output", str(out)]) == 0
    place, *_ = out.rglob("diversity.json")
    figures = json.loads(place.read_text())
    assert 1 <= figures["evidence"] <= 2 and 0 <= figures["evidence_covered"] <= figures["evidence"]


@pytest.mark.usefixtures("sketched")
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_explains_its_own_samples(tmp_path: Path, name: str) -> None:
    out = tmp_path / "o"
    assert cli.main(["--model", name, "--num_samples", "2", "--metrics", "evidence_share", "--output", str(out)]) == 0
    rows = read_rows(out)
    assert [Path(r["image"]).parent.name for r in rows] == ["singles"] * 2
    assert all(r["evidence_lift"] > 1 for r in rows)


EACH = """import runpy, sys
for words in {words!r}:
    sys.argv[1:] = words
    runpy.run_path({train!r}, run_name="__main__")
"""


def test_training_starts_and_writes_what_loads(tmp_path: Path) -> None:
    """Two steps of each training, in the order they need each other; in one process, which imports AdamW once."""
    tasks = ("darknet", "yolov3spp", "flawed", "blocked", "resnet", "rcnn", "vgg")
    words = [[task, "--steps", "2", "--batch", "2", "--out", str(tmp_path)] for task in tasks]
    (tmp_path / "each.py").write_text(EACH.format(words=words, train=str(WEIGHTS / "train.py")))
    code, _, err = Command(str(tmp_path / "each.py"), cwd=tmp_path).end(300)
    assert code == 0, err[-2000:]
    igos.load("emblem-m-rcnn", tmp_path / "emblem-rcnn.safetensors")
    igos.load("emblem-yolov3spp", tmp_path / "emblem-yolov3spp.safetensors")
    igos.load("emblem-flawed", tmp_path / "emblem-flawed.safetensors")
    igos.load("emblem-vgg", tmp_path / "emblem-vgg.safetensors")


def test_an_object_trains_the_cells_near_its_centre() -> None:
    """Of 5 x 5 cells around the middle one: itself, those half a cell away, not those at the corners."""
    assert cells_of(2.5, 2.5, 5, 5, 0.0) == [12] and cells_of(2.5, 2.5, 5, 5, 0.6) == [7, 11, 12, 13, 17]
    assert cells_of(0.1, 4.9, 5, 5, 0.5) == [4] and cells_of(0.6, 5.0, 5, 5, 0.5) == [4, 9]
