"""Pictures from anywhere: stores, archives, tables and lists; a server that fails, one that is slow."""

from __future__ import annotations

import io
import tarfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detectors.pictures import read_rgb
from igos.base import addresses
from igos.base.hashing import digest
from igos.data.annotations import known_of
from igos.data.pictures import find_pictures
from igos.results import page_content
from igos.results.read import each_row
from igos.run import decides
from igos.run.evaluate import Saved
from igos.types import ConfigError, ImageError
from tests.faults import local, picture


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("anywhere")
    return [Path(picture(folder / f"p{n}.png", n)) for n in range(3)]


@pytest.fixture
def memory(files: list[Path]) -> Iterator[str]:
    fsspec = pytest.importorskip("fsspec")
    fs = fsspec.filesystem("memory")
    for n, file in enumerate(files):
        fs.pipe_file(f"/bucket/{'sub/' if n else ''}{file.name}", file.read_bytes())
    fs.pipe_file("/bucket/notes.md", b"none")
    yield "memory://bucket"
    fs.store.clear()


def archive(path: Path, files: list[Path], *more: tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for file in files:
            tar.add(file, file.name)
        for name, data in more:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return path


def same(found: list[tuple[str, str]], files: list[Path]) -> None:
    """They are those pictures, by their hashes and their pixels."""
    assert len(found) == len(files)
    for (path, _), file in zip(found, files, strict=True):
        assert digest(path) == digest(file)
        assert np.array_equal(read_rgb(path)[0], read_rgb(file)[0]) and read_rgb(path)[1] == path


def test_a_folder_a_file_and_a_pattern_of_a_store(memory: str, files: list[Path]) -> None:
    found = find_pictures([memory])
    assert [name for _, name in found] == ["p0", "sub-p1", "sub-p2"]
    same(found, files)
    same(find_pictures([f"{memory}/p0.png"]), files[:1])
    same(find_pictures([f"{memory}/sub/*.png"]), files[1:])
    with pytest.raises(ConfigError, match=r"--data memory://bucket/none/\*: holds no pictures"):
        find_pictures(["memory://bucket/none/*"])
    with pytest.raises(ConfigError, match="--data memory://bucket/none: cannot be read .no such file or folder"):
        find_pictures(["memory://bucket/none"])


def test_shards_of_webdataset(files: list[Path], tmp_path: Path) -> None:
    for n in range(3):
        archive(tmp_path / f"train-{n:03}.tar", files[n : n + 1], (f"p{n}.cls", b"3"))
    place = str(tmp_path / "train-{000..002}.tar")
    found = find_pictures([place])
    assert [name for _, name in found] == ["train-000-p0", "train-001-p1", "train-002-p2"]
    same(found, files)
    with pytest.raises(ConfigError, match=r"train-003.tar: no such file"):
        find_pictures([str(tmp_path / "train-{000..003}.tar")])
    with pytest.raises(ConfigError, match="no range of at most"):
        find_pictures([str(tmp_path / "train-{0..999999999}.tar")])
    with pytest.raises(ImageError, match="no such file"):
        read_rgb(f"{tmp_path}/train-000.tar!/../p9.png")


def test_of_an_archive_in_a_store_only_what_is_asked_for_is_read(files: list[Path], tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/b/x.tar", archive(tmp_path / "x.tar", files).read_bytes())
    same(find_pictures(["memory://b/x.tar"]), files)
    fs.store.clear()


def test_what_is_no_archive_is_one_line(tmp_path: Path, files: list[Path]) -> None:
    (tmp_path / "x.tar").write_bytes(b"no archive" * 100)
    with pytest.raises(ConfigError, match=r"--data .*x\.tar: cannot be read \(no tar archive"):
        find_pictures([str(tmp_path / "x.tar")])
    whole = archive(tmp_path / "y.tar", files).read_bytes()
    (path, _), *_ = find_pictures([str(tmp_path / "y.tar")])
    (tmp_path / "y.tar").write_bytes(whole[:600])
    with pytest.raises(ImageError):
        read_rgb(path)


@pytest.mark.parametrize("form", ["bytes", "struct"])
def test_tables_with_a_column_of_pictures(files: list[Path], tmp_path: Path, form: str) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    data: list[Any] = [f.read_bytes() for f in files]
    if form == "struct":
        data = [{"bytes": d, "path": f"x/{f.name}"} for d, f in zip(data, files, strict=True)]
    pq.write_table(pa.table({"image": data, "label": [1, 2, 3]}), tmp_path / "t.parquet", row_group_size=2)
    found = find_pictures([str(tmp_path / "t.parquet")])
    assert [n for _, n in found] == [f"t-p{i}" if form == "struct" else f"t-{i:07}" for i in range(3)]
    same(found, files)
    with pytest.raises(ImageError, match="no such row"):
        read_rgb(f"{tmp_path}/t.parquet!/3")


def test_a_list_of_paths_and_addresses(files: list[Path], tmp_path: Path, memory: str) -> None:
    names = tmp_path / "list.txt"
    lines = ["# mine", "", str(files[0]), f"{memory}/sub/p1.png", "gone.png"]
    names.write_text("\n".join(lines))
    found = find_pictures([str(names)])
    same(found[:2], files[:2])
    with pytest.raises(ImageError, match=r"gone.png: no such file"):
        read_rgb(found[2][0])


def test_chains_and_other_schemes_are_no_addresses() -> None:
    for path in ("zip://a.png::https://x/y.zip", "file:///etc/passwd", "s3://a::file:///etc/passwd", "C:/a.png"):
        assert not addresses.is_address(path), path


def test_more_bytes_than_are_read_are_refused(memory: str) -> None:
    with pytest.raises(OSError, match="more than 10 bytes"):
        addresses.fetched(f"{memory}/p0.png", 10)


def test_annotations_come_from_a_store(memory: str, files: list[Path]) -> None:
    import fsspec

    text = b'{"images": [{"id": 1, "file_name": "p0.png"}], "categories": [{"id": 1, "name": "dog"}], "annotations": '
    text += b'[{"id": 7, "image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 10]}]}'
    fsspec.filesystem("memory").pipe_file("/bucket/instances.json", text)
    known = known_of(f"{memory}/p0.png", f"{memory}/instances.json", (32, 32))
    assert [(t.name, list(t.box)) for t in known.objects] == [("dog", [1, 2, 11, 12])]


# A run


def test_a_run_reads_from_a_store_and_goes_on(memory: str, tmp_path: Path, undrawn: None) -> None:
    folder = local(memory, tmp_path / "out")
    rows = list(each_row(tmp_path / "out"))
    assert len(rows) == 6 and {r["image"] for r in rows} == {
        f"{memory}/p0.png",
        f"{memory}/sub/p1.png",
        f"{memory}/sub/p2.png",
    }
    again = local(memory, tmp_path / "out")
    assert len(again.rows) == 6 and not again.damaged and not folder.damaged


class Server(ThreadingHTTPServer):
    """Pictures by HTTP; every `failing`-th request fails, each waits for `pause` seconds."""

    def __init__(self, files: list[Path], failing: int = 0, pause: float = 0.0) -> None:
        self.files, self.failing, self.pause, self.count = {f"/{f.name}": f for f in files}, failing, pause, 0
        super().__init__(("127.0.0.1", 0), Answer)
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET(False)

    def do_GET(self, body: bool = True) -> None:
        self.server.count += 1
        time.sleep(self.server.pause)
        file = self.server.files.get(self.path)
        if self.server.failing and self.server.count % self.server.failing == 0:
            self.send_error(503)
        elif file is None:
            self.send_error(404)
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(file.stat().st_size))
            self.end_headers()
            self.wfile.write(file.read_bytes() if body else b"")


@pytest.mark.parametrize(("failing", "pause"), [(5, 0.0), (0, 0.05)])
def test_a_server_that_fails_or_is_slow_costs_no_picture(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undrawn: None, failing: int, pause: float
) -> None:
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(addresses, "PAUSE", 0.001)
    server = Server(files, failing, pause)
    try:
        names = tmp_path / "list.txt"
        names.write_text("\n".join(f"{server.url}/{f.name}" for f in files) + f"\n{server.url}/gone.png\n")
        local(names, tmp_path / "out")
        rows = list(each_row(tmp_path / "out"))
        assert len([r for r in rows if r["folder"]]) == 6 and len(rows) == 7
        (lost,) = [r for r in rows if not r["folder"]]
        assert lost["status"] == "unreadable" and lost["image"].endswith("gone.png")
        server.files["/gone.png"] = files[0]
        local(names, tmp_path / "out", retry=("error", "unreadable"))
        assert len([r for r in each_row(tmp_path / "out") if r["folder"]]) == 8
    finally:
        server.shutdown()
        server.server_close()


# Folders of strangers


def test_who_only_reads_a_folder_fetches_nothing(
    memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undrawn: None
) -> None:
    local(memory, tmp_path / "out")

    def never(path: str, most: int) -> bytes:
        raise AssertionError(f"{path} was fetched")

    monkeypatch.setattr("igos.base.reading.fetched", never)
    made = page_content.album([tmp_path / "out"], lambda path: read_rgb(path)[0])
    assert len(made.items) == 6 and all("not fetched" in p["lost"] for p in made.pictures)
    names = tmp_path / "list-1.txt"
    names.write_text(f"{memory}/p0.png")
    rows = list(each_row(tmp_path / "out"))
    with pytest.raises(
        ConfigError, match="its pictures lie at addresses, as memory://bucket/p0.png; --fetch reads them"
    ):
        Saved.of("out", rows)
    assert len(Saved.of("out", rows, fetch=True).pictures) == 3
    for place in (memory, f"{tmp_path}/list-{{1..1}}.txt"):
        with pytest.raises(ConfigError, match="not taken here"):
            decides._content(place)
