"""Health probes and a drain under Flask, or any other WSGI application.

    python -m examples.ops_flask
    curl -i localhost:8000/health/ready      # 200
    kill %1                                  # or Ctrl-C to stop at once
    curl -i localhost:8000/health/ready      # 503 while it drains; localhost:8000/ still answers

In production: gunicorn examples.ops_flask:app
"""

import os
import socket
from urllib.parse import urlsplit
from wsgiref.simple_server import make_server

from flask import Flask

from scalekit.ops import Check, Drain
from scalekit.ops.wsgi import OpsMiddleware

redis = urlsplit(os.environ.get("REDIS_URL", "redis://localhost:6379/0"))


def redis_answers() -> None:
    """Plain functions may block: each runs in a thread of its own."""
    socket.create_connection((redis.hostname, redis.port or 6379), timeout=1).close()


app = Flask(__name__)
app.wsgi_app = OpsMiddleware(
    app.wsgi_app,
    checks=[Check("redis", redis_answers, required=False)],
    drain=Drain(delay=float(os.environ.get("DRAIN_DELAY", "5"))),
)


@app.get("/")
def home() -> dict[str, int]:
    return {"server": os.getpid()}


if __name__ == "__main__":
    with make_server("127.0.0.1", int(os.environ.get("PORT", "8000")), app) as server:
        server.serve_forever()
