"""The twin of tests.ops.fleet_app for servers of WSGI applications."""

import json
import os
import time
from typing import Any

from scalekit.ops.wsgi import OpsMiddleware
from scalekit.types import Environ
from tests.ops.fleet_app import SLOW, drain


def serve(environ: Environ, start_response: Any) -> list[bytes]:
    path = environ["PATH_INFO"]
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    answer: object = None
    if path == "/work":
        time.sleep(0.2 if body == SLOW else 0.02)
        answer = {"pid": os.getpid()}
    elif path == "/state":
        answer = {"pid": os.getpid(), "in flight": drain.in_flight, "draining": drain.draining}
    elif path == "/taken-out":
        if drain.draining:
            drain.delay = 0.0
        answer = drain.draining
    content = json.dumps(answer).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(content)))])
    return [content]


app = OpsMiddleware(serve, drain=drain)
