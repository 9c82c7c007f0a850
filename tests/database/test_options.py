"""Typical mistakes in the set-up of the middlewares."""

from typing import Any

import pytest

from scalekit.database import AsyncCluster, Cluster, asgi, wsgi
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
