"""Typical mistakes in the set-up, in every shell."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import redis

from scalekit.errors import ConfigurationError
from scalekit.sessions import MemoryStore
from scalekit.sessions.asgi import SessionMiddleware as ASGISessions
from scalekit.sessions.flask import ServerSessionInterface
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
    ("option", "message"),
    [
        ({"secret_key": None}, "secret_key is None; is the variable set"),
        ({"cookie": "shop"}, r"cookie= must be a Cookie, such as Cookie\(name='shop'\), not str"),
        ({"idle_timeout": "7d"}, r"idle_timeout='7d' must be seconds as a number or a timedelta"),
        ({"lifetime": True}, "lifetime=True must be seconds"),
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
