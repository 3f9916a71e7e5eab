"""The routes of the live page. Pictures are asked for by their number, answers too; nothing here takes a path."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from igos.results import page
from igos.results.page_content import looks
from igos.serve import asked as words
from igos.serve.jobs import Job, Jobs
from igos.serve.process import Process
from igos.serve.session import PHOTO, THUMB, Session
from igos.types import IgosError

LARGEST = 32 * 2**20  # bytes of an uploaded picture
MOST_JSON = 200_000  # bytes of a question, or of what is painted
MOST_CELLS = 256  # a side of what is painted
KEPT = {"cache-control": "private, max-age=3600"}
FRESH = {"cache-control": "no-store"}
ALIVE = 0.5  # seconds between two looks whether the page is still there


def app(session: Session, process: Process, jobs: Jobs) -> Starlette:
    """The application; process: listens from the start of the application on."""
    desk = Desk(session, process, jobs)

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        process.listen()
        yield

    routes = [
        Route("/", desk.page),
        Route("/static/{name}", desk.static),
        Route("/start", desk.start),
        Route("/picture", desk.upload, methods=["POST"]),
        Route("/picture/{n:int}/thumb", desk.thumb),
        Route("/picture/{n:int}/photo", desk.photo),
        Route("/picture/{n:int}/seen", desk.seen),
        Route("/explain", desk.explain, methods=["POST"]),
        Route("/cancel/{n:int}", desk.cancel, methods=["POST"]),
        Route("/score", desk.score, methods=["POST"]),
        Route("/answer/{n:int}/explanation.npz", desk.arrays),
        Route("/answer/{n:int}/row.json", desk.row),
        Route("/report.html", desk.report),
    ]
    handlers: Mapping[Any, Callable[..., Any]] = {
        IgosError: _told, IndexError: _missing, HTTPException: _plain,
    }  # fmt: skip
    return Starlette(routes=routes, exception_handlers=dict(handlers), lifespan=life)


class Desk:
    """What answers the routes."""

    def __init__(self, session: Session, process: Process, jobs: Jobs) -> None:
        self.session, self.process, self.jobs = session, process, jobs

    async def page(self, request: Request) -> Response:
        return HTMLResponse(page.live(), headers=FRESH)

    async def static(self, request: Request) -> Response:
        """One of the page's own files."""
        name = request.path_params["name"]
        if name not in page.LIVE:
            raise HTTPException(404)
        kind = "text/css" if name.endswith(".css") else "text/javascript"
        return Response(page.joined([name]), media_type=kind, headers=FRESH)

    async def start(self, request: Request) -> Response:
        """All that the page needs to begin."""
        masks, others = words.methods()
        keys = ("name", "classes", "threshold", "least", "labels", "notes")
        first = self.session.models[0]["flags"]
        start = {
            "models": [{k: m[k] for k in keys} for m in self.session.models],
            "pictures": [p.label for p in self.session.pictures],
            "methods": {"masks": masks, "others": others},
            "method": words.method_of(first),
            "presets": words.PRESETS,
            "questions": words.QUESTIONS,
            "folder": str(self.session.folder.path),
            "answers": await run_in_threadpool(self.session.books),
            **looks(),
        }
        return JSONResponse(start, headers=FRESH)

    async def upload(self, request: Request) -> Response:
        """A picture: a form whose `file` it is."""
        try:
            async with request.form(max_files=1, max_fields=4, max_part_size=10_000) as form:
                file = form.get("file")
                if not isinstance(file, UploadFile):
                    raise HTTPException(400, "no file in the form")
                data = await file.read(LARGEST + 1)
                name = file.filename or "picture"
        except HTTPException as error:
            raise HTTPException(400, error.detail) from None
        if len(data) > LARGEST:
            raise HTTPException(413, "a picture may have 32 MB at most")
        if not data:
            raise HTTPException(400, f"{name}: is empty")
        try:
            index = await run_in_threadpool(self.session.add, name, data)
        except IgosError as error:
            raise HTTPException(400, _without_paths(str(error), name)) from None
        return JSONResponse({"picture": index, "name": self.session.pictures[index].label}, headers=FRESH)

    async def thumb(self, request: Request) -> Response:
        return await self._picture(request, THUMB)

    async def photo(self, request: Request) -> Response:
        return await self._picture(request, PHOTO)

    async def _picture(self, request: Request, longest: int) -> Response:
        data = await run_in_threadpool(self.session.photo, request.path_params["n"], longest)
        return Response(data, media_type="image/webp", headers=KEPT)

    async def seen(self, request: Request) -> Response:
        """What a model sees in a picture."""
        shown, model = self.session.pictures[request.path_params["n"]], self._model(request.query_params.get("model"))
        seen = await self.process.answer({"do": "look", "path": shown.path, "model": model})
        return JSONResponse(seen, headers=FRESH)

    async def explain(self, request: Request) -> Response:
        """A question; its answer is a stream of events until it is answered, and ends with who asked."""
        given = await _json(request)
        picture = _whole(given, "picture")
        asked = {k: str(given.get(k, "")) for k in ("method", "preset", "question")}
        message = self.session.message(picture, _what(given), self._model(given.get("model", 0)), asked)
        job = self.jobs.add(picture, message)
        return StreamingResponse(self._stream(job, request), media_type="text/event-stream", headers=FRESH)

    async def _stream(self, job: Job, request: Request) -> AsyncIterator[str]:
        try:
            yield _event("begun", {"id": job.number, "before": self.jobs.before(job)})
            while not job.ended:
                with suppress(asyncio.TimeoutError):
                    kind, content = await asyncio.wait_for(job.events.get(), ALIVE)
                    yield _event(kind, content)
                    continue
                if await request.is_disconnected():
                    return
                yield ": alive\n\n"
        finally:
            self.jobs.cancel(job.number)

    async def cancel(self, request: Request) -> Response:
        self.jobs.cancel(request.path_params["n"])
        return JSONResponse({}, headers=FRESH)

    async def score(self, request: Request) -> Response:
        """The score of a detection where the picture is blurred by hand."""
        given = await _json(request)
        shown = self.session.pictures[_whole(given, "picture")]
        rows, columns = _whole(given, "rows"), _whole(given, "columns")
        try:
            paint = base64.b64decode(str(given.get("paint", "")), validate=True)
        except ValueError:
            paint = b""
        if not (1 <= rows <= MOST_CELLS and 1 <= columns <= MOST_CELLS and len(paint) == rows * columns):
            raise HTTPException(400, "what is painted does not fit its grid")
        message = {"do": "score", "path": shown.path, "model": self._model(given.get("model", 0))}
        found = await self.process.answer(
            {**message, "index": _whole(given, "index"), "paint": paint, "grid": (rows, columns)}
        )
        return JSONResponse(found, headers=FRESH)

    async def arrays(self, request: Request) -> Response:
        return FileResponse(self.session.arrays(request.path_params["n"]), filename="explanation.npz", headers=FRESH)

    async def row(self, request: Request) -> Response:
        row = json.dumps(self.session.row(request.path_params["n"]), indent=1) + "\n"
        name = {"content-disposition": 'attachment; filename="row.json"'}
        return Response(row, media_type="application/json", headers={**FRESH, **name})

    async def report(self, request: Request) -> Response:
        """The report of the session so far, to keep: it brings its own policy."""
        text = await run_in_threadpool(self.session.page)
        name = {"content-disposition": 'attachment; filename="report.html"'}
        return Response(text.encode("utf-8", errors="replace"), media_type="text/html", headers={**FRESH, **name})

    def _model(self, given: Any) -> int:
        text = str(given or 0)
        known = [str(n) for n in range(len(self.session.models))]
        if text not in known:
            raise HTTPException(404, "no such model")
        return int(text)


async def _json(request: Request) -> dict[str, Any]:
    """The body, a small JSON object."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_JSON:
            raise HTTPException(413, "too much for a question")
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise HTTPException(400, "a JSON object is needed")
    return given


def _what(given: Mapping[str, Any]) -> dict[str, Any]:
    """A detection, by its number and its label, or what was expected: a name and a box in source pixels."""
    box, name = given.get("box"), given.get("name")
    if box is None:
        return {"index": _whole(given, "index"), "label": _whole(given, "label")}
    numbers = isinstance(box, list) and len(box) == 4 and all(isinstance(v, (int, float)) for v in box)
    if not numbers or not isinstance(name, str) or not 0 < len(name) <= 500 or not name.isprintable():
        raise HTTPException(400, "a class and a box of four numbers are needed")
    threshold = given.get("threshold")
    if not isinstance(threshold, (int, float)) or not 0 <= threshold <= 1:
        raise HTTPException(400, "threshold: a number from 0 to 1 is needed")
    return {"box": [float(v) for v in box], "name": name, "threshold": float(threshold)}


def _whole(given: Mapping[str, Any], key: str) -> int:
    value = given.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
        raise HTTPException(400, f"{key}: a whole number is needed")
    return value


def _event(kind: str, content: Mapping[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps(content)}\n\n"


def _without_paths(text: str, name: str) -> str:
    """An error about an uploaded picture, by the name that its owner knows."""
    _, colon, rest = text.partition(": ")
    return f"{name}: {rest}" if colon else text


async def _told(request: Request, error: Exception) -> Response:
    return PlainTextResponse(" ".join(str(error).split()), 400, headers=FRESH)


async def _missing(request: Request, error: Exception) -> Response:
    return PlainTextResponse("there is no such thing here", 404, headers=FRESH)


async def _plain(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return PlainTextResponse(error.detail, error.status_code, headers={**FRESH, **(error.headers or {})})
