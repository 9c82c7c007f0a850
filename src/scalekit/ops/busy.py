"""What who is turned away gets: 503, when to come back, and a page that costs nothing to make."""

from dataclasses import replace

from scalekit import _http
from scalekit._durations import Duration, seconds
from scalekit.ops.probes import Answer
from scalekit.ops.refusal import check_page, plain_page, refuse
from scalekit.types import Headers

_PAGE = plain_page(
    "Busy",
    "We are very busy",
    "More people are here than we can serve at once. Please try again in a moment.",
)

_SMALL = 64 * 1024  # bytes of a body that cost less than a new connection


class BusyPage:
    """Makes the answers.

    Args:
        page: HTML for browsers, as text or bytes.
        retry_after: seconds (or ``timedelta``) after which to come back, at least; each answer says up to
            twice as long, by chance.

    Raises:
        ConfigurationError: ``page`` is neither, or ``retry_after`` is below a second.
    """

    def __init__(self, page: str | bytes | None, retry_after: Duration) -> None:
        self._page = check_page(page, otherwise=_PAGE)
        self._after = seconds(retry_after, name="retry_after", minimum=1.0)

    def answer(self, method: str, headers: Headers, *, http1: bool) -> Answer:
        """The answer to a request whose body was not read. ``http1`` allows it a ``Connection`` header."""
        answer = refuse(
            headers,
            title="Too many requests at the moment",
            detail="The server has more to do than it can. Nothing was done for this request; send it later.",
            after=self._after,
            page=self._page,
            spread=1.0,
        )
        if http1 and _is_long(headers):
            # A small body is read past, and the connection stays; a long one would be received for nothing.
            answer.headers.append((b"connection", b"close"))
        return replace(answer, body=b"") if method == "HEAD" else answer


def _is_long(headers: Headers) -> bool:
    length = _http.get(headers, b"content-length")
    if length is None:
        return _http.get(headers, b"transfer-encoding") is not None
    return not length.isdigit() or len(length) > 9 or int(length) > _SMALL
