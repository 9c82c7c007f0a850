"""A small S3 that is strict where emulators are lenient, and that fails on demand.

It decides conditional writes in one step, as S3 does, and can be slow, stall, refuse a part or lose an
answer. It checks no signatures; the tests against the real S3 server do. Run as a program it serves as a
child process: ``python -m tests.storage.stand_in``, see ``main``.
"""

import argparse
import asyncio
import hashlib
import itertools
import json
from contextlib import suppress
from email.utils import formatdate
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

_READ = 256 * 1024
_TEXT = "application/xml"


class S3StandIn:
    """``async with S3StandIn() as s3:`` serves on ``s3.endpoint_url`` until the block ends.

    Args:
        bytes_per_second: how fast bodies are read, over all connections.
        discard: keep the size of objects only.
    """

    def __init__(self, *, bytes_per_second: float | None = None, discard: bool = False) -> None:
        self.bytes_per_second, self.discard = bytes_per_second, discard
        self.objects: dict[str, tuple[bytes, str, dict[str, str], int]] = {}
        """Key -> content, ETag, headers, size."""
        self.uploads: dict[str, tuple[str, dict[str, str], dict[int, tuple[bytes, str, int]]]] = {}
        """Id -> key, headers, parts."""
        self.requests: list[str] = []
        self.received = 0
        self.refused_parts: set[int] = set()
        """These part numbers are answered with a 500, always."""
        self.stall_after: int | None = None
        """Read no body beyond this many bytes in all."""
        self.lose: set[str] = set()
        """Methods ("PUT", "POST complete") whose next answer is lost after they were carried out."""
        self.silent = False
        """Answer no request any more."""
        self.empty_answers = 0
        """So many completions are answered with nothing."""
        self.deaf = False
        """And are not carried out."""
        self.page_size = 1000
        """Objects in one answer to a listing."""
        self._ids = itertools.count(1)
        self._free_at = 0.0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=_READ)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def hang_up(self) -> None:
        """Cut every connection."""
        for writer in self._writers:
            writer.transport.abort()

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def client_kwargs(self) -> dict[str, str]:
        return {
            "endpoint_url": self.endpoint_url,
            "region_name": "us-east-1",
            "aws_access_key_id": "key",
            "aws_secret_access_key": "not-checked",
        }

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                request, *lines = head.split("\r\n")
                method, target, _ = request.split(" ")
                headers = {
                    name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
                }
                if self.silent:
                    await asyncio.Event().wait()
                if headers.get("expect") == "100-continue":
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                body, size = await self._body(reader, int(headers.get("content-length", 0)))
                status, answer, extra = self._answer(method, target, headers, body, size)
                kind = "POST complete" if method == "POST" and "uploadId=" in target else method
                if kind in self.lose:
                    self.lose.discard(kind)
                    return
                self._writers.add(writer)
                length = extra.pop("content-length-of-object", len(answer))
                lines = [f"{name}: {value}" for name, value in extra.items()]
                head = "\r\n".join([f"HTTP/1.1 {status} Answer", f"content-length: {length}", *lines])
                writer.write(head.encode() + b"\r\n\r\n" + (b"" if method == "HEAD" else answer))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except asyncio.CancelledError:
            pass  # the server's end; the handler that asyncio made would log it
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.transport.abort()

    async def _body(self, reader: asyncio.StreamReader, length: int) -> tuple[bytes, int]:
        content, size = bytearray(), 0
        while size < length:
            if self.stall_after is not None and self.received >= self.stall_after:
                await asyncio.Event().wait()
            chunk = await reader.read(min(_READ, length - size))
            if not chunk:
                raise asyncio.IncompleteReadError(b"", length)
            size += len(chunk)
            self.received += len(chunk)
            if not self.discard:
                content += chunk
            if self.bytes_per_second is not None:
                now = asyncio.get_running_loop().time()
                self._free_at = max(self._free_at, now) + len(chunk) / self.bytes_per_second
                await asyncio.sleep(self._free_at - now)
        return bytes(content), size

    def _answer(
        self, method: str, target: str, headers: dict[str, str], body: bytes, size: int
    ) -> tuple[int, bytes, dict[str, object]]:
        url = urlsplit(target)
        query = parse_qs(url.query, keep_blank_values=True)
        key = unquote(url.path).lstrip("/").partition("/")[2]
        self.requests.append(f"{method} {url.query.partition('=')[0] or 'object'}")
        upload_id = query.get("uploadId", [""])[0]
        if _metadata_size(headers) > 2048:
            return _error(400, "MetadataTooLarge")
        if upload_id and upload_id not in self.uploads:
            return _error(404, "NoSuchUpload")
        if method == "POST" and "uploads" in query:
            new = f"upload-{next(self._ids)}"
            self.uploads[new] = key, _kept(headers), {}
            return 200, f"<R><UploadId>{new}</UploadId></R>".encode(), {}
        if method == "POST" and self.empty_answers:
            self.empty_answers -= 1
            if not self.deaf:
                self._complete(key, upload_id, headers)
            return 200, b"", {}
        if method == "POST":
            return self._complete(key, upload_id, headers)
        if method == "DELETE" and upload_id:
            del self.uploads[upload_id]
            return 204, b"", {}
        if method == "DELETE":
            self.objects.pop(key, None)
            return 204, b"", {}
        if method == "PUT" and upload_id:
            number = int(query["partNumber"][0])
            if number in self.refused_parts:
                return _error(500, "InternalError")
            if "x-amz-copy-source" in headers:
                return self._copy_part(upload_id, number, headers)
            digest = hashlib.md5(body).hexdigest()
            self.uploads[upload_id][2][number] = body, digest, size
            return 200, b"", {"etag": f'"{digest}"'}
        if method == "PUT":
            if headers.get("if-none-match") == "*" and key in self.objects:
                return _error(412, "PreconditionFailed")
            digest = hashlib.md5(body).hexdigest()
            self.objects[key] = body, digest, _kept(headers), size
            return 200, b"", {"etag": f'"{digest}"'}
        if upload_id:
            return self._list_parts(upload_id)
        if not key:
            return self._list(query)
        if key not in self.objects:
            return _error(404, "NoSuchKey")
        return self._get(key, method, headers)

    def _copy_part(
        self, upload_id: str, number: int, headers: dict[str, str]
    ) -> tuple[int, bytes, dict[str, object]]:
        source = unquote(headers["x-amz-copy-source"]).lstrip("/").partition("/")[2]
        if source not in self.objects:
            return _error(404, "NoSuchKey")
        content, etag, _, _ = self.objects[source]
        if headers["x-amz-copy-source-if-match"].strip('"') != etag:
            return _error(412, "PreconditionFailed")
        first, _, last = headers["x-amz-copy-source-range"].removeprefix("bytes=").partition("-")
        piece = content[int(first) : int(last) + 1]
        digest = hashlib.md5(piece).hexdigest()
        self.uploads[upload_id][2][number] = piece, digest, len(piece)
        return 200, f"<R><ETag>&quot;{digest}&quot;</ETag></R>".encode(), {"content-type": _TEXT}

    def _complete(
        self, key: str, upload_id: str, headers: dict[str, str]
    ) -> tuple[int, bytes, dict[str, object]]:
        if headers.get("if-none-match") == "*" and key in self.objects:
            return _error(412, "PreconditionFailed")
        _, kept, parts = self.uploads.pop(upload_id)
        ordered = [parts[number] for number in sorted(parts)]
        whole = hashlib.md5(b"".join(bytes.fromhex(digest) for _, digest, _ in ordered)).hexdigest()
        etag = f"{whole}-{len(ordered)}"
        content = b"".join(body for body, _, _ in ordered)
        self.objects[key] = content, etag, kept, sum(size for _, _, size in ordered)
        return 200, f"<R><ETag>&quot;{etag}&quot;</ETag></R>".encode(), {}

    def _get(self, key: str, method: str, headers: dict[str, str]) -> tuple[int, bytes, dict[str, object]]:
        content, etag, kept, size = self.objects[key]
        facts: dict[str, object] = {"etag": f'"{etag}"', **kept}
        if method == "HEAD":
            return 200, b"", facts | {"content-length-of-object": size}
        if wanted := headers.get("range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), min(size, int(last) + 1) if last else size
            if start >= size:
                return _error(416, "InvalidRange")
            return 206, content[start:end], facts | {"content-range": f"bytes {start}-{end - 1}/{size}"}
        return 200, content, facts

    def _list_parts(self, upload_id: str) -> tuple[int, bytes, dict[str, object]]:
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag><Size>{size}</Size></Part>"
            for number, (_, etag, size) in sorted(self.uploads[upload_id][2].items())
        )
        return 200, f"<R>{parts}</R>".encode(), {"content-type": _TEXT}

    def _list(self, query: dict[str, list[str]]) -> tuple[int, bytes, dict[str, object]]:
        prefix, after = query.get("prefix", [""])[0], query.get("continuation-token", [""])[0]
        keys = sorted(key for key in self.objects if key.startswith(prefix) and key > after)
        page = keys[: self.page_size]
        entries = "".join(
            f"<Contents><Key>{key}</Key><Size>{self.objects[key][3]}</Size><ETag>{self.objects[key][1]}</ETag>"
            f"<LastModified>{self.objects[key][2]['last-modified']}</LastModified></Contents>"
            for key in page
        )
        more = page != keys
        entries += f"<NextContinuationToken>{page[-1]}</NextContinuationToken>" if more else ""
        answer = f"<R>{entries}<IsTruncated>{str(more).lower()}</IsTruncated></R>"
        return 200, answer.encode(), {"content-type": _TEXT}


def _kept(headers: dict[str, str]) -> dict[str, str]:
    begins = ("x-amz-meta-", "content-type")
    told = {name: value for name, value in headers.items() if name.startswith(begins)}
    return {"last-modified": formatdate(usegmt=True), **told}  # of its beginning, if it comes in parts: as S3


def _metadata_size(headers: dict[str, str]) -> int:
    begin = "x-amz-meta-"
    return sum(len(name + value) - len(begin) for name, value in headers.items() if name.startswith(begin))


def _error(status: int, code: str) -> tuple[int, bytes, dict[str, object]]:
    return status, f"<Error><Code>{code}</Code></Error>".encode(), {"content-type": _TEXT}


async def main() -> None:
    """Serve until standard input ends; the first line of output is ``client_kwargs`` as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bytes-per-second", type=float)
    arguments = parser.parse_args()
    async with S3StandIn(bytes_per_second=arguments.bytes_per_second, discard=True) as s3:
        print(json.dumps(s3.client_kwargs), flush=True)
        await asyncio.to_thread(input)


if __name__ == "__main__":
    with suppress(EOFError):
        asyncio.run(main())
