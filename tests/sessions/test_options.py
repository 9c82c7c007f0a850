"""Typical mistakes in the set-up, in every shell."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import redis
from fastapi import FastAPI
from flask import Flask

from scalekit.errors import ConfigurationError
from scalekit.sessions import MemoryStore
from scalekit.sessions.asgi import SessionMiddleware as ASGISessions
from scalekit.sessions.flask import ServerSessionInterface
from scalekit.sessions.memcached import MemcachedStore
from scalekit.sessions.redis import RedisStore
from scalekit.sessions.wsgi import SessionMiddleware as WSGISessions
from tests.sessions.shells import SECRET

MAKERS: dict[str, Callable[..., Any]] = {
    "the ASGI SessionMiddleware": lambda **given: ASGISessions(print, **given),  # type: ignore[arg-type]
    "the WSGI SessionMiddleware": lambda **given: WSGISessions(print, **given),  # type: ignore[arg-type]
    "the ServerSessionInterface": lambda store, **given: ServerSessionInterface(store, **given),
}


@pytest.fixture(params=MAKERS)
def shell(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def make(shell: str) -> Callable[..., Any]:
    """Each shell in turn, with a store and a secret unless the test gives others."""
    return lambda **given: MAKERS[shell](**{"store": MemoryStore(), "secret_key": SECRET, **given})


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("redis://:s3cret@localhost", "str"),
        (redis.Redis(password="s3cret"), "Redis"),
        (RedisStore, "the class RedisStore"),
        (None, "None"),
    ],
    ids=["url", "client", "class", "none"],
)
def test_what_is_no_store_is_refused(make: Callable[..., Any], given: Any, found: str) -> None:
    """A URL or a client is not yet a store: the message has the call that makes it one, and no password."""
    with pytest.raises(ConfigurationError) as caught:
        make(store=given)
    assert str(caught.value) == (
        "store= must be a store, such as RedisStore.from_url(url), RedisStore(client) or MemoryStore(), "
        f"not {found}"
    )


def test_an_unknown_option_is_told_with_the_known_ones(shell: str, make: Callable[..., Any]) -> None:
    """The message names the shell, not a class behind it, and lists what it takes."""
    with pytest.raises(
        ConfigurationError, match=r"has no option ttl=; it takes .*idle_timeout, lifetime"
    ) as caught:
        make(ttl=60)
    assert str(caught.value).startswith(shell)
    with pytest.raises(ConfigurationError, match=r"did you mean idle_timeout=\?"):
        make(idle_timout=60)


@pytest.mark.parametrize(
    ("make", "url"),
    [(RedisStore.from_url, "redis://:s3cret@localhost"), (MemcachedStore.from_url, "memcached://localhost")],
)
def test_an_unknown_option_of_a_url_is_told_with_the_known_ones(make: Callable[..., Any], url: str) -> None:
    """`from_url` says whose option it is not, and all that it takes; never the URL."""
    wanted = (
        r"^\w+Store.from_url has no option time_out=; did you mean timeout=\? It takes prefix, .*cooldown$"
    )
    with pytest.raises(ConfigurationError, match=wanted) as caught:
        make(url, time_out=1)
    assert "s3cret" not in str(caught.value)
    with pytest.raises(ConfigurationError, match=r"did you mean prefix=\?"):
        make(url, prefx="s:")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"secret_key": None}, "secret_key is None; is the variable set"),
        ({"cookie": "shop"}, r"cookie= must be a Cookie, such as Cookie\(name='shop'\), not str"),
        ({"idle_timeout": "7d"}, r"idle_timeout='7d' must be seconds as a number or a timedelta"),
        ({"lifetime": True}, "lifetime=True must be seconds"),
        ({"max_size": "1MB"}, "max_size= must be a whole number of bytes, such as .*, not str"),
        ({"types": [object]}, r"types=\[object\]: it is no dataclass"),
        ({"types": object}, "types= must be a list, not the class object"),
    ],
)
def test_wrong_values_are_told_by_option(
    make: Callable[..., Any], option: dict[str, Any], message: str
) -> None:
    """What an option cannot be is an error when the shell is made."""
    with pytest.raises(ConfigurationError, match=message):
        make(**option)


def test_a_lifetime_may_be_shorter_than_the_idle_timeout(make: Callable[..., Any]) -> None:
    """It cuts it, as the options say; that is no mistake."""
    make(lifetime=timedelta(hours=1))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"timeout": "1"}, "timeout= must be a number of seconds, such as 0.5, not str"),
        ({"connect_timeout": None}, "connect_timeout= must be a number of seconds, such as 0.5, not None"),
        ({"cooldown": timedelta(seconds=1)}, "cooldown= must be a number of seconds, .*, not timedelta"),
        ({"max_connections": "8"}, "max_connections= must be a whole number, such as 32, not str"),
    ],
)
@pytest.mark.parametrize(
    ("store", "url"), [(RedisStore, "redis://localhost"), (MemcachedStore, "memcached://localhost")]
)
def test_limits_of_the_wrong_type_are_told_by_option(
    store: Any, url: str, option: dict[str, Any], message: str
) -> None:
    """What was read from the environment and not converted, above all; never a bare TypeError."""
    with pytest.raises(ConfigurationError, match=message):
        store.from_url(url, **option)


def test_the_size_of_an_item_is_a_number() -> None:
    """So is what only Memcached has."""
    with pytest.raises(
        ConfigurationError, match=r"max_item_size= must be a whole number of bytes, .* not str"
    ):
        MemcachedStore.from_url("memcached://localhost", max_item_size="1m")


def test_the_middleware_of_the_other_interface() -> None:
    """Whose application it is put around tells at start-up; the message says which one to import."""
    given = {"store": MemoryStore(), "secret_key": SECRET}
    with pytest.raises(
        ConfigurationError, match=r"use SessionMiddleware of scalekit\.sessions\.wsgi, and in Flask"
    ):
        ASGISessions(Flask("tests").wsgi_app, **given)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"use SessionMiddleware of scalekit\.sessions\.asgi"):
        WSGISessions(FastAPI(), **given)
    app = FastAPI()
    app.add_middleware(WSGISessions, **given)
    with pytest.raises(ConfigurationError, match=r"scalekit\.sessions\.asgi"):
        app.build_middleware_stack()


def test_the_class_in_place_of_the_interface() -> None:
    """Flask calls it as if it were one, so the first request says what to write."""
    app = Flask("tests")
    app.testing = True
    app.session_interface = ServerSessionInterface  # type: ignore[assignment]
    with pytest.raises(ConfigurationError, match=r"an instance, ServerSessionInterface\(store, secret_key="):
        app.test_client().get("/")


def test_a_server_of_the_other_kind_is_told_by_the_name_of_what_is_missing() -> None:
    """What a server logs with each request is as docs/howto/sessions.md has it: uvicorn tries an application
    that is no coroutine function with one argument."""
    asgi = MAKERS["the ASGI SessionMiddleware"](store=MemoryStore(), secret_key=SECRET)
    wsgi = MAKERS["the WSGI SessionMiddleware"](store=MemoryStore(), secret_key=SECRET)
    message = r"^SessionMiddleware.__call__\(\) missing 1 required positional argument: '%s'$"
    with pytest.raises(TypeError, match=message % "send"):
        asgi({}, print)
    with pytest.raises(TypeError, match=message % "start_response"):
        wsgi({"type": "http"})
