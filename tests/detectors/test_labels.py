"""Class names: the three datasets, name files in all their shapes, and lists that do not fit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import igos
from detectors import labels
from detectors.emblem import SlimResNet, build_rcnn
from igos.types import ConfigError
from tests.conftest import shared_data


def test_imagenet_has_torchvisions_order() -> None:
    names = labels.imagenet()
    assert len(names) == 1000
    assert (names[0], names[281], names[340]) == ("tench", "tabby", "zebra")


def test_coco_leaves_out_background_and_unused_numbers() -> None:
    names = labels.coco()
    assert len(names) == len(set(names)) == 80
    assert (names[0], names[11], names[79]) == ("person", "stop sign", "toothbrush")


def test_voc_leaves_out_background() -> None:
    names = labels.voc()
    assert len(names) == len(set(names)) == 20
    assert (names[0], names[14], names[19]) == ("aeroplane", "person", "tvmonitor")


def test_datasets_return_fresh_lists() -> None:
    assert {name: len(make()) for name, make in labels.DATASETS.items()} == {
        "imagenet": 1000,
        "coco": 80,
        "voc": 20,
        "emblems": 6,
    }
    labels.imagenet().clear()
    assert len(labels.imagenet()) == 1000


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("cat\ndog\n", ["cat", "dog"]),
        ("cat\r\ndog\r\n\r\n", ["cat", "dog"]),
        ("\ufeffcat\ndog", ["cat", "dog"]),
        ("  cat \n traffic light\t\n\n\n", ["cat", "traffic light"]),
        ("n01440764 tench, Tinca tinca\nn01443537 goldfish\n", ["tench, Tinca tinca", "goldfish"]),
        ("n01440764 tench\nn95 mask\n", ["n01440764 tench", "n95 mask"]),
        ("n01440764\nn01443537\n", ["n01440764", "n01443537"]),
        ("0: cat\n1: dog\n2:traffic light\n", ["cat", "dog", "traffic light"]),
        ("1: cat\n2: dog\n", ["cat", "dog"]),
        ("1: dog\n0: cat\n", ["cat", "dog"]),
        ("0: cat\ndog: a good one\n", ["0: cat", "dog: a good one"]),
    ],
)
def test_read_names(tmp_path: Path, content: str, names: list[str]) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(content.encode())
    assert labels.read_names(path) == labels.read_names(str(path)) == names


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "no such file"),
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b"\xff\xfe\x00cat", "cannot be read as text"),
        (b"cat\n\ndog\n", "line 2 is empty"),
        (b"15: cat\n16: dog\n", "id 0 has no name"),
        (b"0: cat\n1: dog\n1: owl\n", "id 1 has two names"),
    ],
)
def test_read_names_refuses(tmp_path: Path, content: bytes | None, told: str) -> None:
    path = tmp_path / "names.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=told) as caught:
        labels.read_names(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_holds_no_names(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        labels.read_names(tmp_path)


class Strange(dict[Any, Any]):
    """A mapping of another kind."""


@pytest.mark.parametrize(
    "given",
    [
        ["cat", "dog", "owl"],
        ("cat", "dog", "owl"),
        np.array(["cat", "dog", "owl"]),
        np.array(["cat", "dog", "owl"], dtype=object),
        {0: "cat", 1: "dog", 2: "owl"},
        {"0": "cat", "1": "dog", "2": "owl"},
        {2: "owl", 0: "cat", 1: "dog"},
        Strange({np.int64(0): "cat", np.int64(1): "dog", np.int64(2): "owl"}),
        {1: "cat", 2: "dog", 3: "owl"},
        {"cat": 0, "dog": 1, "owl": 2},
        {"owl": 2, "cat": 0, "dog": 1},
        {"dog": 2, "cat": 1, "owl": 3},
        {"cat": 0, "dog": 1, "owl": 2}.keys(),
    ],
)
def test_names_are_read_in_whatever_form_they_come(given: Any) -> None:
    found = labels.listed(given)
    assert found == ["cat", "dog", "owl"] and all(type(name) is str for name in found)
    adapter = igos.adapt(SlimResNet(3), given, crop=32)
    assert adapter.labels == found


def test_names_that_look_like_numbers_stay_names() -> None:
    assert labels.listed({"0": 0, "1": 1}) == labels.listed({0: "0", 1: "1"}) == ["0", "1"]
    assert labels.listed({"7": 0, "3": 1}) == ["7", "3"]
    assert labels.listed(None) is None


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("hello", "'hello' is one text; give the names in a list"),
        (b"cat", "is one text"),
        ([0, 1, 2], "0 is no class name; names are text"),
        (np.arange(3), "0 is no class name"),
        (["cat", None, "owl"], "None is no class name"),
        (["cat", " ", "owl"], "' ' is no class name"),
        ([b"cat", b"dog", b"owl"], "b'cat' is no class name"),
        (np.array([["cat", "dog", "owl"]]), "a ndarray has no order of names"),
        ({"cat", "dog", "owl"}, "a set has no order of names"),
        (5, "a int has no order of names"),
        ({0: "cat", 1: "dog", 3: "owl"}, "id 2 has no name; ids run from 0, or from 1, without a gap"),
        ({5: "cat", 6: "dog", 7: "owl"}, "id 0 has no name"),
        ({"cat": 0, "dog": 0, "owl": 1}, "id 0 has two names"),
        ({0: "cat", "0": "dog", 1: "owl"}, "id 0 has two names"),
        ({0: "cat", "one": "dog", 2: "owl"}, "'one' is no id; a dict is id -> name or name -> id"),
        ({-1: "cat", 0: "dog", 1: "owl"}, "-1 is no id"),
        ({0: "cat", 1: "dog"}, "2 class names, but the network has 3 classes"),
        ([], "0 class names, but the network has 3 classes"),
        ({}, "0 class names, but the network has 3 classes"),
    ],
)
def test_names_that_cannot_be_right_are_refused_in_one_line(given: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)) as caught:
        igos.adapt(SlimResNet(3), given, crop=32)
    assert str(caught.value).startswith("labels: ") and "\n" not in str(caught.value)


def test_a_detectors_ids_from_1_leave_0_to_the_background() -> None:
    names = ["__background__", "cat", "dog"]
    for given in ({1: "cat", 2: "dog"}, {0: "__background__", 1: "cat", 2: "dog"}, ["cat", "dog"]):
        assert igos.adapt(build_rcnn(3, False), given).labels == names


def test_choose(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("cat\n")
    assert labels.choose(None, None) is None
    assert labels.choose(None, "voc") == labels.voc()
    assert labels.choose(path, "voc") == ["cat"]
    with pytest.raises(ConfigError, match="'cifar' is not one of imagenet, coco, voc"):
        labels.choose(None, "cifar")


def test_fit_tells_both_numbers() -> None:
    labels.fit(["cat", "dog"], 2, "names.txt")
    with pytest.raises(ConfigError, match="names.txt: 2 class names, but the network has 80 classes"):
        labels.fit(["cat", "dog"], 80, "names.txt")


def test_real_synset_words_agree_with_torchvision() -> None:
    names = labels.read_names(shared_data("squeezenet", "synset_words.txt"))
    pairs = list(zip(names, labels.imagenet(), strict=True))
    assert names[0] == "tench, Tinca tinca"
    assert sum(long.split(",")[0] == short for long, short in pairs) > 950
