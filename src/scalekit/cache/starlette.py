"""Cached pages under Starlette and FastAPI: where a call finds its request, and what becomes of its result.

* Starlette hands an endpoint its request. FastAPI gives a function what its signature asks for, so the
  wrapper's asks for the request, and for the response to which dependencies add headers.
* Those headers are this request's own: they are sent, and not kept. What the function adds is kept.
"""

import inspect
import typing
from collections.abc import Callable
from typing import Any

from starlette.background import BackgroundTasks
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from scalekit.cache.asgi import address, session_was_read
from scalekit.cache.pages import Parts
from scalekit.types import Colour, Headers

# That work is to be done each time.
_TASKS = "it has a background task"
_REQUEST, _RESPONSE = "scalekit_request", "scalekit_response"


class Endpoint:
    """One decorated function."""

    def __init__(self, function: Callable[..., Any], colour: Colour) -> None:
        self._function = function
        self._colour: Colour = colour
        self._presenters: dict[int, Any] = {}

    def sign(self, cached: Any) -> None:
        """Ask FastAPI for the request and the response, unless the function has done so."""
        try:
            hints = typing.get_type_hints(self._function, include_extras=True)
        except (NameError, TypeError, AttributeError):  # of names for the type checker alone
            hints = {}
        signature = inspect.signature(self._function)
        # Resolved: FastAPI would look for names in the module of the wrapper.
        parameters = [
            value.replace(annotation=hints.get(name, value.annotation))
            for name, value in signature.parameters.items()
        ]
        own = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=cls)
            for name, cls in ((_REQUEST, Request), (_RESPONSE, Response))
            if not any(_takes(value.annotation, cls) for value in parameters)
        ]
        rest = [value for value in parameters if value.kind is inspect.Parameter.VAR_KEYWORD]
        parameters = [value for value in parameters if value not in rest]
        cached.__signature__ = signature.replace(
            parameters=[*parameters, *own, *rest],
            return_annotation=hints.get("return", signature.return_annotation),
        )

    def exchange(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> "StarletteExchange | None":
        """The request of a call, taken out of ``kwargs`` if the function has not asked for it."""
        values = [*args, *kwargs.values()]
        kwargs.pop(_REQUEST, None)
        kwargs.pop(_RESPONSE, None)
        request = next((value for value in values if isinstance(value, HTTPConnection)), None)
        if request is None or request.scope["type"] != "http":
            return None
        response = next((value for value in values if isinstance(value, Response)), None)
        tasks = next((value for value in values if isinstance(value, BackgroundTasks)), None)
        return StarletteExchange(self, request, response, tasks)

    def present(self, request: HTTPConnection, result: Any) -> Any:
        """What FastAPI makes of ``result``: a response, or an awaitable of it."""
        from scalekit.cache.fastapi import present

        return present(request, result, self._presenters, self._colour)


class StarletteExchange:
    """One request."""

    def __init__(
        self,
        endpoint: Endpoint,
        request: HTTPConnection,
        response: Response | None,
        tasks: BackgroundTasks | None,
    ) -> None:
        scope = request.scope
        self._endpoint, self._request, self._response = endpoint, request, response
        self._session = scope.get("session")
        self.method: str = scope["method"]
        self.headers: Headers = list(scope["headers"])
        self.origin, self.path, self.target, self.query = address(scope)
        self.given: Headers = [] if response is None else list(response.headers.raw)
        # A dependency has chosen it, for this request; FastAPI leaves it None otherwise.
        self._has_status = response is not None and response.status_code is not None
        self._tasks = tasks
        self._begun = len(tasks.tasks) if tasks is not None else 0

    def is_personal(self) -> bool:
        return self._has_status or session_was_read(self._session)

    def parts(self, result: Any, /) -> Any:
        if self._tasks is not None and len(self._tasks.tasks) > self._begun:
            return _TASKS
        if isinstance(result, Response):
            return _parts(result)
        return self._presented(result)

    def _presented(self, result: Any) -> Any:
        made = self._endpoint.present(self._request, result)
        if inspect.isawaitable(made):
            return self._later(made)
        return self._with_headers(made)

    async def _later(self, made: Any) -> Parts | str:
        return self._with_headers(await made)

    def _with_headers(self, made: Response) -> Parts | str:
        """With what the function has put on the response it asked for."""
        parts = _parts(made)
        if isinstance(parts, str) or self._response is None:
            return parts
        added = [pair for pair in self._response.headers.raw if pair not in self.given]
        # Not set, FastAPI leaves it None.
        return parts._replace(
            status=self._response.status_code or parts.status, headers=[*parts.headers, *added]
        )

    def make(self, parts: Parts) -> Response:
        response = Response(parts.body, status_code=parts.status)
        # What the function has set stands, as it would without a cache.
        names = {name for name, _ in parts.headers} - {b"vary"}
        response.raw_headers = [*parts.headers, *(pair for pair in self.given if pair[0] not in names)]
        return response


def _takes(annotation: Any, cls: type) -> bool:
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    return isinstance(annotation, type) and issubclass(annotation, cls)


def _parts(response: Response) -> Parts | str:
    body = getattr(response, "body", None)
    if not isinstance(body, bytes):
        return f"it is a {type(response).__name__}, which has no body at hand"
    if response.background is not None:
        return _TASKS
    return Parts(response.status_code, list(response.raw_headers), body)
