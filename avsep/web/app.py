"""The page and its requests, or the API alone. For this machine only: loopback, no accounts."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from hmac import compare_digest
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from avsep.errors import is_full
from avsep.separation.batch import SUFFIXES
from avsep.web.jobs import FULL, KEEP_S, BusyError, Job, Jobs
from avsep.web.openapi import describe

if TYPE_CHECKING:
    from avsep.separation import Separator

STATIC = Path(__file__).parent / "static"
PAGES = {"": "page.html", "page.css": "page.css", "page.js": "page.js"}
DEFAULT_MAX_BYTES = 1 << 30
OWN_HEADER = "x-avsep"  # pages of other sites cannot send it without asking first
DESCRIPTION = "/openapi.json"
_FILE = re.compile(r"(speaker\d+\.(wav|mp4|png)|overview\.mp4|tracks\.json|residual\.wav)")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self' data:; media-src 'self'; connect-src 'self'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def create_app(
    separator: Separator,
    *,
    max_bytes: int = DEFAULT_MAX_BYTES,
    note: str = "",
    folder: Path | None = None,
    token: str = "",
) -> Starlette:
    """The web application.

    Args:
        separator: a loaded model.
        max_bytes: size of the largest upload.
        note: a warning about the model, for people.
        folder: folder for the files; that of the system for temporary files if None.
        token: what each request must bring; then there is no page, only the API of programs.
    """
    jobs = Jobs(separator, folder)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        jobs.close()

    async def page(request: Request) -> Response:
        name = PAGES.get(request.path_params.get("name", ""))
        return FileResponse(STATIC / name) if name else _problem(404, "there is no such page.")

    async def about(_request: Request) -> Response:
        settings = separator.config
        return JSONResponse(
            {
                "model": separator.name,
                "note": note,
                "max_bytes": max_bytes,
                "suffixes": SUFFIXES,
                "keep_s": KEEP_S,
                "silent_after_s": settings.hold_s + settings.away_fade_s,
            }
        )

    async def upload(request: Request) -> Response:
        if not token and OWN_HEADER not in request.headers:
            return _problem(403, "this request does not come from the page.")
        title = Path(request.query_params.get("name", "")).name[:200]
        if Path(title).suffix.lower() not in SUFFIXES:
            await _discard(request, max_bytes)
            wanted = ", ".join(SUFFIXES)
            return _problem(
                415, f"{title or 'this'} is not a video file; its name must end in {wanted}."
            )
        promised = request.headers.get("content-length", "")
        if promised.isdecimal() and int(promised) > max_bytes:
            return _too_large(title, max_bytes)
        if promised.isdecimal() and int(promised) > jobs.free_bytes():
            await _discard(request, max_bytes)
            return _problem(507, f"{title} does not fit: {FULL}")
        try:
            job = jobs.new(title)
        except BusyError:
            await _discard(request, max_bytes)
            return _problem(429, f"{title} has to wait: too many videos are waiting already.")
        except OSError as error:
            return _not_written(title, error)
        try:
            if not await _receive(request, job, max_bytes):
                jobs.remove(job)
                return _too_large(title, max_bytes)
        except ClientDisconnect:
            jobs.remove(job)
            return _problem(400, f"the upload of {title} was interrupted.")
        except OSError as error:
            jobs.remove(job)
            await _discard(request, max_bytes)
            return _not_written(title, error)
        except BaseException:  # the server ends
            jobs.remove(job)
            raise
        jobs.start(job)
        return JSONResponse({"job": job.name}, status_code=201)

    async def status(request: Request) -> Response:
        job = jobs.get(request.path_params["job"])
        return JSONResponse(job.values() | {"ahead": jobs.ahead(job)}) if job else _gone()

    async def remove(request: Request) -> Response:
        if not token and OWN_HEADER not in request.headers:
            return _problem(403, "this request does not come from the page.")
        job = jobs.get(request.path_params["job"])
        if job is None:
            return _gone()
        jobs.remove(job)
        return Response(status_code=204)

    async def result(request: Request) -> Response:
        job, name = jobs.get(request.path_params["job"]), request.path_params["name"]
        return _result(job, name) if job else _gone()

    async def description(_request: Request) -> Response:
        return JSONResponse(describe(max_bytes))

    async def authorised(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        given = request.headers.get("authorization", "").encode()
        if request.url.path != DESCRIPTION and not compare_digest(
            given, f"Bearer {token}".encode()
        ):
            answer = _problem(401, "the token is missing or wrong; send Authorization: Bearer ...")
            answer.headers["WWW-Authenticate"] = "Bearer"
            return answer
        return await call_next(request)

    pages = [Route("/", page), Route("/{name}", page)]
    return Starlette(
        routes=[
            Route("/about", about),
            Route("/jobs", upload, methods=["POST"]),
            Route("/jobs/{job}", status),
            Route("/jobs/{job}", remove, methods=["DELETE"]),
            Route("/jobs/{job}/{name}", result),
            *([Route(DESCRIPTION, description)] if token else pages),
        ],
        # Refuses a page of another host whose name was made to point here (DNS rebinding).
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]"]),
            Middleware(BaseHTTPMiddleware, dispatch=_with_headers),
            *([Middleware(BaseHTTPMiddleware, dispatch=authorised)] if token else []),
        ],
        lifespan=lifespan,
    )


async def _with_headers(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    response = await call_next(request)
    response.headers.update(_HEADERS)
    return response


async def _receive(request: Request, job: Job, max_bytes: int) -> bool:
    """Write the body of a request as the video of a job; False if it is too large."""
    count = 0
    with job.video.open("wb") as file:
        async for chunk in request.stream():
            count += len(chunk)
            if count > max_bytes:
                return False
            file.write(chunk)
            job.touched = time.monotonic()
    return True


async def _discard(request: Request, max_bytes: int) -> None:
    """Read the rest of a body: a browser that is still sending does not read the answer."""
    count = 0
    with suppress(ClientDisconnect, RuntimeError):  # the body may have been read in part
        async for chunk in request.stream():
            count += len(chunk)
            if count > max_bytes:
                return


def _result(job: Job, name: str) -> Response:
    path = job.output / name
    if job.state != "done" or not _FILE.fullmatch(name) or not path.is_file():
        return _gone()
    return FileResponse(path, filename=name, content_disposition_type="inline")


def _too_large(title: str, max_bytes: int) -> Response:
    return _problem(413, f"{title} is larger than {max_bytes >> 20} MB.")


def _not_written(title: str, error: OSError) -> Response:
    if is_full(error):
        return _problem(507, f"{title} does not fit: {FULL}")
    return _problem(500, f"{title} cannot be written: {error.strerror or type(error).__name__}.")


def _gone() -> Response:
    return _problem(404, "this does not exist, or no longer.")


def _problem(code: int, sentence: str) -> Response:
    return JSONResponse({"message": sentence}, status_code=code)
