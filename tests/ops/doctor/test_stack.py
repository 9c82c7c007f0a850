"""Middleware in the wrong order, and in the right one, in the frameworks."""

from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from flask import Flask
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.httpsredirect import HTTPSRedirectMiddleware
from starlette.middleware.sessions import SessionMiddleware as CookieSessions
from starlette.middleware.trustedhost import TrustedHostMiddleware

import scalekit.cdn.wsgi
import scalekit.ops.wsgi
import scalekit.sessions.wsgi
from scalekit.cdn import Assets
from scalekit.cdn.asgi import AssetMiddleware, PolicyMiddleware, ShieldMiddleware
from scalekit.cdn.shield import Shield
from scalekit.ops import Drain
from scalekit.ops.asgi import OpsMiddleware, SheddingMiddleware
from scalekit.ops.doctor import Around
from scalekit.sessions.asgi import SessionMiddleware
from scalekit.sessions.cookie import CookieStore
from tests.ops.doctor.apps import codes, look

SECRET = "0123456789abcdef0123456789abcdef"
SHIELD = Shield(secret=SECRET)


@pytest.fixture
def assets(tmp_path: Path) -> Assets:
    (tmp_path / "site.css").write_text("body { color: teal }")
    return Assets(tmp_path)


def order(found: list[Any]) -> list[str]:
    return [code for code in codes(found) if code.startswith(("order-", "sessions-", "origin-"))]


def app(*middlewares: tuple[Any, dict[str, Any]]) -> FastAPI:
    """The first is the outermost."""
    made = FastAPI()
    for kind, options in reversed(middlewares):
        made.add_middleware(kind, **options)
    return made


SESSIONS = (SessionMiddleware, {"store": CookieStore(), "secret_key": SECRET})
POLICY: tuple[Any, dict[str, Any]] = (PolicyMiddleware, {})
OPS: tuple[Any, dict[str, Any]] = (OpsMiddleware, {})
SHEDDING: tuple[Any, dict[str, Any]] = (SheddingMiddleware, {})
SHIELDED = (ShieldMiddleware, {"shield": SHIELD})


def test_the_right_order(assets: Assets) -> None:
    """As the pages on each of them say: nothing is found."""
    right = app(
        OPS,
        SHEDDING,
        SHIELDED,
        (HTTPSRedirectMiddleware, {}),
        (GZipMiddleware, {}),
        (AssetMiddleware, {"assets": assets}),
        POLICY,
        SESSIONS,
    )
    assert look(right) == []


@pytest.mark.parametrize(
    ("middlewares", "expected"),
    [
        ([POLICY, OPS], ["order-probes", "origin-unshielded"]),
        ([(HTTPSRedirectMiddleware, {}), OPS], ["order-probes"]),
        ([(TrustedHostMiddleware, {}), OPS], ["order-probes"]),
        ([SESSIONS, SHIELDED], ["order-shield"]),
        ([SESSIONS, SHEDDING], ["order-shedding"]),
        ([SHIELDED, SESSIONS, POLICY], ["order-policy"]),
        ([SESSIONS, (CookieSessions, {"secret_key": SECRET})], ["sessions-twice"]),
    ],
)
def test_the_wrong_order(middlewares: Any, expected: list[str]) -> None:
    """Each pair that is the wrong way round is one finding."""
    assert order(look(app(*middlewares))) == expected


def test_two_sessions_are_told_apart() -> None:
    """Both are called SessionMiddleware, so that the finding says whose they are."""
    (found,) = [
        one
        for one in look(app(SESSIONS, (CookieSessions, {"secret_key": SECRET})))
        if one.code == "sessions-twice"
    ]
    assert "SessionMiddleware of scalekit" in found.what
    assert "SessionMiddleware of starlette" in found.what


def test_compression_inside_the_rewriter(assets: Assets) -> None:
    """Pages would be decompressed and compressed again; the cure names both."""
    rewriting: tuple[Any, Any] = (AssetMiddleware, {"assets": assets})
    (found,) = look(app(rewriting, (GZipMiddleware, {})))
    assert found.code == "order-compression"
    assert found.cure.startswith("put GZipMiddleware around AssetMiddleware")


def test_pages_kept_outside_of_the_sessions() -> None:
    """The page cache does not see whose page it is."""
    from scalekit.cache import Cache
    from scalekit.cache.asgi import ResponseMiddleware
    from scalekit.cache.memory import MemoryBackend

    pages = (ResponseMiddleware, {"cache": Cache(MemoryBackend()), "ttl": 1, "paths": ["/"]})
    assert order(look(app(pages, SESSIONS))) == ["order-pages"]
    assert order(look(app(SESSIONS, pages))) == []


def test_a_shield_elsewhere() -> None:
    """With --origin the servers are asked instead: no word on a shield that may be a firewall."""
    around = Around(origin="http://127.0.0.1:1")
    assert look(app(POLICY, SESSIONS), around=around) == []


def test_flask() -> None:
    """What is around ``wsgi_app``, and around the application."""
    flask = Flask("shop", static_folder=None)
    flask.wsgi_app = scalekit.cdn.wsgi.PolicyMiddleware(flask.wsgi_app)  # type: ignore[method-assign]
    flask.wsgi_app = scalekit.sessions.wsgi.SessionMiddleware(  # type: ignore[method-assign]
        flask.wsgi_app, store=CookieStore(), secret_key=SECRET
    )
    drain = Drain(signals=())
    outer = scalekit.ops.wsgi.OpsMiddleware(flask, drain=drain)
    assert order(look(outer)) == ["order-policy", "origin-unshielded"]
