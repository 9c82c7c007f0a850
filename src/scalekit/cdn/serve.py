"""How a request for an asset is answered: status, headers and which bytes.

Rules:

* A hashed name is good for ever (``immutable``); a plain one for ``max_age`` seconds, then by its entity tag.
* Entity tags are content hashes, hence strong, and equal on every server. There is no ``Last-Modified``: the
  time of a file differs from server to server.
* A file's name with another hash is answered 404 with ``no-store``: in a rolling deploy the next server may
  know it, and no cache may remember that this one did not. With CORS, or a browser could not tell why.
* A hashed file of another release is found, too, where a build has kept it: see
  :mod:`scalekit.cdn._other_releases`.
* Every other name that no file has is the application's. One that looks hashed may do so by chance; or its
  file is new in the release that is being rolled out, so the application's 404 gets ``no-store`` as well.
* A file that was changed after it was hashed is sent as it is now, and kept by nobody. It is not found where
  a link has come in its way: what a start would refuse is not published later either.
* What is said of a file is said of the one that was opened, whatever stood under its name before or after.
  One that is written into while it is sent breaks the response off, see :mod:`scalekit.cdn._file_part`. The
  bytes of small files stay in memory; the file is looked at all the same, each time.
* One byte range is served; several are answered with the whole file, as RFC 9110 allows.
* A variant in a content coding is a representation of its own, with its own entity tag, length and ranges.
  Which one is sent is for ``Accept-Encoding`` to say, see :mod:`scalekit.cdn._accept`; a variant that was
  changed or lost is passed over. Only what a build has written counts: whether an ``app.js.gz`` that lies in
  a plain folder has the bytes of ``app.js`` nobody knows.
"""

import os
from collections.abc import Iterator
from stat import S_ISREG
from typing import BinaryIO, NamedTuple

from scalekit._http import get, matches_etag
from scalekit.cdn._accept import acceptable
from scalekit.cdn._asset import Stamp, stamp
from scalekit.cdn._files import Served
from scalekit.cdn._ranges import span
from scalekit.cdn._representation import EVERYWHERE, Representation, Room
from scalekit.types import Headers

ASKED = (b"accept-encoding", b"if-none-match", b"if-range", b"range")
"""The request headers that an answer depends on."""


class Answer(NamedTuple):
    """What to send.

    Args:
        status: the HTTP status.
        headers: in the ASGI shape.
        body: the bytes to send, when they are in memory.
        representation: else what :meth:`Request.open` opens a file of.
        start: offset of the first byte to send of the file.
        stop: offset after the last byte.
        stamp: what :func:`~scalekit.cdn._asset.stamp` has to say of the file until all is sent; ``None`` of
            one that nobody keeps.
    """

    status: int
    headers: Headers
    body: bytes | None
    representation: Representation | None = None
    start: int = 0
    stop: int = 0
    stamp: Stamp | None = None

    @property
    def path(self) -> str | None:
        """The file whose bytes are those to send, from the first to the last, if there is one."""
        if self.status != 200 or self.representation is None or self.representation.rendered:
            return None
        return self.representation.path


def asked(headers: Headers) -> Headers:
    """Those of the request headers that an answer depends on."""
    return [pair for pair in headers if pair[0] in ASKED]


class Request:
    """A request for an asset.

    Args:
        served: what is asked for.
        room: what keeps small files in memory.
        method: the request's method.
        headers: what :func:`asked` says of the request's headers.
    """

    __slots__ = ("_headers", "_room", "_served", "method")

    def __init__(self, served: Served, *, room: Room, method: str, headers: Headers) -> None:
        self._served = served
        self._room = room
        self.method = method
        self._headers = headers

    def answer(self) -> Answer:
        """The answer for ``GET`` and ``HEAD``, by a look at the path; 405 for other methods."""
        if self._served.asset is None:
            return not_found()
        if self.method not in ("GET", "HEAD"):
            return _refusal(405, b"Method not allowed", (b"allow", b"GET, HEAD"))
        for representation in self._candidates():
            try:
                status = os.stat(representation.path)
            except OSError:
                continue
            answer = self._about(representation, status)
            if answer is not None:
                return answer
        return self._nothing()

    def open(self) -> tuple[Answer, BinaryIO | None]:
        """The answer about the file that is there now, and that file at the first byte to send, if one is."""
        for representation in self._candidates():
            try:
                file = open(representation.path, "rb")  # noqa: SIM115 - it stays open
            except OSError:
                continue
            try:
                status = os.fstat(file.fileno())
                if stamp(status) == representation.stamp and self._room.is_for(representation):
                    body = file.read(representation.size)
                    # Once more: what was written into the file meanwhile a CDN would keep for a year.
                    status = os.fstat(file.fileno())
                    if stamp(status) == representation.stamp:
                        self._room.keep(representation, body)
                answer = self._about(representation, status)
                if answer is not None and answer.body is None:
                    file.seek(answer.start)
                    return answer, file
            except BaseException:
                file.close()
                raise
            file.close()
            if answer is not None:
                return answer, None
        return self._nothing(), None

    def _candidates(self) -> Iterator[Representation]:
        served = self._served
        if not served.codings:
            yield served.plain
            return
        for coding in acceptable(get(self._headers, b"accept-encoding"), served.codings):
            yield served.plain if coding is None else served.coded[coding]

    def _nothing(self) -> Answer:
        """The answer when no representation could be had."""
        served = self._served
        accepted = acceptable(get(self._headers, b"accept-encoding"), served.codings)
        if not served.codings or None in accepted:
            return not_found()
        answer = _refusal(406, b"In no coding that was accepted", (b"cache-control", b"no-store"))
        answer.headers.append((b"vary", b"accept-encoding"))
        return answer

    def _about(self, representation: Representation, status: os.stat_result) -> Answer | None:
        """The answer, when ``representation`` is what is sent; ``None`` when it cannot be."""
        if stamp(status) == representation.stamp:
            return self._as_hashed(representation)
        return self._as_changed(representation, status) if representation is self._served.plain else None

    def _as_changed(self, representation: Representation, status: os.stat_result) -> Answer | None:
        asset = self._served.asset
        assert asset is not None
        if not S_ISREG(status.st_mode) or os.path.realpath(representation.path) != representation.path:
            return None
        headers: Headers = [
            (b"content-type", asset.content_type.encode()),
            (b"cache-control", b"no-store"),
            (b"content-length", b"%d" % status.st_size),
            *EVERYWHERE,
        ]
        if self.method == "HEAD":
            return Answer(200, headers, b"")
        return Answer(200, headers, None, representation, 0, status.st_size)

    def _as_hashed(self, representation: Representation) -> Answer:
        headers, size, etag = self._headers, representation.size, representation.etag
        if headers:
            if matches_etag(get(headers, b"if-none-match"), etag):
                return Answer(304, list(representation.lasting), b"")
            wanted = get(headers, b"range")
            if wanted is not None and self.method == "GET" and get(headers, b"if-range") in (None, etag):
                part = span(wanted, size)
                if part == (0, 0):
                    return _refusal(416, b"No such range", (b"content-range", b"bytes */%d" % size))
                if part is not None:
                    return _part(representation, *part)
        # A copy: whoever is around this application may add to it.
        whole = list(representation.headers)
        if self.method == "HEAD":
            return Answer(200, whole, b"")
        return Answer(200, whole, representation.body, representation, 0, size, representation.stamp)


def not_found() -> Answer:
    """The answer for a name that no file has."""
    return _refusal(404, b"Not found", (b"cache-control", b"no-store"))


def _part(representation: Representation, start: int, stop: int) -> Answer:
    body, size = representation.body, representation.size
    headers = [pair for pair in representation.headers if pair[0] != b"content-length"]
    headers += (
        (b"content-range", b"bytes %d-%d/%d" % (start, stop - 1, size)),
        (b"content-length", b"%d" % (stop - start)),
    )
    piece = None if body is None else body[start:stop]
    return Answer(206, headers, piece, representation, start, stop, representation.stamp)


def _refusal(status: int, body: bytes, header: tuple[bytes, bytes]) -> Answer:
    headers: Headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        header,
    ]
    return Answer(status, headers + EVERYWHERE, body)
