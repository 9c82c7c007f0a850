"""A cart that follows its visitor from server to server, in a bare WSGI application.

    python -m examples.sessions_wsgi
    curl -c jar -b jar -X POST localhost:8000/cart/tea
    curl -c jar -b jar localhost:8000/

REDIS_URL says where Redis is; start it on two ports (PORT) and ask them in turns.
"""

import json
import os
from collections.abc import Iterable
from typing import Any
from wsgiref.simple_server import make_server
from wsgiref.types import StartResponse

from scalekit.sessions.redis import RedisStore
from scalekit.sessions.wsgi import SessionMiddleware, get_session


def shop(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    session = get_session(environ)
    result: Any = None
    match environ["PATH_INFO"].strip("/").split("/"):
        case ["cart", sku]:
            session.setdefault("cart", []).append(sku)
            result = session["cart"]
        case ["login", name]:
            session.login(name)  # after the password was checked
        case ["logout"]:
            session.logout()
        case _:
            result = {"user": session.user_id, "cart": session.get("cart", [])}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(result).encode()]


app = SessionMiddleware(
    shop,
    store=RedisStore.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379/0")),
    secret_key=os.environ.get("SECRET_KEY", "the same long secret on every server"),
)

if __name__ == "__main__":
    with make_server("127.0.0.1", int(os.environ.get("PORT", "8000")), app) as server:
        server.serve_forever()
