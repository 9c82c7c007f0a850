"""The answer to an outage of the store: 503, where Django would report an error with each request."""

import logging
from collections.abc import Callable
from typing import Any

from django.contrib.sessions.middleware import SessionMiddleware  # type: ignore[import-untyped]
from django.http import HttpRequest, HttpResponse  # type: ignore[import-untyped]
from django.utils.deprecation import MiddlewareMixin  # type: ignore[import-untyped]

from scalekit.errors import BackendError, DecryptionFailed
from scalekit.sessions.django.engine import SessionStore


class UnavailableMiddleware(MiddlewareMixin):  # type: ignore[misc]
    """Answers 503 for an error of the store, and logs that once a minute.

    Django mails the administrators for each error that it makes a 500 of. So this is faster: it takes
    what a view raises, and, right before the session middleware, what that raises when it saves. What some
    other middleware raises has been reported by then; only the answer is replaced.
    """

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        # Django gives each middleware the next one wrapped in what makes responses of its errors.
        inner = getattr(get_response, "__wrapped__", None)
        super().__init__(inner if isinstance(inner, SessionMiddleware) else get_response)

    def __call__(self, request: HttpRequest) -> Any:
        try:
            return super().__call__(request)
        except BackendError as error:
            return self._answer(request, error)

    async def __acall__(self, request: HttpRequest) -> HttpResponse:
        try:
            return await super().__acall__(request)
        except BackendError as error:
            return self._answer(request, error)

    def process_exception(self, request: HttpRequest, exception: Exception) -> "HttpResponse | None":
        session = _failed(request, exception)
        return None if session is None else _unavailable(session)

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        session = getattr(request, "session", None)
        if response.status_code != 500 or not isinstance(session, SessionStore) or session._fault is None:
            return response
        return _unavailable(session)

    def _answer(self, request: HttpRequest, error: BackendError) -> HttpResponse:
        session = _failed(request, error)
        if session is None:
            raise error  # another piece's outage is not ours to answer
        return _unavailable(session)


def _failed(request: HttpRequest, error: Exception) -> "SessionStore | None":
    """The session of the request, if it has raised ``error``."""
    session = getattr(request, "session", None)
    return session if isinstance(session, SessionStore) and session._fault is error else None


def _unavailable(session: SessionStore) -> HttpResponse:
    error = session._fault
    if not isinstance(error, DecryptionFailed):  # that is told once, where it was found
        session._config.log.log(
            logging.ERROR, "a session is not available; the request is answered with 503: %s", error
        )
    headers = {"Retry-After": "1", "Cache-Control": "no-store"}
    response: Any = HttpResponse(b"Service Unavailable\n", "text/plain; charset=utf-8", 503, headers=headers)
    response._has_been_logged = True  # or Django mails the administrators for each response of 500 and more
    answer: HttpResponse = response
    return answer
