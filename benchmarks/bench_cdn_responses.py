"""What the middleware costs around the rewriter: a WSGI response that is no page, and a compressed page.

The page is the shop's listing, compressed by the application. The floor takes the compression off and puts it
on again, with nothing between.
"""

import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from benchmarks.harness import Case
from scalekit.cdn import Assets, HtmlRewriter
from scalekit.cdn._body import CodedBody
from scalekit.cdn._gzip import Gzip
from scalekit.cdn.wsgi import AssetMiddleware

CALLS = 2_000
_GZIP = zlib.MAX_WBITS | 16


def _answer(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", "2")])
    return [b"{}"]


def answers(app: Any) -> Callable[[], None]:
    """Calls of an application that answers with JSON."""
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/api/cart",
        "HTTP_HOST": "shop.example",
    }
    environ |= {f"HTTP_X_{number}": "what servers put there" for number in range(20)}

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        return print

    def calls() -> None:
        for _ in range(CALLS):
            app(environ, start_response)

    return calls


async def cases(assets: Assets, page: bytes) -> AsyncIterator[Case]:
    yield Case(
        piece="cdn",
        name="a response that is no page under WSGI, without what its application takes",
        ours=answers(AssetMiddleware(_answer, assets=assets)),
        peers={},
        base=answers(_answer),
        units=CALLS,
        rounds=50,
    )
    body = zlib.compress(page, wbits=_GZIP)

    def ours() -> bytes:
        return b"".join(CodedBody(HtmlRewriter(assets), Gzip()).only(body))

    assert zlib.decompress(ours(), wbits=_GZIP) == HtmlRewriter(assets).rewrite(page)
    yield Case(
        piece="cdn",
        name="100 KB page, 200 asset URLs, compressed by the application",
        ours=ours,
        peers={},
        floor=lambda: zlib.compress(zlib.decompress(body, wbits=_GZIP), wbits=_GZIP),
        rounds=30,
    )
