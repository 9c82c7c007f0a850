"""What FastAPI makes of an endpoint's result: by its own hand, through a route with the same options.

The route that stands for a request knows the response model, the response class and how to leave fields out.
A second one of this kind, whose endpoint gives back what it is handed, turns a result into the very
response that the first one would.
"""

from typing import Any

import anyio.from_thread
from fastapi.routing import APIRoute
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from scalekit.types import Colour

_RESULT = "scalekit.cache.result"
_OPTIONS = (
    "response_model",
    "status_code",
    "response_class",
    "response_model_include",
    "response_model_exclude",
    "response_model_by_alias",
    "response_model_exclude_unset",
    "response_model_exclude_defaults",
    "response_model_exclude_none",
)


async def _hand_back(request: Request) -> Any:
    return request.scope[_RESULT]


def present(request: HTTPConnection, result: Any, known: dict[int, Any], colour: Colour) -> Any:
    """The response for ``result``; an awaitable of it in the colour ``async``.

    Args:
        request: the endpoint's.
        result: what it returned.
        known: the presenting routes by the identity of what they were made from; kept by the caller.
        colour: a plain ``def`` runs in a thread of FastAPI's pool, and waits there for the loop.

    Raises:
        TypeError: the endpoint is not FastAPI's, and returned no response.
    """
    source = _source(request)
    if source is None:
        raise TypeError(f"the endpoint returned a {type(result).__name__}; Starlette takes a Response")
    entry = known.get(id(source))
    if entry is None:
        options = {name: getattr(source, name) for name in _OPTIONS}
        handler = APIRoute("/", _hand_back, **options).get_route_handler()
        entry = known[id(source)] = (source, handler)  # which keeps the identity from being used again
    handler = entry[1]
    again = Request({**request.scope, _RESULT: result})
    if colour == "async":
        return handler(again)
    response: Response = anyio.from_thread.run(handler, again)
    return response


def _source(request: HTTPConnection) -> Any:
    """The route of a request; where a router was included, what that has made of the route's options."""
    route = request.scope.get("route")
    included = request.scope.get("fastapi", {}).get("effective_route_context")
    if included is not None and included.original_route is route:
        return included
    return route if isinstance(route, APIRoute) else None
