"""What is due and what was made of it: manifests that lost lines, parts that are merged, names and identities."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from igos import cli
from igos.base.files import FOLDER_NAMES
from igos.data.pictures import find_pictures
from igos.metrics import METRICS
from igos.results.manifest import Manifest, share_of
from igos.results.read import each_row, read_arrays, read_rows
from igos.run.merge import merge
from igos.run.models import weights_of
from igos.run.settings import Run
from igos.types import ConfigError
from tests.faults import Faulty, local, once, picture, pictures, same_maps

pytestmark = pytest.mark.usefixtures("undrawn")


# The manifest


def _cut(lines: list[bytes], damage: str) -> bytes:
    return {
        "emptied": b"",
        "half": b"".join(lines[:3]),
        "without its first line": b"".join(lines[1:]),
        "last line lost": b"".join(lines[:-1]),
        "last line torn": b"".join(lines)[:-9],
        "zeros": b"".join(lines[:-2]) + b"\0" * 70 + b"\n" + lines[-1],
    }[damage]


@pytest.mark.parametrize("layout", ["folders", "shards"])
@pytest.mark.parametrize(
    "damage", ["emptied", "half", "without its first line", "last line lost", "last line torn", "zeros"]
)
def test_a_manifest_that_lost_lines_is_made_whole(damage: str, layout: str, tmp_path: Path) -> None:
    data, out = pictures(tmp_path / "data", 4), tmp_path / "out"
    local(data, out, layout=layout)
    shutil.copytree(out, tmp_path / "calm")
    lines = (out / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    (out / "manifest.jsonl").write_bytes(_cut(lines, damage))
    if layout == "folders":
        shutil.rmtree(out / "p002")
        shutil.rmtree(out / "p003" / "1-right")
    for _ in range(2):
        local(data, out, layout=layout)
        once(out, 4)
    same_maps(out, tmp_path / "calm")
    assert sorted(Manifest(out).due) == ["p000", "p001", "p002", "p003"]


def test_a_manifest_that_lost_lines_is_not_made_whole_of_other_pictures(tmp_path: Path) -> None:
    data, out = pictures(tmp_path / "data", 4), tmp_path / "out"
    local(data, out)
    lines = (out / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    (out / "manifest.jsonl").write_bytes(b"".join(lines[:3]))
    with pytest.raises(ConfigError, match="damaged; igos --resume"):
        Manifest(out)
    (data / "p001.png").unlink()
    with pytest.raises(ConfigError, match=r"are not those of the run any more \(4 then, 3 now\)"):
        local(data, out)
    assert len(read_rows(out)) == 8


# Merging


def test_parts_are_the_same_everywhere_and_merge_to_the_whole(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    data = pictures(tmp_path / "data", 12, {3: "raise", 5: "none"})
    names = [(f"/x/{n}.png", str(n)) for n in range(1000)]
    parts = [share_of(names, f"{i}/3") for i in (1, 2, 3)]
    assert sorted(p for part in parts for p in part) == sorted(names) and min(map(len, parts)) > 280
    for layout in ("folders", "shards"):
        folders = [tmp_path / f"{layout}-{i}" for i in (1, 2, 3)]
        for i, folder in enumerate(folders, 1):
            local(data, folder, shard=f"{i}/3", layout=layout)
        whole = tmp_path / f"{layout}-whole"
        assert cli.main(["merge", *map(str, folders), "--out", str(whole)]) == 0
        local(data, tmp_path / f"{layout}-one", layout=layout)
        same_maps(whole, tmp_path / f"{layout}-one")
        statuses = Counter(r["status"] for r in each_row(whole))  # one of these maps is the same everywhere
        assert statuses["ok"] + statuses["no-effect"] == 20 and statuses["error"] == 2 and statuses["skipped"] == 1
        with pytest.raises(ConfigError, match="shard 2/3 is missing"):
            merge([folders[0], folders[2]], tmp_path / "x")
        with pytest.raises(ConfigError, match="is doubled"):
            merge([*folders, folders[0]], tmp_path / "x")
    (folders[1] / "shards" / "000001.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"are not finished \(p.*first: igos --resume"):
        merge(folders, tmp_path / "x")
    assert not (tmp_path / "x").exists() and "explanations of 3 parts" in capsys.readouterr().out


def test_parts_of_other_pictures_are_not_merged(tmp_path: Path) -> None:
    data = pictures(tmp_path / "data", 12)
    listed = [(str(p), p.stem) for p in sorted(data.iterdir())]
    local(data, tmp_path / "1", shard="1/2")
    Path(share_of(listed, "2/2")[0][0]).unlink()
    local(data, tmp_path / "2", shard="2/2")
    with pytest.raises(ConfigError, match=r"other pictures \(11 there, 12 for .*1\); --data has changed in between"):
        merge([tmp_path / "1", tmp_path / "2"], tmp_path / "all")
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize("layout", ["folders", "shards"])
def test_damaged_explanations_are_not_merged(layout: str, tmp_path: Path) -> None:
    data, parts = pictures(tmp_path / "data", 6), [tmp_path / "1", tmp_path / "2"]
    for i, part in enumerate(parts, 1):
        local(data, part, shard=f"{i}/2", layout=layout)
    files = sorted(parts[1].rglob("explanation.npz")) or sorted(parts[1].rglob("*.safetensors"))
    whole = bytearray(files[0].read_bytes())
    whole[-5] ^= 1
    hurts = [lambda: files[0].write_bytes(whole)]
    hurts += [lambda: files[0].write_bytes(b"x"), files[0].unlink] if layout == "folders" else []
    for hurt in hurts:
        hurt()
        with pytest.raises(ConfigError, match=r"1 explanations are missing or damaged \(p00.*; first: igos --resume"):
            merge(parts, tmp_path / "all")
    local(data, parts[1], shard="2/2", layout=layout)
    assert merge(parts, tmp_path / "all") == 12
    once(tmp_path / "all", 6)
    assert len(Manifest(tmp_path / "all").due) == 6
    shutil.rmtree(data)
    assert local(data, tmp_path / "all", layout=layout).tally.explanations == 12, "and can be gone on with"


# Names


def test_pictures_may_have_the_names_of_the_run_s_own_files(tmp_path: Path) -> None:
    curves = [name for name, metric in METRICS.items() if metric.mean_curve]
    assert curves and {f"{m}{end}" for m in curves for end in (".png", "_curves.csv")} < set(FOLDER_NAMES)
    for n, name in enumerate([*FOLDER_NAMES, "results.cat", "Shards"]):
        picture(tmp_path / "data" / f"{name}.png", n)
    data, count = tmp_path / "data", 2 * len(FOLDER_NAMES) + 4
    names = {name.lower() for _, name in find_pictures([str(data)])}
    assert len(names) == count / 2 and not names & set(FOLDER_NAMES)
    for layout in ("folders", "shards"):
        parts = [tmp_path / f"{layout}-{i}" for i in (1, 2)]
        for i, part in enumerate(parts, 1):
            for _ in range(2):
                local(data, part, shard=f"{i}/2", layout=layout)
        whole = tmp_path / layout
        assert merge(parts, whole) == count
        assert all(np.isfinite(read_arrays(whole, r)["saliency"]).all() for r in each_row(whole))


# Identity


@pytest.mark.usefixtures("forked")
@pytest.mark.usefixtures("forked")
def test_the_identity_follows_what_decides_the_result(tmp_path: Path) -> None:
    data = pictures(tmp_path / "data", 1)
    made = {}
    for name, flags in {
        "a": {}, "same": {"batch": 3, "readers": 1}, "seed": {"manual_seed": 1}, "steps": {"iterations": 3},
    }.items():  # fmt: skip
        local(data, tmp_path / name, **flags)
        made[name] = [r["id"] for r in read_rows(tmp_path / name)]
    assert made["a"] == made["same"] and not set(made["a"]) & {*made["seed"], *made["steps"]}
    picture(data / "p000.png", seed=5)
    local(data, tmp_path / "b")
    assert not set(made["a"]) & {r["id"] for r in read_rows(tmp_path / "b")}


def test_the_identity_is_that_of_other_devices_and_of_the_files_content(tmp_path: Path) -> None:
    class Rounding(Faulty):
        def detect(self, *words: Any) -> Any:
            found = super().detect(*words)
            return [replace(t, score=t.score + 1e-6, box=t.box + 4e-6) for t in found if t.box is not None]

    def ids(name: str, **more: Any) -> set[str]:
        local(data, tmp_path / name, layout="shards", **more)
        return {r["id"] for r in each_row(tmp_path / name)}

    data, others = pictures(tmp_path / "data", 1), pictures(tmp_path / "others", 2)
    assert ids("a") == ids("b", adapter=Rounding()) != ids("c", model="another") and len(ids("a")) == 2
    compared: dict[str, Any] = {"method": "gradient_shap", "references": str(others), "metrics": ["none"]}
    off = {"opt": None, "iterations": None, "ig_iter": None, "size": None, "set": ["n_samples=2"]}
    first = ids("d", **compared, **off)
    shutil.copytree(others, tmp_path / "moved")
    assert ids("e", **{**compared, "references": str(tmp_path / "moved")}, **off) == first
    picture(others / "p001.png", seed=9)
    assert not ids("f", **compared, **off) & first


def test_weights_are_told_apart_by_their_bytes(tmp_path: Path) -> None:
    def made(**values: Any) -> str:
        return weights_of(Run(**values))

    for name in ("a.pth", "b.pth"):
        (tmp_path / name).write_text("weights")
    one, other = ({"model": "m-rcnn", "model_file": str(tmp_path / f"{n}.pth")} for n in "ab")
    assert made(**one) == made(**other) == made(**one, device="cpu")
    (tmp_path / "b.pth").write_text("others")
    bundled = [made(model=name) for name in ("emblem-m-rcnn", "emblem-vgg", "emblem-resnet", "emblem-yolov3spp")]
    judged = [made(**one, judge="emblem-vgg"), made(**one, judge="vgg16", judge_file=str(tmp_path / "b.pth"))]
    assert len({made(**one), made(**other), made(model="m-rcnn", pretrained=True), *bundled, *judged}) == 9
