"""The page for when no server can answer, made by the load balancer itself.

* A page that was asked for is asked for again, by the page itself.
* A form is not sent again, for nobody may order twice without knowing it. Its page says whether the form
  can have arrived, waits until a server is back, and then leads to the page that the form was on.
"""

from html import escape
from pathlib import Path
from urllib.parse import urlsplit

from scalekit.types import Headers

READY = "/_balancer/ready"
"""Where the page asks whether a server is back; the balancer answers, so it is no request to the shop."""

_PAGE = Path(__file__).with_name("busy.html").read_text()
_AGAIN = '<meta http-equiv="refresh" content="3">'


def page(method: str, headers: Headers, *, arrived: bool) -> bytes:
    """The page, as HTML.

    Args:
        method: of the request that is answered with it.
        headers: of that request.
        arrived: whether a server may have got the request; if not, it cannot have changed anything.
    """
    if method in ("GET", "HEAD"):
        return _fill(
            title="Just a moment",
            text="No server can answer right now. Your basket is kept; this page looks again by itself.",
            refresh=_AGAIN,
            link="Try again",
        )
    if arrived:
        title = "Did that arrive?"
        text = (
            "The server that was working on it is gone, so we cannot tell. Your basket is kept. "
            'Before you send it again, look whether it was done: <a href="/orders">your orders</a>.'
        )
    else:
        title = "That did not reach us"
        text = "No server could take what you sent. Nothing was ordered or changed; your basket is kept."
    return _fill(title=title, text=text, back=_form_page(headers), link="Back to where you were")


def _fill(*, title: str, text: str, link: str, back: str = "", refresh: str = "") -> bytes:
    values = {"title": title, "text": text, "link": link, "refresh": refresh}
    values |= {"back": escape(back), "ready": READY if back else ""}
    filled = _PAGE
    for name, value in values.items():
        filled = filled.replace(f"<!--{name}-->", value)
    return filled.encode()


def _form_page(headers: Headers) -> str:
    """The page that the form was on, if it was one of ours; otherwise the front page."""
    values = dict(headers)
    try:
        origin = urlsplit(values.get(b"referer", b"").decode("latin-1"))
    except ValueError:
        return "/"
    # A path that begins with two slashes would lead to another host.
    ours = origin.netloc.encode("latin-1") == values.get(b"host") and not origin.path.startswith(
        ("//", "/\\")
    )
    return f"{origin.path or '/'}{'?' if origin.query else ''}{origin.query}" if ours else "/"
