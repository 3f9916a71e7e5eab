"""Pictures in a bucket: a local server that speaks S3 (moto), one for all tests here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from igos.base import addresses
from igos.base.hashing import digest
from igos.data.annotations import known_of
from igos.data.pictures import find_pictures
from igos.types import ConfigError, ImageError
from tests.data.test_anywhere import archive, same
from tests.faults import local, picture


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("s3")
    return [Path(picture(folder / f"p{n}.png", n)) for n in range(3)]


@pytest.fixture(scope="module")
def bucket(files: list[Path]) -> Iterator[str]:
    """A bucket with three pictures, two of them in a folder and in a shard, where one has a class number."""
    moto = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    import fsspec

    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for key, value in {
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "tests",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        }.items():
            patch.setenv(key, value)
        fs = fsspec.filesystem("s3")
        fs.mkdir("photos")
        for n, file in enumerate(files):
            fs.pipe_file(f"photos/{'sub/' if n else ''}{file.name}", file.read_bytes())
        shard = archive(files[0].parent / "s.tar", files[1:], ("p1.cls", b"7"))
        fs.pipe_file("photos/s.tar", shard.read_bytes())
        yield "s3://photos"
        fsspec.asyn.reset_lock()
    server.stop()


def test_a_folder_a_file_a_pattern_and_a_shard_of_a_bucket(bucket: str, files: list[Path]) -> None:
    same([f for f in find_pictures([bucket]) if ".tar" not in f[0]], files)
    same(find_pictures([f"{bucket}/p0.png"]), files[:1])
    same(find_pictures([f"{bucket}/sub/*.png"]), files[1:])
    found = find_pictures([f"{bucket}/s.tar"])
    same(found, files[1:])
    assert known_of(found[0][0]).classes == [7] and not known_of(found[1][0]).classes


def test_what_is_not_there_is_said_at_once(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "PAUSE", 60.0)
    with pytest.raises(ConfigError, match="--data s3://photos/none: cannot be read .no such file or folder"):
        find_pictures([f"{bucket}/none"])
    with pytest.raises(OSError, match="p9"):
        digest(f"{bucket}/p9.png")
    with pytest.raises(ImageError, match="p9"):
        known_of(f"{bucket}/t.tar!/p9.png")


def test_a_run_reads_from_a_bucket_and_goes_on(bucket: str, tmp_path: Path, undrawn: None) -> None:
    place, out = f"{bucket}/sub", tmp_path / "out"
    rows = local(place, out).rows
    assert {r["image"] for r in rows} == {f"{bucket}/sub/p1.png", f"{bucket}/sub/p2.png"} and len(rows) == 4
    (out / rows[0]["folder"] / "explanation.npz").unlink()
    again = local(place, out)
    assert len(again.rows) == 4 and again.damaged == [rows[0]["folder"]]
