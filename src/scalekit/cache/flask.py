"""Cached pages under Flask: the request of the context, and what Flask makes of a view's result."""

from typing import Any
from urllib.parse import quote

import flask
from flask.globals import request_ctx

from scalekit._http import from_wsgi, request_headers, to_wsgi
from scalekit.cache.asgi import session_was_read
from scalekit.cache.pages import Parts
from scalekit.types import Headers


def exchange() -> "FlaskExchange | None":
    """The request that is being answered, if one is."""
    return FlaskExchange() if flask.has_request_context() else None


class FlaskExchange:
    """One request."""

    def __init__(self) -> None:
        request = flask.request
        self.method = request.method
        self.headers: Headers = request_headers(request.environ)
        self.given: Headers = []
        self.origin = f"{request.scheme}://{request.host.lower()}"
        self.path = quote(request.root_path + request.path)
        self.target = ""  # the view is asked for the path as it is
        self.query = request.query_string.decode("latin-1")

    def is_personal(self) -> bool:
        # What stands behind ``flask.session``: since Flask 3.1.3 asking for that itself counts as reading it.
        # Before, the attribute had the plain name. Where neither is, nobody can tell, and nothing is kept.
        context = request_ctx.__dict__
        session = context.get("_session", context.get("session", self))
        return session is self or session_was_read(session)

    def parts(self, result: Any) -> Parts | str:
        response = flask.make_response(result)
        if response.is_streamed or response.direct_passthrough:
            return "it is streamed, or a file"
        return Parts(response.status_code, from_wsgi(response.headers), response.get_data())

    def make(self, parts: Parts) -> flask.Response:
        made: flask.Response = flask.current_app.response_class(
            parts.body, status=parts.status, headers=to_wsgi(parts.headers)
        )
        return made
