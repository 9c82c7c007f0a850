"""One page rewritten: 100 KB with 200 asset URLs, and one with none.

Ours and lolhtml write the same URLs. 32 streams in chunks of 16 KiB take turns, as they do on an event loop.
The floor finds every URL and copies the page.
"""

import tempfile
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version
from pathlib import Path

import lolhtml

from benchmarks import bench_cdn_serve
from benchmarks.harness import Case
from scalekit.cdn import Assets, HtmlRewriter

PEER = f"lolhtml {version('python-lolhtml')}"
SIZE, URLS, CHUNK, STREAMS = 100_000, 200, 16 * 1024, 32
SHEETS, IMAGES = 10, 50


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


def contenders(assets: Assets, page: bytes) -> tuple[Callable[[], bytes], Callable[[], bytearray]]:
    urls = {f"/static/{asset.name}": assets.url(asset.name) for asset in assets}

    def ours() -> bytes:
        return HtmlRewriter(assets).rewrite(page)

    def peer() -> bytearray:
        out = bytearray()
        rewriter = theirs(urls, out)
        rewriter.write(page)
        rewriter.end()
        return out

    return ours, peer


def streams(
    assets: Assets, page: bytes
) -> tuple[Callable[[], list[list[bytes]]], Callable[[], list[bytearray]]]:
    urls = {f"/static/{asset.name}": assets.url(asset.name) for asset in assets}
    chunks = [page[index : index + CHUNK] for index in range(0, len(page), CHUNK)]

    def ours() -> list[list[bytes]]:
        rewriters = [HtmlRewriter(assets) for _ in range(STREAMS)]
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


def floor(page: bytes) -> bytearray:
    position = 0
    while (position := page.find(b"/static/", position)) >= 0:
        position += 8
    return bytearray(page)


async def cases() -> AsyncIterator[Case]:
    with tempfile.TemporaryDirectory() as folder:
        assets = make_assets(Path(folder))
        page = make_page()
        for name, text in {
            "200 asset URLs": page,
            "no asset URL": page.replace(b"/static/", b"/images/"),
        }.items():
            ours, peer = contenders(assets, text)
            assert len(ours()) == len(peer())  # the same URLs were written
            yield Case(
                piece="cdn",
                name=f"100 KB page, {name}",
                ours=ours,
                peers={PEER: peer},
                floor=lambda text=text: floor(text),
                rounds=100,
            )
            many, many_peer = streams(assets, text)
            yield Case(
                piece="cdn",
                name=f"100 KB page, {name}, {STREAMS} streams",
                ours=many,
                peers={PEER: many_peer},
                floor=lambda text=text: [floor(text) for _ in range(STREAMS)],
                units=STREAMS,
                rounds=20,
            )
    async for case in bench_cdn_serve.cases():
        yield case
