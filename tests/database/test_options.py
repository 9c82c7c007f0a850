"""Typical mistakes in the set-up of the middlewares."""

from typing import Any

import pytest

from scalekit.database import AsyncCluster, Cluster, Cookie, asgi, wsgi
from scalekit.errors import ConfigurationError

SECRET = "a secret that is long enough"


def make(shell: Any, **given: Any) -> Any:
    options = {"cluster": Cluster("sqlite:///:memory:"), "secret_key": SECRET, **given}
    return shell.ReadYourWritesMiddleware(print, **options)


@pytest.mark.parametrize("shell", [asgi, wsgi], ids=["asgi", "wsgi"])
@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            {"cluster": "postgresql://app:s3cret@host/shop"},
            "cluster= must be .*a Cluster, the object .*, not str$",
        ),
        ({"cluster": Cluster}, "not the class Cluster$"),
        ({"secret_key": None}, "secret_key is None"),
        ({"cookie": "rw"}, r"cookie= must be a Cookie, such as Cookie\(name='rw'\), not str$"),
        ({"max_age": "600"}, "max_age='600' must be seconds as a number"),
        ({"safe_methods": "GET"}, "safe_methods= must be a list, not str"),
        ({"ttl": 60}, "no option ttl=; it takes cookie, header, visitor, max_age, safe_methods, routes$"),
        ({"maxage": 60}, r"did you mean max_age=\?"),
    ],
)
def test_wrong_options_are_told_when_the_middleware_is_made(
    shell: Any, option: dict[str, Any], message: str
) -> None:
    """By option, with what it wants, and without what was given where that could be a secret."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        make(shell, **option)
    assert "s3cret" not in str(caught.value)


async def test_wsgi_wants_a_synchronous_cluster() -> None:
    """ASGI takes either; under WSGI nobody could await the sessions of an AsyncCluster."""
    async with AsyncCluster("sqlite+aiosqlite:///:memory:") as cluster:
        make(asgi, cluster=cluster)
        with pytest.raises(ConfigurationError, match=r"must be a Cluster, .*, not AsyncCluster"):
            make(wsgi, cluster=cluster)


def test_an_application_of_the_other_interface() -> None:
    """Told when the middleware is made: at the first request it would be a TypeError."""

    async def asynchronous(scope: Any, receive: Any, send: Any) -> None: ...

    def synchronous(environ: Any, start_response: Any) -> Any: ...

    cluster = Cluster("sqlite://")
    with pytest.raises(
        ConfigurationError, match=r"around a WSGI application; use .* of scalekit.database.wsgi"
    ):
        asgi.ReadYourWritesMiddleware(synchronous, cluster=cluster, secret_key=SECRET)  # type: ignore[arg-type]
    with pytest.raises(
        ConfigurationError, match=r"around an ASGI application; use .* of scalekit.database.asgi"
    ):
        wsgi.ReadYourWritesMiddleware(asynchronous, cluster=cluster, secret_key=SECRET)  # type: ignore[arg-type]


@pytest.mark.parametrize("shell", [asgi, wsgi], ids=["asgi", "wsgi"])
def test_two_clusters_need_two_names(shell: Any) -> None:
    """27. One cookie cannot tell what was written in two databases; found behind other middlewares, too."""
    shop, accounts = Cluster("sqlite://"), Cluster("sqlite://")

    class Other:
        def __init__(self, app: Any) -> None:
            self.app = app

    inner = Other(make(shell, cluster=shop, header="X-RW"))

    def around(**options: Any) -> Any:
        return shell.ReadYourWritesMiddleware(inner, secret_key=SECRET, **options)

    with pytest.raises(
        ConfigurationError, match=r"both use the cookie 'rw'; .*cookie=Cookie\(name='rw-accounts'"
    ):
        around(cluster=accounts)
    with pytest.raises(ConfigurationError, match="both use the header 'x-rw'"):
        around(cluster=accounts, cookie=None, header="x-RW")
    around(cluster=accounts, cookie=Cookie(name="rw-accounts"), header="X-RW-Accounts")
    around(cluster=shop)
