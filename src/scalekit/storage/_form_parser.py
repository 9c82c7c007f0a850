"""``multipart/form-data`` (RFC 7578) as a stream of parts, in bounded memory.

The grammar is python-multipart's work. What is ours are the bounds, which hold while the bytes arrive:

* a boundary has 1 to 70 characters (RFC 2046, 5.1.1), up to 200 are taken: Werkzeug's test client writes 71
  for one form in a hundred; a body must end with it, or it was cut short;
* a part's headers have 8 KiB and 16 lines at most, and name the part;
* there is no encoding to undo: a ``Content-Transfer-Encoding`` that is one is refused (RFC 7578, 4.7);
* the body has as many bytes as ``Content-Length`` says, and at most as many as the form may have.
"""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

try:
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header
except ModuleNotFoundError:
    from scalekit.errors import MissingExtra

    raise MissingExtra("forms", needed_by="scalekit.storage.forms") from None

from scalekit.errors import MalformedUpload, UnsupportedMediaType

MAX_HEADER_BYTES = 8 * 1024
MAX_HEADERS = 16
MAX_BOUNDARY = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class PartHead:
    """What a part says about itself. ``filename`` is ``None`` for a field, the client's words for a file."""

    name: str
    filename: str | None
    content_type: str


class _End:
    """The end of a part."""


_END = _End()


def boundary_of(content_type: str) -> bytes:
    """The boundary in a ``Content-Type`` header.

    Raises:
        UnsupportedMediaType: it is not ``multipart/form-data``.
        MalformedUpload: it has no boundary, one that is too long, or one that ends with a space.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise UnsupportedMediaType(found=kind.decode("latin-1"), accepted=("multipart/form-data",))
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= MAX_BOUNDARY or boundary.endswith(b" "):
        raise MalformedUpload(f"the form's boundary must have 1 to {MAX_BOUNDARY} characters")
    return boundary


class PartReader:
    """The parts of a form, one after the other: :meth:`next_part`, then :meth:`data`, and so on.

    Args:
        body: the chunks of the request's body.
        boundary: from :func:`boundary_of`.
        max_parts: how many parts a form may have.
    """

    def __init__(self, body: AsyncIterator[bytes], boundary: bytes, *, max_parts: int) -> None:
        self._body = body
        self._max_parts = max_parts
        self._parts = 0
        self._events: deque[PartHead | memoryview | bytes | _End] = deque()
        self._header_bytes = 0
        self._name, self._value = bytearray(), bytearray()
        self._headers: dict[bytes, str] = {}
        self._complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    async def next_part(self) -> PartHead | None:
        """The next part, once the data of the one before has been read; ``None`` after the last.

        Raises:
            MalformedUpload: the body is no form, or ends in the middle of one.
        """
        event = await self._event()
        assert event is None or isinstance(event, PartHead)
        return event

    async def data(self) -> AsyncGenerator[memoryview | bytes, None]:
        """The content of the current part, as it comes in."""
        while not isinstance(event := await self._event(), _End):
            assert isinstance(event, memoryview | bytes)
            yield event

    async def _event(self) -> PartHead | memoryview | bytes | _End | None:
        while not self._events:
            try:
                chunk = await anext(self._body)
            except StopAsyncIteration:
                if not self._complete:
                    raise MalformedUpload("the form ends before its last boundary") from None
                return None
            try:
                self._parser.write(chunk)
            except FormParserError:
                raise MalformedUpload("the body is not well-formed multipart/form-data") from None
        return self._events.popleft()

    def _on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > self._max_parts:
            raise MalformedUpload(f"the form has more than {self._max_parts} parts")
        self._header_bytes = 0
        self._headers = {}
        self._name, self._value = bytearray(), bytearray()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._value += data[start:end]

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > MAX_HEADER_BYTES:
            raise MalformedUpload(f"a part has more than {MAX_HEADER_BYTES} bytes of headers")

    def _on_header_end(self) -> None:
        name = bytes(self._name).strip().lower()
        if name in self._headers or len(self._headers) == MAX_HEADERS:
            raise MalformedUpload(f"a part has a header twice, or more than {MAX_HEADERS}")
        self._headers[name] = bytes(self._value).strip().decode("latin-1")
        self._name, self._value = bytearray(), bytearray()

    def _on_headers_finished(self) -> None:
        disposition, options = parse_options_header(self._headers.get(b"content-disposition", ""))
        if disposition != b"form-data" or b"name" not in options:
            raise MalformedUpload(
                "a part does not say which field it is: Content-Disposition: form-data; name=..."
            )
        encoding = self._headers.get(b"content-transfer-encoding", "binary").lower()
        if encoding not in ("7bit", "8bit", "binary"):
            raise MalformedUpload(
                f"Content-Transfer-Encoding {encoding!r:.40} is not used in forms (RFC 7578)"
            )
        filename = options.get(b"filename")
        self._events.append(
            PartHead(
                name=_text(options[b"name"]),
                filename=None if filename is None else _text(filename),
                content_type=self._headers.get(b"content-type", ""),
            )
        )

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(data if end - start == len(data) else memoryview(data)[start:end])

    def _on_part_end(self) -> None:
        self._events.append(_END)

    def _on_end(self) -> None:
        self._complete = True


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise MalformedUpload("a name in the form is not UTF-8") from None
