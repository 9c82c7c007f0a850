"""The purging APIs of Fastly and CloudFront, as far as they document it, on this machine.

Each refuses what the real one would: an unknown token or service, a request that its documentation, or
botocore's model of it, does not have. What came is kept, to be looked at.
"""

import itertools
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from xml.etree import ElementTree

import botocore.session

TOKEN = "fastly-token-3f2a9c01"
SERVICE = "SU1Z0isxPaozGVKXdv0eY"
DISTRIBUTION = "EDFDVBD6EXAMPLE"


class Api:
    """``with Fastly() as api:`` serves on ``api.url`` until the block ends."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        """Method, target and headers, in lower case, of each request."""
        self.script: list[tuple[int, dict[str, str]] | None] = []
        """How the next requests fail, before the first one that is carried out: with a status and headers,
        or ``None``, by a lost connection after they were carried out."""

    def __enter__(self) -> Self:
        api = self

        class Handler(BaseHTTPRequestHandler):
            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except ConnectionError:
                    self.close_connection = True

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                api.requests.append((self.command, self.path, headers))
                failure = api.script.pop(0) if api.script else (0, {})
                if failure is not None and failure[0]:
                    status, more, content = failure[0], failure[1], b""
                else:
                    status, content = api.answer(self.command, self.path, headers, body)
                    more = {}
                if failure is None:
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in (more | {"Content-Length": str(len(content))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = answer

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        raise NotImplementedError


class Fastly(Api):
    """``purged`` holds ``("url", "host/path")``, ``("key", "a-key")`` and ``("all", SERVICE)``."""

    def __init__(self) -> None:
        super().__init__()
        self.purged: list[tuple[str, str]] = []

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        if headers.get("fastly-key") != TOKEN:
            return 401, b'{"msg":"Provided credentials are missing or invalid"}'
        if method != "POST" or body:
            return 405, b""
        if target.startswith("/purge/"):
            self.purged.append(("url", target.removeprefix("/purge/")))
            return 200, b'{"status":"ok","id":"1-url"}'
        if target == f"/service/{SERVICE}/purge":
            keys = headers.get("surrogate-key", "").split(" ")
            if not all(keys) or len(keys) > 256:
                return 400, b'{"msg":"Bad request"}'
            self.purged += [("key", key) for key in keys]
            return 200, json.dumps({key: f"1-{key}" for key in keys}).encode()
        if target == f"/service/{SERVICE}/purge_all":
            if "fastly-soft-purge" in headers:
                return 400, b'{"msg":"Purge-all requests cannot be done in soft mode"}'
            self.purged.append(("all", SERVICE))
            return 200, b'{"status":"ok"}'
        return 404, b'{"msg":"Record not found"}'


class CloudFront(Api):
    """``invalidations`` holds the items of each by its CallerReference, in progress for ``polls`` looks."""

    def __init__(self, *, polls: int = 0) -> None:
        super().__init__()
        self.polls = polls
        self.invalidations: dict[str, list[str]] = {}
        self._ids = itertools.count(1)
        self._known: dict[str, str] = {}
        model = botocore.session.get_session().get_service_model("cloudfront")
        self._operation = model.operation_model("CreateInvalidation")
        self._at = self._operation.http["requestUri"].replace("{DistributionId}", DISTRIBUTION)
        self._within = self._at.partition(DISTRIBUTION)[0]

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        if "AWS4-HMAC-SHA256" not in headers.get("authorization", ""):
            return _error(403, "MissingAuthenticationToken")
        if method == "GET" and target.startswith(f"{self._at}/"):
            self.polls -= 1
            return 200, _invalidation(target.rpartition("/")[2], done=self.polls < 0)
        if method != self._operation.http["method"] or not target.startswith(self._within):
            return _error(400, "InvalidAction")
        if target != self._at:
            return _error(404, "NoSuchDistribution")
        batch = ElementTree.fromstring(body)
        shape = self._operation.input_shape.members["InvalidationBatch"]
        found = _parsed(batch, shape)
        items, reference = found["Paths"]["Items"], found["CallerReference"]
        if found["Paths"]["Quantity"] != len(items):
            return _error(400, "InconsistentQuantities")
        if any(item[0] not in "/#" or not item.isascii() or " " in item for item in items):
            return _error(400, "InvalidArgument")
        if len(items) > 3000 or sum(item.endswith("*") for item in items) > 15:
            return _error(400, "TooManyInvalidationsInProgress")
        if reference in self.invalidations:
            if self.invalidations[reference] != items:
                return _error(400, "InvalidationBatchAlreadyExists")
        else:
            self.invalidations[reference] = items
            self._known[reference] = f"I{next(self._ids)}"
        return 201, _invalidation(self._known[reference], done=False)


def _parsed(element: ElementTree.Element, shape: Any) -> Any:
    """What an XML element says, by botocore's model; what that does not have is a mistake."""
    if shape.type_name == "structure":
        found = {}
        for child in element:
            name = child.tag.rpartition("}")[2]
            found[name] = _parsed(child, shape.members[name])
        assert set(shape.required_members) <= set(found), f"{element.tag} has {set(found)} only"
        return found
    if shape.type_name == "list":
        return [_parsed(child, shape.member) for child in element]
    convert: Callable[[str], Any] = int if shape.type_name == "integer" else str
    return convert(element.text or "")


def _invalidation(name: str, *, done: bool) -> bytes:
    status = "Completed" if done else "InProgress"
    return (
        f"<Invalidation><Id>{name}</Id><Status>{status}</Status>"
        "<CreateTime>2026-11-01T00:00:00Z</CreateTime></Invalidation>"
    ).encode()


def _error(status: int, code: str) -> tuple[int, bytes]:
    return status, f"<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>".encode()
