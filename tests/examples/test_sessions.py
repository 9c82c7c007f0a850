"""The sessions examples, as real processes: two servers each, which share their visitors."""

import os

import pytest

from tests import plain
from tests.ops.child import child, wait_until
from tests.servers.ports import free_port

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("framework", ["fastapi", "starlette", "flask", "django", "wsgi", "asgi"])
def test_two_servers_share_their_visitors(framework: str, redis_url: str) -> None:
    """A cart is filled on both servers in turns, survives the log-in, and is gone after the log-out."""
    env = {**os.environ, "REDIS_URL": redis_url}
    ports = free_port(), free_port()
    one, two = (f"http://127.0.0.1:{port}" for port in ports)
    module = ("tests.patience", f"examples.sessions_{framework}")
    with (
        child("-m", *module, env=env | {"PORT": str(ports[0])}),
        child("-m", *module, env=env | {"PORT": str(ports[1])}),
        plain.Client() as visitor,
    ):
        wait_until(lambda: plain.answers(one), "the first is up")
        wait_until(lambda: plain.answers(two), "the second is up")
        assert visitor.post(f"{one}/cart/tea").json() == ["tea"]
        assert visitor.post(f"{two}/cart/cup").json() == ["tea", "cup"]
        before = dict(visitor.cookies)
        assert visitor.post(f"{one}/login/ada").is_success
        assert dict(visitor.cookies) != before
        assert visitor.get(f"{two}/").json() == {"user": "ada", "cart": ["tea", "cup"]}
        assert plain.get(f"{two}/").json() == {"user": None, "cart": []}
        assert visitor.post(f"{two}/logout").is_success
        assert visitor.get(f"{one}/").json() == {"user": None, "cart": []}
        assert plain.get(f"{one}/", cookies=before).json() == {"user": None, "cart": []}
