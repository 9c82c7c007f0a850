"""A cart that follows its visitor from server to server, under Flask: `flask.session`, as ever.

    python -m examples.sessions_flask
    curl -c jar -b jar -X POST localhost:8000/cart/tea
    curl -c jar -b jar localhost:8000/

REDIS_URL says where Redis is; start it on two ports (PORT) and ask them in turns.
"""

import os
from typing import Any
from wsgiref.simple_server import make_server

from flask import Flask

from scalekit.sessions.flask import ServerSessionInterface, session  # flask.session, with its type
from scalekit.sessions.redis import RedisStore

app = Flask(__name__)
app.session_interface = ServerSessionInterface(
    RedisStore.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379/0")),
    secret_key=os.environ.get("SECRET_KEY", "the same long secret on every server"),
)


@app.get("/")
def show() -> dict[str, Any]:
    return {"user": session.user_id, "cart": session.get("cart", [])}


@app.post("/cart/<sku>")
def add(sku: str) -> list[str]:
    session.setdefault("cart", []).append(sku)
    return list(session["cart"])


@app.post("/login/<name>")
def login(name: str) -> dict[str, Any]:
    session.login(name)  # after the password was checked
    return {}


@app.post("/logout")
def logout() -> dict[str, Any]:
    session.logout()
    return {}


if __name__ == "__main__":
    with make_server("127.0.0.1", int(os.environ.get("PORT", "8000")), app) as server:
        server.serve_forever()
