"""Request bodies: read to the disk as they come, up to a limit, so that none is ever held in memory whole."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import IO, Any
from urllib.parse import parse_qsl

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

RECEIVE_SECONDS = 600.0
"""For a whole body: 100 MB at 1.4 Mbit/s."""

MAX_FIELDS = 100
MAX_URLENCODED_BYTES = 1024 * 1024
_CHUNK_BYTES = 256 * 1024
_IN_MEMORY_BYTES = 1024 * 1024


class BodyError(Exception):
    """A body that can't be taken: `status` is 400, 408 or 413, the message says what was expected and what came."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@asynccontextmanager
async def receive_body(request: Request, max_bytes: int) -> AsyncIterator[IO[bytes]]:
    """The body, as a file that is gone with the block, whatever happens. Raises `BodyError`."""
    declared = request.headers.get("content-length", "0")
    if declared.isascii() and declared.isdigit() and int(declared[:18]) > max_bytes:
        raise BodyError(413, f"expected a body of at most {max_bytes} bytes, got {declared[:18]}")
    with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as file:
        size = 0
        try:
            async with asyncio.timeout(RECEIVE_SECONDS):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > max_bytes:
                        raise BodyError(413, f"expected a body of at most {max_bytes} bytes, got more")
                    if size > _IN_MEMORY_BYTES:
                        await asyncio.to_thread(file.write, chunk)
                    else:
                        file.write(chunk)
        except TimeoutError:
            raise BodyError(408, f"expected the body within {RECEIVE_SECONDS:g} s") from None
        except ClientDisconnect:
            raise BodyError(400, "expected the whole body, got only a part of it") from None
        file.seek(0)
        yield file


@asynccontextmanager
async def receive_form(request: Request, max_bytes: int) -> AsyncIterator[FormData]:
    """The fields and files of a form; empty where the body is none. Raises `BodyError`."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    async with receive_body(request, max_bytes) as body:
        try:
            form = await _parse(kind, request, body, max_bytes)
        except MultiPartException as error:
            raise BodyError(400, f"expected a form: {error.message}") from None
        except (ValueError, LookupError, KeyError) as error:  # an unknown charset, text that isn't in it
            raise BodyError(400, f"expected a form: {error}") from None
    try:
        yield form
    finally:
        await form.close()


async def _parse(kind: str, request: Request, body: IO[bytes], max_bytes: int) -> FormData:
    if kind == "multipart/form-data":
        return await _parse_multipart(request, body, max_bytes)
    if kind == "application/x-www-form-urlencoded":
        text = body.read(MAX_URLENCODED_BYTES + 1)
        if len(text) > MAX_URLENCODED_BYTES:
            raise BodyError(413, f"expected such a form of at most {MAX_URLENCODED_BYTES} bytes; files need another")
        return FormData(
            dict(parse_qsl(text.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS))
        )
    return FormData()


async def _parse_multipart(request: Request, body: IO[bytes], max_bytes: int) -> FormData:
    boundary = parse_options_header(request.headers["content-type"])[1].get(b"boundary", b"").decode("latin-1")
    if not boundary:
        raise BodyError(400, "expected a form with a boundary between its parts")
    # A form is UTF-8, whatever it says: some of Python's codecs take minutes. As Latin-1 no byte of it gets lost.
    headers = Headers({"content-type": f'multipart/form-data; charset=latin-1; boundary="{boundary}"'})
    parser = MultiPartParser(
        headers, _chunks(body), max_files=MAX_FIELDS, max_fields=MAX_FIELDS, max_part_size=max_bytes
    )
    form = await parser.parse()
    try:
        items: list[tuple[str, Any]] = [(_utf_8(name), _utf_8(value)) for name, value in form.multi_items()]
        return FormData(items)
    except UnicodeDecodeError:
        await form.close()
        raise
    finally:
        # A body that breaks off in the middle of a file leaves that file open.
        whole = {id(value.file) for _, value in form.multi_items() if isinstance(value, UploadFile)}
        for file in parser._files_to_close_on_error:
            if id(file) not in whole:
                file.close()


def _utf_8(value: Any) -> Any:
    return value.encode("latin-1").decode() if isinstance(value, str) else value


async def _chunks(file: IO[bytes]) -> AsyncGenerator[bytes, None]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk
        await asyncio.sleep(0)
    yield b""
