"""Class names: the three datasets, name files in all their shapes, and lists that do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from detectors import labels
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
