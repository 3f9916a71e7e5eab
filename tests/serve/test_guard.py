"""Who may speak to the live page, and what it takes: asked without a browser and without a network."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from starlette.testclient import TestClient

from igos.results import page
from igos.results.folder import RunFolder
from igos.serve import server
from igos.serve.guard import POLICY, Guard
from igos.serve.session import Session
from igos.types import ConfigError, ImageError
from tests.serve.here import HOST, TOKEN, guarded, nothing

FACTS = {"name": "toy", "classes": False, "threshold": 0.4, "least": 0.1, "labels": [], "notes": [], "device": "cpu"}


def read(path: str) -> np.ndarray:
    from detectors.pictures import read_rgb

    return read_rgb(path)[0]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Session:
    folder = tmp_path_factory.mktemp("guard")
    names = ["one.png", "<img src=x onerror=alert(1)>.png"]
    for name in names:
        PIL.Image.new("RGB", (40, 30), "teal").save(folder / name)
    (folder / "secret.txt").write_text("secret")
    facts = [{**FACTS, "flags": {"model": "toy"}}]
    pictures = [(str(folder / name), f"p{n}") for n, name in enumerate(names)]
    return Session(RunFolder(folder / "run"), pictures, read, facts, {"model": "toy", "metrics": ["none"]})


@pytest.fixture
def client(made: Session) -> Iterator[TestClient]:
    with TestClient(guarded(made, nothing()), base_url=f"http://{HOST}", raise_server_exceptions=False) as one:
        yield one


@pytest.fixture
def known(client: TestClient) -> TestClient:
    """The client with the page's cookie."""
    assert client.get("/", params={"token": TOKEN}).status_code == 200
    return client


def test_the_address_answers_the_page_and_gives_the_cookie(client: TestClient) -> None:
    answer = client.get("/", params={"token": TOKEN}, follow_redirects=False)
    assert answer.status_code == 200 and "<h1>igos</h1>" in answer.text
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("igos_8000=") and "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert TOKEN not in cookie
    assert client.get("/start").status_code == 200, "by the cookie"


@pytest.mark.parametrize("path", ["/", "/start", "/static/live.js", "/picture/0/photo", "/report.html", "/none"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_without_token_or_cookie_nothing_is_answered(client: TestClient, path: str, method: str) -> None:
    for more in ({}, {"cookie": "igos_8000=abc"}, {"cookie": "igos_8000"}):
        answer = client.request(method, path, headers=more)
        assert answer.status_code == 403 and "<h1>" not in answer.text
    for token in ("", "a toke", "a token ", TOKEN.upper()):
        assert client.request(method, path, params={"token": token}).status_code == 403


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:8000", "http://127.0.0.1:8001", ""]
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_a_foreign_origin_is_refused_on_every_method(known: TestClient, origin: str, method: str) -> None:
    assert known.request(method, "/start", headers={"origin": origin}).status_code == 403
    own = known.request(method, "/start", headers={"origin": f"http://{HOST}"}).status_code
    assert own == (200 if method in ("GET", "HEAD") else 405)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1", "127.0.0.1:8001", "localhost:80", ""]
)
def test_a_foreign_host_is_a_bad_request(known: TestClient, host: str) -> None:
    assert known.get("/start", headers={"host": host}).status_code == 400
    assert known.get("/", params={"token": TOKEN}, headers={"host": host}).status_code == 400
    for own in ("localhost:8000", "LOCALHOST:8000", "[::1]:8000"):
        assert known.get("/", params={"token": TOKEN}, headers={"host": own}).status_code == 200


def test_beyond_loopback_addresses_are_hosts_and_names_of_strangers_are_not(made: Session) -> None:
    guard = guarded(made, nothing(), "0.0.0.0", 9000)
    for host, status in (("192.168.1.7:9000", 0), ("[fe80::1]:9000", 0), ("rebind.example:9000", 400)):
        scope: dict[str, Any] = {"headers": [(b"host", host.encode())], "query_string": b"token=a%20token"}
        assert guard.refusal(scope)[0] == status, host


def test_every_answer_has_the_policy(known: TestClient) -> None:
    for path in ("/", "/start", "/static/live.css", "/picture/0/thumb", "/picture/9/thumb", "/none"):
        headers = known.get(path).headers
        assert headers["content-security-policy"] == POLICY and headers["x-content-type-options"] == "nosniff", path
        assert headers["referrer-policy"] == "no-referrer", "the address holds the token"


def test_the_page_keeps_its_policy(known: TestClient) -> None:
    text = known.get("/", params={"token": TOKEN}).text
    assert " style=" not in text and "onclick" not in text and "http" not in text
    assert text.count("<script") == text.count('<script src="static/')


@pytest.mark.parametrize(
    "path",
    [
        "/static/../page.py", "/static/%2e%2e%2fpage.py", "/static/..%2f..%2fpage.py", "/static/page.html", "/static/",
        "/picture/../secret.txt", "/picture/-1/photo", "/picture/1e9/photo", "/picture/99/photo",
        "/picture/%2e%2e%2fsecret.txt/photo", "/answer/0/explanation.npz", "/answer/../../secret.txt", "//etc/passwd",
    ],
)  # fmt: skip
def test_no_path_leads_anywhere(known: TestClient, path: str) -> None:
    answer = known.get(path)
    assert answer.status_code in (400, 404) and "secret" not in answer.text and "root:" not in answer.text


def test_pictures_are_told_by_their_names_as_text(known: TestClient, made: Session) -> None:
    start = known.get("/start").json()
    assert start["pictures"][:2] == ["one.png", "<img src=x onerror=alert(1)>.png"]
    assert str(Path(made.pictures[0].path).parent) not in json.dumps(start["pictures"])
    photo = known.get("/picture/1/photo")
    assert photo.headers["content-type"] == "image/webp"
    assert PIL.Image.open(io.BytesIO(photo.content)).size == (40, 30)


def bomb() -> bytes:
    """A PNG that says it has 30000 x 30000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 30000, 30000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(30001))) + chunk(b"IEND", b"")
    )


REFUSED = {
    "words.txt": (b"these are words\n" * 9, "not a picture in a format that is read"),
    "bomb.png": (bomb(), "pixels; make it smaller first"),
    "nothing.png": (b"", "is empty"),
    "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>", "not a picture"),
    "cut.jpg": (b"\xff\xd8\xff\xe0\x00\x10JFIF", "damaged or cut off"),
    "../../up.png": (b"GIF89a", "not a picture"),
    "small.png": (None, "every side must be at least 16 px"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_picture_is_a_sentence_and_leaves_nothing(known: TestClient, made: Session, name: str) -> None:
    data, why = REFUSED[name]
    if data is None:
        out = io.BytesIO()
        PIL.Image.new("RGB", (4, 4)).save(out, "PNG")
        data = out.getvalue()
    before = sorted(made.folder.path.rglob("*")), len(made.pictures)
    answer = known.post("/picture", files={"file": (name, data)})
    assert answer.status_code == 400 and why in answer.text and "\n" not in answer.text
    assert str(made.folder.path) not in answer.text, "no path of the server"
    assert (sorted(made.folder.path.rglob("*")), len(made.pictures)) == before


def test_an_upload_lies_in_the_folder_by_a_safe_name(known: TestClient, made: Session) -> None:
    out = io.BytesIO()
    PIL.Image.new("RGB", (30, 20), "red").save(out, "PNG")
    for n, name in enumerate(["../../etc/passwd.png", "C:\\x\\<b>.png", "CON.png", "...", "dog.html"]):
        answer = known.post("/picture", files={"file": (name, out.getvalue())})
        assert answer.status_code == 200, name
        shown = made.pictures[answer.json()["picture"]]
        place = Path(shown.path)
        assert place.parent == made.folder.path / "pictures" and place.is_file(), name
        assert place.suffix in (".png", ""), n
    assert not (made.folder.path.parent / "etc").exists()


def test_too_much_is_refused_before_it_is_read(known: TestClient) -> None:
    assert known.post("/picture", content=b"x", headers={"content-length": str(2**40)}).status_code == 413

    def endless() -> Iterator[bytes]:
        for _ in range(40):
            yield bytes(2**20)

    assert known.post("/picture", content=endless()).status_code in (400, 413)
    assert known.post("/explain", content=bytes(300_000)).status_code == 413


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"picture": -1}', b'{"picture": "0"}', b'{"picture": true}', b"[" * 9000]
)
def test_a_question_that_is_none(known: TestClient, body: bytes) -> None:
    for path in ("/explain", "/score"):
        answer = known.post(path, content=body)
        assert answer.status_code == 400 and answer.text and "Traceback" not in answer.text


def test_questions_name_what_there_is(known: TestClient) -> None:
    asked = {"picture": 0, "index": 0, "label": 0, "method": "iGOS++", "preset": "quick", "question": "why"}
    for key, value in (
        ("method", "nothing"),
        ("preset", "../../x"),
        ("question", "who"),
        ("picture", 77),
        ("model", 3),
    ):
        answer = known.post("/explain", json={**asked, key: value})
        assert answer.status_code in (400, 404) and len(answer.text) < 300, key
    own = {k: v for k, v in asked.items() if k not in ("index", "label")}
    for box in (None, [1, 2, 3], [1, 2, 3, "4"], {"x": 1}, [1, 2, 3, True]):
        for name in ("dog", "", "a\nb", 7, "x" * 600):
            more = {"box": box, "name": name, "threshold": 0.4 if box else 3}
            if box != [1, 2, 3, True] or name != "dog":
                assert known.post("/explain", json={**own, **more}).status_code == 400


def test_a_stranger_learns_nothing_by_waiting() -> None:
    """The token is compared in constant time, and no answer holds it."""
    guard = Guard(None, TOKEN, "127.0.0.1", 8000)
    assert guard.value != TOKEN and len(guard.value) == 64


def test_all_files_of_the_page_are_served(known: TestClient) -> None:
    for name in page.LIVE:
        answer = known.get(f"/static/{name}")
        assert (
            answer.status_code == 200
            and ("css" if name.endswith("css") else "javascript") in answer.headers["content-type"]
        )


def test_what_reads_pictures_is_imported_while_the_network_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first picture waited for it, for seconds."""
    order: list[str] = []

    class Loading:
        def __init__(self, *_: Any) -> None:
            order.append("started")

        def ready(self) -> Any:
            order.append("ready")
            raise ConfigError("no such model")

        def end(self) -> None:
            order.append("ended")

    def read(path: str) -> Any:
        order.append("read")
        raise ImageError("no such file")

    monkeypatch.setattr(server, "Process", Loading)
    with pytest.raises(ConfigError, match="no such model"):
        server.serve({}, [None], None, server.Place(), read, lambda device: {})
    assert order == ["started", "read", "ready", "ended"]
