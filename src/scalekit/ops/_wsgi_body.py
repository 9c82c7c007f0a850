"""A WSGI response for which something is held until the server closes it."""

from collections.abc import Callable, Iterator

from scalekit.types import WSGIBody


class HeldBody:
    """Passes ``body`` through.

    Args:
        release: called once, when the server closes it.
    """

    def __init__(self, body: WSGIBody, release: Callable[[], None]) -> None:
        self._body = body
        self._release: Callable[[], None] | None = release

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            release, self._release = self._release, None  # closing twice is closing once
            if release is not None:
                release()
