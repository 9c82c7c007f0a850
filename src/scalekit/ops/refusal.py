"""How a request is refused for now: 503 with the time to come back, as a page or as a problem. Pure.

Rules:

* Everybody is told another moment, up to a quarter later than the first unless said otherwise: whoever is
  refused together must not come back together.
* A browser gets the page, anything else a problem document (RFC 9457).
* Nobody may keep the answer.
"""

import json
import random
from collections.abc import Callable

from scalekit import _http
from scalekit._options import check_kind
from scalekit.ops.probes import Answer
from scalekit.types import Headers

_SPREAD = 0.25
# Of our own: an application may seed what all share, in all of its servers alike.
_dice = random.Random()  # noqa: S311


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<body style="font: 1.2em/1.5 sans-serif; max-width: 30em; margin: 20vh auto; padding: 0 1em">
<h1>{heading}</h1>
<p>{text}</p>
"""


def plain_page(title: str, heading: str, text: str) -> bytes:
    """A page that needs nothing else; of HTML."""
    return _PAGE.format(title=title, heading=heading, text=text).encode()


def check_page(page: str | bytes | None, *, otherwise: bytes) -> bytes:
    """The page as bytes, or ``otherwise``.

    Raises:
        ConfigurationError: it is neither text nor bytes.
    """
    if page is None:
        return otherwise
    check_kind(
        page, str | bytes, option="page=", wanted="HTML as text or bytes, such as Path(...).read_text()"
    )
    return page.encode() if isinstance(page, str) else page


def refuse(
    request: Headers,
    *,
    title: str,
    detail: str,
    after: float,
    page: bytes,
    spread: float = _SPREAD,
    draw: Callable[[], float] = _dice.random,
) -> Answer:
    """The refusal of a request.

    Args:
        request: its headers.
        title: what is the matter, in a few words.
        detail: a sentence more.
        after: seconds to come back in, at the earliest.
        page: HTML for browsers.
        spread: how much later than ``after`` the last of them are told, as a share of it.
        draw: gives 0 to below 1.
    """
    if b"text/html" in (_http.get(request, b"accept") or b""):
        kind, body = b"text/html; charset=utf-8", page
    else:
        kind = b"application/problem+json"
        body = json.dumps({"type": "about:blank", "title": title, "status": 503, "detail": detail}).encode()
    headers = [
        (b"content-type", kind),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"vary", b"Accept"),
        (b"retry-after", str(max(1, round(after * (1 + spread * draw())))).encode()),
    ]
    return Answer(503, body, headers)
