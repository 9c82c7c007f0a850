"""A cart that follows its visitor from server to server, in a bare ASGI application.

    python -m examples.sessions_asgi
    curl -c jar -b jar -X POST localhost:8000/cart/tea
    curl -c jar -b jar localhost:8000/

REDIS_URL says where Redis is; start it on two ports (PORT) and ask them in turns.
"""

import json
import os
from typing import Any

import uvicorn

from scalekit.sessions.asgi import AsyncSession, SessionMiddleware
from scalekit.sessions.redis import RedisStore
from scalekit.types import Receive, Scope, Send


async def shop(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    session: AsyncSession = scope["session"]
    result: Any = None
    match scope["path"].strip("/").split("/"):
        case ["cart", sku]:
            session.setdefault("cart", []).append(sku)
            result = session["cart"]
        case ["login", name]:
            session.login(name)  # after the password was checked
        case ["logout"]:
            session.logout()
        case _:
            result = {"user": session.user_id, "cart": session.get("cart", [])}
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(result).encode()})


app = SessionMiddleware(
    shop,
    store=RedisStore.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379/0")),
    secret_key=os.environ.get("SECRET_KEY", "the same long secret on every server"),
)

if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")), lifespan="off")
