"""One page rewritten: 100 KB with 200 asset URLs as paths, at the CDN and as relative ones, and with none.

All write the same URLs. lolhtml streams, too, and writes the tags anew that it edits; lxml parses and writes
all of the page anew. 32 streams in chunks of 16 KiB take turns, as on an event loop. Relative URLs are
bare names on a page among its files: any attribute may have one, and every tag is looked at. The floor finds
every URL and copies the page. Then what a response costs that is no page, and how files are served.
"""

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.metadata import version
from pathlib import Path

import lolhtml
import lxml.html

from benchmarks import bench_cdn_responses, bench_cdn_serve
from benchmarks.harness import Case
from scalekit.cdn import Assets, HtmlRewriter
from scalekit.cdn.asgi import AssetMiddleware
from scalekit.types import ASGIApp, Message, Receive, Scope, Send

PEER = f"lolhtml {version('python-lolhtml')}"
PARSER = f"lxml {version('lxml')}"
SIZE, URLS, CHUNK, STREAMS = 100_000, 200, 16 * 1024, 32
SHEETS, IMAGES = 10, 50
CALLS = 2_000


def make_assets(folder: Path) -> Assets:
    for number in range(SHEETS):
        (folder / f"a{number}.css").write_text(f"p{{margin:{number}px}}")
    for number in range(IMAGES):
        (folder / f"p{number}.png").write_text(str(number))
    return Assets(folder, url="/static/", cdn="https://d111111abcdef8.cloudfront.net")


def make_page() -> bytes:
    """A shop's listing: a card an image, with lists, links and text around it."""
    parts = ["<!DOCTYPE html><html><head><title>Shop</title>\n"]
    parts += [f'<link rel="stylesheet" href="/static/a{number}.css">\n' for number in range(SHEETS)]
    parts.append("</head><body>\n")
    for number in range(URLS - SHEETS):
        parts.append(
            f'<div class="card" id="c{number}"><a class="link" href="/products/{number}">'
            f'<img src="/static/p{number % IMAGES}.png" alt="Product {number}" width="200" height="99"></a>\n'
            f'<p class="text">Lorem ipsum dolor <b>sit</b> amet, consectetur <em>adipiscing</em> elit. '
            f'<a href="/x/{number}">more</a> sed do eiusmod</p>\n<ul><li>one</li><li>two</li></ul></div>\n'
        )
    page = "".join(parts)
    return (page + "<p>" + "lorem ipsum dolor " * ((SIZE - len(page)) // 18)).encode()


class _Attribute:
    """lolhtml's handler: the same look-up, on one attribute."""

    def __init__(self, name: str, urls: dict[str, str]) -> None:
        self._name, self._urls = name, urls

    def element(self, element: lolhtml.Element) -> None:
        url = self._urls.get(element.get_attribute(self._name) or "")
        if url is not None:
            element.set_attribute(self._name, url)


def theirs(urls: dict[str, str], out: bytearray) -> lolhtml.HTMLRewriter:
    rewriter = lolhtml.HTMLRewriter(out.extend)
    rewriter.on("img[src], script[src], source[src]", _Attribute("src", urls))
    rewriter.on("link[href]", _Attribute("href", urls))
    return rewriter


def contenders(
    assets: Assets, page: bytes, start: str, path: str
) -> dict[str, Callable[[], bytes | bytearray]]:
    """Ours, lolhtml and lxml. The page's asset URLs begin with ``start``; ``path`` is its own."""
    urls = {f"{start}{asset.name}": assets.url(asset.name) for asset in assets}

    def ours() -> bytes:
        return HtmlRewriter(assets, path=path).rewrite(page)

    def lol() -> bytearray:
        out = bytearray()
        rewriter = theirs(urls, out)
        rewriter.write(page)
        rewriter.end()
        return out

    def parsed() -> bytes:
        tree = lxml.html.document_fromstring(page)
        for element in tree.iter("img", "script", "source", "link"):
            name = "href" if element.tag == "link" else "src"
            if url := urls.get(element.get(name, "")):
                element.set(name, url)
        return lxml.html.tostring(tree)

    return {"": ours, PEER: lol, PARSER: parsed}


def streams(
    assets: Assets, page: bytes, start: str, path: str
) -> tuple[Callable[[], list[list[bytes]]], Callable[[], list[bytearray]]]:
    urls = {f"{start}{asset.name}": assets.url(asset.name) for asset in assets}
    chunks = [page[index : index + CHUNK] for index in range(0, len(page), CHUNK)]

    def ours() -> list[list[bytes]]:
        rewriters = [HtmlRewriter(assets, path=path) for _ in range(STREAMS)]
        out: list[list[bytes]] = [[] for _ in rewriters]
        for chunk in chunks:
            for rewriter, pieces in zip(rewriters, out, strict=True):
                pieces.append(rewriter.feed(chunk))
        for rewriter, pieces in zip(rewriters, out, strict=True):
            pieces.append(rewriter.close())
        return out

    def peer() -> list[bytearray]:
        out = [bytearray() for _ in range(STREAMS)]
        rewriters = [theirs(urls, pieces) for pieces in out]
        for chunk in chunks:
            for rewriter in rewriters:
                rewriter.write(chunk)
        for rewriter in rewriters:
            rewriter.end()
        return out

    return ours, peer


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})


def answers(app: ASGIApp) -> Callable[[], Awaitable[None]]:
    """Calls of an application that answers with JSON."""
    headers = [(b"host", b"shop.example"), (b"accept", b"*/*"), (b"user-agent", b"a browser")]
    scope = {"type": "http", "method": "GET", "path": "/api/cart", "headers": headers, "extensions": {}}

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        pass

    async def calls() -> None:
        for _ in range(CALLS):
            await app(scope, receive, send)

    return calls


def floor(page: bytes) -> bytearray:
    position = 0
    while (position := page.find(b"/static/", position)) >= 0:
        position += 8
    return bytearray(page)


async def cases() -> AsyncIterator[Case]:
    with tempfile.TemporaryDirectory() as folder:
        assets = make_assets(Path(folder))
        page = make_page()
        there = f"{assets.cdn}/static/"
        for name, text, start, path in (
            ("200 asset URLs", page, "/static/", "/"),
            ("200 URLs that name the CDN", page.replace(b"/static/", there.encode()), there, "/"),
            ("200 relative URLs", page.replace(b"/static/", b""), "", "/static/page"),
            ("no asset URL", page.replace(b"/static/", b"/images/"), "/static/", "/"),
        ):
            whole = contenders(assets, text, start, path)
            ours = whole.pop("")
            assert len(ours()) == len(whole[PEER]())  # the same URLs were written
            yield Case(
                piece="cdn",
                name=f"100 KB page, {name}",
                ours=ours,
                peers=whole,
                floor=lambda text=text: floor(text),
                rounds=100,
            )
            many, many_peer = streams(assets, text, start, path)
            yield Case(
                piece="cdn",
                name=f"100 KB page, {name}, {STREAMS} streams",
                ours=many,
                peers={PEER: many_peer},
                floor=lambda text=text: [floor(text) for _ in range(STREAMS)],
                units=STREAMS,
                rounds=20,
            )
        yield Case(
            piece="cdn",
            name="a response that is no page, without what its application takes",
            ours=answers(AssetMiddleware(_answer, assets=assets)),
            peers={},
            base=answers(_answer),
            units=CALLS,
            rounds=50,
        )
        async for case in bench_cdn_responses.cases(assets, page):
            yield case
    async for case in bench_cdn_serve.cases():
        yield case
