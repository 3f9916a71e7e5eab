"""The built wheel works elsewhere: build, install into an environment that has the dependencies, run the command."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import igos
from tests.conftest import DATA

ROOT = Path(__file__).resolve().parents[2]


def run(words: list[str], cwd: Path, code: int = 0) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of an environment that holds the wheel alone and sees this environment's libraries."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    run(["git", "clone", "-q", str(ROOT), str(source)], place)
    changed = run(["git", "ls-files", "-mo", "--exclude-standard"], ROOT).split("\n")
    for name in filter(None, changed):
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            target.write_bytes((ROOT / name).read_bytes())
    run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(place / "dist"), str(source)],
        place,
    )
    venv.create(place / "env")
    python = place / "env" / "bin" / "python"
    (wheel,) = (place / "dist").glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    run([*pip, "install", "-q", "--no-deps", "--no-index", str(wheel)], place)
    site = run([str(python), "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"], place).strip()
    Path(site, "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return python


def test_the_wheel_runs_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    find = "from importlib.util import find_spec; print(find_spec('igos').origin, find_spec('detectors').origin)"
    cfg = "from igos.base.resources import folder; print((folder('configs') / 'yolov3-spp.cfg').stat().st_size)"
    beside = "__import__('pathlib').Path(find_spec('igos.drawing').origin).parent"
    letters = f"print(*sorted(f.name for f in {beside}.glob('fonts/*')))"
    where, size, fonts = run([str(installed), "-c", f"{find}; {cfg}; {letters}"], tmp_path).splitlines()
    assert fonts.split() == sorted(f.name for f in (ROOT / "igos" / "drawing" / "fonts").iterdir()), (
        "with their licences"
    )
    assert str(ROOT) not in where and where.count("site-packages") == 2
    assert int(size) > 3000
    for start in ([str(installed.parent / "igos")], [str(installed), "-m", "igos"]):  # the console script, the module
        assert run([*start, "--version"], tmp_path).split() == ["igos", igos.__version__]


EACH = """
import json, runpy, sys
for start, words in json.loads(sys.argv[1]):
    sys.argv[1:] = words
    try:
        runpy.run_module("igos", run_name="__main__") if start == "-m" else runpy.run_path(start, run_name="__main__")
    except SystemExit as end:
        print("exit", end.code, flush=True)
"""


def test_the_wheel_explains_its_samples_and_a_photo(installed: Path, tmp_path: Path) -> None:
    """In one process, which imports torch once; by the console script and as a module, as their starters run them."""
    script = str(installed.parent / "igos")
    samples = ["--num_samples", "1", "--iterations", "2", "--target", "top1", "--output", "samples"]
    samples += ["--set", "sure=false", "deletion.steps=4", "insertion.steps=4"]
    net, photo = DATA / "yolo-fastest", DATA / "photos" / "darknet_eagle.jpg"
    given = net.exists() and photo.exists()
    stem = str(net / "yolo-fastest-1.1")
    words = ["--model", "darknet", "--cfg", f"{stem}.cfg", "--model_file", f"{stem}.weights", "--data", str(photo)]
    words += ["--iterations", "2", "--set", "sure=false", "--metrics", "none", "--output", "photo"]
    jobs = [(script, ["--list"]), ("-m", ["--cfg", "x.cfg"]), ("-m", samples), *[(script, words)] * given]
    printed = run([str(installed), "-c", EACH, json.dumps(jobs)], tmp_path)
    assert re.findall(r"^exit (\w+)$", printed, re.MULTILINE) == ["0", "2", "0", "0"][: len(jobs)], printed
    listing = printed.partition("exit 0")[0]
    assert "iGOS++" in listing and "detect-yolo" in listing and "published-detect" in listing
    assert "give --model" in printed
    assert "evidence_share" in printed and "ok" in printed
    assert list((tmp_path / "samples").rglob("overlay.png"))
    assert "function" in (tmp_path / "samples" / "report.html").read_text(), "the page's templates ship"
    if not given:
        pytest.skip(f"real data missing: {net} and {photo}")
    assert list((tmp_path / "photo").rglob("overlay.png"))
