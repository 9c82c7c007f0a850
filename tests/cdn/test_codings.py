"""Compressed pages on their way through both shells."""

import asyncio
import gzip
import logging
import random
import struct
import sys
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pytest

from scalekit.cdn import Assets, HtmlRewriter, _codings
from scalekit.cdn._body import WHOLE, CodedBody
from scalekit.cdn._coding import STEP
from scalekit.cdn.asgi import AssetMiddleware
from scalekit.cdn.wsgi import AssetMiddleware as WSGIAssetMiddleware
from tests.cdn.codings import CODINGS, Known
from tests.cdn.drivers import Reply, Response, Shell, asgi_app, call_asgi, call_wsgi

PAGE = b"""<link rel=stylesheet href=/static/css/site.css>
<a href="/static/logo.png"><img src="/static/logo.png"></a>"""

# What no coding makes small.
NOISE = b"<p>" + random.Random(1).randbytes(50_000).replace(b"<", b"") + b"<img src=/static/logo.png>"

coded = pytest.mark.parametrize("coding", CODINGS, ids=lambda coding: coding.name)


@pytest.fixture
def assets(folder: Path) -> Assets:
    """With counts of its own."""
    return Assets(folder, cdn="https://cdn.example.net")


def rewritten(assets: Assets, page: bytes = PAGE) -> bytes:
    return HtmlRewriter(assets).rewrite(page)


def pieces(body: bytes, size: int) -> list[bytes]:
    return [body[index : index + size] for index in range(0, len(body), size)]


def response(chunks: list[bytes], coding: str, **headers: str) -> Response:
    return Response(chunks, {"content-type": "text/html", "content-encoding": coding, **headers})


@coded
def test_a_compressed_page_in_one_piece(assets: Assets, shell: Shell, coding: Known) -> None:
    """Decoded, rewritten and encoded again, with its new length; digests go, the entity tag is a weak one."""
    body = coding.compress(PAGE)
    sent = response([body], coding.name, etag='"x"', vary="accept-encoding", **{"content-digest": "x"})
    reply = shell.page(assets, sent.with_length())
    assert coding.decompress(reply.body) == rewritten(assets) != PAGE
    assert reply.headers == {
        "content-type": "text/html",
        "content-encoding": coding.name,
        "etag": f'W/"x-{assets.version}"',
        "vary": "accept-encoding",
        "content-length": str(len(reply.body)),
    }
    assert assets.counts.as_dict() == {"pages": 1, "urls": 2}


@coded
@pytest.mark.parametrize("page", [PAGE, NOISE], ids=["text", "noise"])
def test_a_compressed_page_however_it_is_cut(
    assets: Assets, shell: Shell, coding: Known, page: bytes
) -> None:
    """The same page for every size of chunk; its length is dropped, for nobody knows it yet."""
    body = coding.compress(page)
    for size in (1, 7, 60, 5000) if page is PAGE else (999, 30_000):
        reply = shell.page(assets, response(pieces(body, size), coding.name).with_length())
        assert coding.decompress(reply.body) == rewritten(assets, page)
        assert ("content-length" in reply.headers) == (size >= len(body))
    assert assets.counts["garbled"] == 0


@coded
async def test_what_was_flushed_arrives_compressed_and_all(assets: Assets, coding: Known) -> None:
    """Whatever the application has flushed can be read by the client before the application goes on."""
    read = b""
    reader, compressor = coding.reader(), coding.compressor()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/html"), (b"content-encoding", coding.name.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number in range(5):
            text = b"<p>%d<img src=/static/logo.png>" % number
            body = compressor.encode(text) + compressor.flush()
            await send({"type": "http.response.body", "body": body, "more_body": True})
            assert read.endswith(rewritten(assets, text))
        await send({"type": "http.response.body", "body": compressor.finish()})

    async def send(message: Any) -> None:
        nonlocal read
        read += reader(message.get("body", b"")) if message.get("body") else b""

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    await AssetMiddleware(app, assets=assets)(scope, None, send)  # type: ignore[arg-type]
    assert read.count(b"cdn.example.net") == 5


@coded
def test_what_was_flushed_arrives_under_wsgi(assets: Assets, coding: Known) -> None:
    """The same chunk by chunk: what came out is read before the next is asked for."""
    texts = [b"<p>%d<img src=/static/logo.png>" % number for number in range(5)]
    compressor, reader = coding.compressor(), coding.reader()

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/html"), ("Content-Encoding", coding.name)])
        for text in texts:
            yield compressor.encode(text) + compressor.flush()
        yield compressor.finish()

    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}
    body = iter(WSGIAssetMiddleware(app, assets=assets)(environ, lambda *arguments: print))  # type: ignore[arg-type]
    for text in texts:
        assert reader(next(body)) == rewritten(assets, text)
    reader(b"".join(body))


@coded
def test_a_compressed_page_cut_off(assets: Assets, shell: Shell, coding: Known) -> None:
    """Half a body in one piece goes out as it came; a stream is cut off for the client, too. Both count."""
    body = coding.compress(NOISE)[:-10]
    reply = shell.page(assets, response([body], coding.name).with_length())
    assert reply.body == body
    assert reply.headers["content-length"] == str(len(body))
    streamed = shell.page(assets, response(pieces(body, 10_000), coding.name)).body
    assert NOISE.startswith(coding.reader()(streamed)[:20_000])
    with pytest.raises(Exception, match=r"(?i)end|decompress|truncated|incomplete|brotli"):
        coding.decompress(streamed)
    assert assets.counts["garbled"] == 2


@coded
@pytest.mark.parametrize("size", [10, 10_000])
def test_a_page_that_is_not_compressed_as_it_says(
    assets: Assets, shell: Shell, coding: Known, size: int
) -> None:
    """What only claims to be compressed passes byte for byte, and is counted."""
    reply = shell.page(assets, response(pieces(PAGE, size), coding.name))
    assert reply.body == PAGE
    assert assets.counts.as_dict() == {"garbled": 1}


# Brotli has no checksum, and takes much for data.
@pytest.mark.parametrize("coding", [known for known in CODINGS if known.name != "br"], ids=lambda c: c.name)
def test_a_compressed_page_that_breaks_off_in_garbage(assets: Assets, shell: Shell, coding: Known) -> None:
    """Damage in the middle: in one piece the page passes as it is, in a stream it ends before the damage."""
    page = b"<img src=/static/logo.png>" + random.Random(2).randbytes(250_000).hex().encode()
    body = bytearray(coding.compress(page))
    body[200_000:200_100] = b"\xff" * 100
    body[-40:] = b"\xff" * 40
    whole = shell.page(assets, response([bytes(body)], coding.name).with_length())
    streamed = shell.page(assets, response(pieces(bytes(body), 5000), coding.name))
    assert whole.body == bytes(body)
    assert coding.reader()(streamed.body)[:50_000] == rewritten(assets, page)[:50_000]
    assert assets.counts["garbled"] == 2


@pytest.mark.parametrize("coding", [known for known in CODINGS if known.name != "br"], ids=lambda c: c.name)
@pytest.mark.parametrize("size", [1, 60, 10_000])
def test_what_follows_a_compressed_page(assets: Assets, shell: Shell, coding: Known, size: int) -> None:
    """Bytes behind the end of the coded data stay behind it; clients ignore them. They are counted."""
    reply = shell.page(assets, response(pieces(coding.compress(PAGE) + b"\0\0rest", size), coding.name))
    assert reply.body.endswith(b"\0\0rest")
    assert coding.reader()(reply.body) == rewritten(assets)
    assert assets.counts["garbled"] == 1


@pytest.mark.parametrize("coding", [known for known in CODINGS if known.name != "br"], ids=lambda c: c.name)
def test_what_follows_a_compressed_page_is_not_held_back(assets: Assets, coding: Known) -> None:
    """It goes out as it comes in, so that no end of it is held in memory."""
    form = _codings.find(coding.name.encode())
    assert form is not None
    body = CodedBody(HtmlRewriter(assets), form())
    page = b"".join(body.feed(coding.compress(PAGE)))
    behind = b"".join(body.feed(b"\0\0rest"))
    assert coding.reader()(page + behind) == rewritten(assets)
    assert behind.endswith(b"\0\0rest")
    assert b"".join(body.feed(b"more")) == b"more"


def test_what_follows_a_page_in_brotli(assets: Assets, shell: Shell) -> None:
    """Its decoder does not tell where the end was: in one piece such a page passes as it is."""
    pytest.importorskip("brotli")
    known = next(known for known in CODINGS if known.name == "br")
    body = known.compress(PAGE)
    assert shell.page(assets, response([body + b"rest"], "br")).body == body + b"rest"
    streamed = shell.page(assets, response([body, b"rest"], "br")).body
    assert known.reader()(streamed.removesuffix(b"rest")) == rewritten(assets)
    assert assets.counts["garbled"] == 2


@pytest.mark.parametrize(
    "coding", [known for known in CODINGS if known.name in ("gzip", "zstd")], ids=lambda coding: coding.name
)
@pytest.mark.parametrize("size", [1, 30, 10_000])
def test_several_members(assets: Assets, shell: Shell, coding: Known, size: int) -> None:
    """gzip and zstd allow several on end, and one page of them."""
    body = coding.compress(PAGE[:60]) + coding.compress(PAGE[60:])
    reply = shell.page(assets, response(pieces(body, size), coding.name))
    assert coding.decompress(reply.body) == rewritten(assets)
    assert assets.counts["garbled"] == 0


@pytest.mark.parametrize("header", ["x-gzip", "GZIP", "identity, gzip", " gzip ,"])
def test_spellings_of_a_coding(assets: Assets, shell: Shell, header: str) -> None:
    """The names are read without regard to case, and identity is none."""
    reply = shell.page(assets, response([gzip.compress(PAGE)], header))
    assert gzip.decompress(reply.body) == rewritten(assets)


def test_the_gzip_header_stays(assets: Assets, shell: Shell) -> None:
    """A file name of random length, which hides how long a page is, comes out as it went in."""
    flags = 4 | 8 | 16 | 2
    header = struct.pack("<BBBBLBB", 0x1F, 0x8B, 8, flags, 0, 2, 3) + b"\x05\0extra" + b"n" * 77 + b"\0why\0"
    header += struct.pack("<H", zlib.crc32(header) & 0xFFFF)
    deflated = zlib.compressobj(wbits=-15)
    data = deflated.compress(PAGE) + deflated.flush()
    body = header + data + struct.pack("<LL", zlib.crc32(PAGE), len(PAGE))
    for size in (1, 50, 1000):
        reply = shell.page(assets, response(pieces(body, size), "gzip"))
        assert reply.body.startswith(header)
        assert gzip.decompress(reply.body) == rewritten(assets)


def test_an_endless_gzip_header(assets: Assets, shell: Shell) -> None:
    """A name that never ends is not waited for."""
    body = struct.pack("<BBBBLBB", 0x1F, 0x8B, 8, 8, 0, 2, 3) + b"n" * 200_000
    assert shell.page(assets, response(pieces(body, 10_000), "gzip")).body == body
    assert assets.counts["garbled"] == 1


@coded
def test_an_empty_compressed_page(assets: Assets, shell: Shell, coding: Known) -> None:
    """Nothing, compressed, is nothing; a body of no bytes at all is a redirect's, and no fault."""
    reply = shell.page(assets, response([coding.compress(b"")], coding.name))
    assert coding.decompress(reply.body) == b""
    assert shell.page(assets, response([b""], coding.name, **{"content-length": "0"})).body == b""
    assert shell.page(assets, response([b"", b""], coding.name)).body == b""
    assert assets.counts["garbled"] == 0


@coded
def test_head_of_a_compressed_page(assets: Assets, shell: Shell, coding: Known) -> None:
    """As for GET, without a length that only the page would tell."""
    headers = {"etag": '"x"', "content-length": "1000"}
    reply = shell.page(assets, response([b""], coding.name, **headers), method="HEAD")
    assert reply.headers == {
        "content-type": "text/html",
        "content-encoding": coding.name,
        "etag": f'W/"x-{assets.version}"',
    }


@coded
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_decompression_bomb(assets: Assets, coding: Known, streamed: bool) -> None:
    """16 MiB of a few bytes cost a few steps of memory, whether they come in one piece or are the last."""
    size = 16 * 1024 * 1024
    bomb = coding.compress(b"\0" * size)
    maker = _codings.find(coding.name.encode())
    assert maker is not None
    body = CodedBody(HtmlRewriter(assets), maker())
    length = 0
    if streamed:
        length += len(b"".join(body.feed(bomb[:1])))
    tracemalloc.start()
    try:
        for piece in body.last(bomb[1:]) if streamed else body.only(bomb):
            length += len(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0 < length < size / 100
    assert peak < size / 4
    assert not body.garbled


def test_the_loop_goes_on_during_a_bomb(assets: Assets) -> None:
    """Others on the event loop get their turn between the steps of a page that expands."""
    bomb = gzip.compress(b"\0" * (WHOLE + 100 * STEP))
    turns: list[int] = []

    async def other(done: asyncio.Event) -> None:
        while not done.is_set():
            turns.append(1)
            await asyncio.sleep(0)

    async def run() -> Reply:
        done = asyncio.Event()
        task = asyncio.create_task(other(done))
        reply = await call_asgi(AssetMiddleware(asgi_app(response([bomb], "gzip")), assets=assets), "/")
        done.set()
        await task
        return reply

    reply = asyncio.run(run())
    assert "content-length" not in reply.headers
    assert len(gzip.decompress(reply.body)) == WHOLE + 100 * STEP
    assert len(turns) > 50


@pytest.mark.parametrize(("coding", "package"), [("br", "brotli"), ("zstd", "backports")])
def test_a_coding_that_is_not_installed(
    assets: Assets, shell: Shell, coding: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the extra such a page passes as it is, with all its headers, and is counted."""
    for name in (package, "compression"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("scalekit.cdn._brotli", "scalekit.cdn._zstd"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(_codings, "find", _codings.find.__wrapped__)
    sent = response([PAGE], coding, etag='"x"').with_length()
    reply = shell.page(assets, sent)
    assert reply.body == PAGE
    assert reply.headers == sent.headers
    assert assets.counts.as_dict() == {"encoded": 1}


def test_the_tag_of_a_compressed_page_comes_back(assets: Assets, shell: Shell) -> None:
    """A 304 has the tag that the page had, or no cache would take it for the same; If-Match still matches."""
    tag = shell.page(assets, response([gzip.compress(PAGE)], "gzip", etag='"x"')).headers["etag"]
    again = Response([b""], {"etag": '"x"'}, status=304)
    reply = shell.page(assets, again, headers={"if-none-match": tag, "if-match": f'"y", {tag}'})
    assert again.seen == {"if-none-match": 'W/"x"', "if-match": '"y", "x"'}
    assert reply.headers["etag"] == tag == f'W/"x-{assets.version}"'


def test_a_fault_in_a_compressed_page(
    assets: Assets, shell: Shell, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of the rewriter costs a compressed page its URLs and nothing else, and is counted."""

    def fail(*arguments: object) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("scalekit.cdn._attributes.AttributeRewriter.edits", fail)
    monkeypatch.setattr(HtmlRewriter, "_jump", lambda *arguments: False)
    with caplog.at_level(logging.CRITICAL, logger="scalekit.cdn"):
        reply = shell.page(assets, response(pieces(gzip.compress(PAGE), 50), "gzip"))
    assert gzip.decompress(reply.body) == PAGE
    assert assets.counts.as_dict() == {"pages": 1, "urls": 0, "errors": 1}


def test_half_a_compressed_page(assets: Assets, shell: Shell) -> None:
    """A 206 passes byte for byte, with all that it says of itself."""
    headers = {
        "content-range": "bytes 0-9/100",
        "accept-ranges": "bytes",
        "etag": '"x"',
        "content-length": "10",
    }
    sent = response([gzip.compress(PAGE)[:10]], "gzip", **headers)
    sent.status = 206
    reply = shell.page(assets, sent)
    assert reply.body == sent.chunks[0]
    assert reply.headers == sent.headers


async def test_a_compressed_page_sent_by_path(assets: Assets, tmp_path: Path) -> None:
    """A page that lies compressed on the disk is rewritten as well."""
    file = tmp_path / "page.html.gz"
    file.write_bytes(gzip.compress(NOISE * 10))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/html"), (b"content-encoding", b"gzip")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.pathsend", "path": str(file)})

    extensions = {"http.response.pathsend": {}}
    reply = await call_asgi(AssetMiddleware(app, assets=assets), "/", extensions=extensions)
    assert gzip.decompress(reply.body) == rewritten(assets, NOISE * 10)


def test_write_of_a_compressed_page(assets: Assets) -> None:
    """WSGI's old way of sending a body decodes and encodes, too."""
    body = gzip.compress(PAGE)

    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", [("Content-Type", "text/html"), ("Content-Encoding", "gzip")])
        write(body[:30])
        write(body[30:60])
        return [body[60:]]

    reply = call_wsgi(WSGIAssetMiddleware(app, assets=assets), "/")
    assert gzip.decompress(reply.body) == rewritten(assets)
