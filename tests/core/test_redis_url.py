"""What a Redis URL may say, and that an error never repeats its password."""

from typing import Any
from urllib.parse import quote

import pytest

from scalekit._redis import Redis
from scalekit._redis.url import Target, parse
from scalekit.errors import ConfigurationError


@pytest.mark.parametrize(
    ("url", "target"),
    [
        (
            "redis://",
            Target(kind="standalone", name="redis://localhost:6379/0", nodes=(("localhost", 6379),)),
        ),
        ("redis://cache/3", Target(kind="standalone", name="redis://cache:6379/3", nodes=(("cache", 6379),))),
        ("redis://[::1]:7000", Target(kind="standalone", name="redis://::1:7000/0", nodes=(("::1", 7000),))),
        ("redis://[::1]", Target(kind="standalone", name="redis://::1:6379/0", nodes=(("::1", 6379),))),
        ("rediss://c:1/0", Target(kind="standalone", name="rediss://c:1/0", nodes=(("c", 1),), tls=True)),
        (
            "unix:///run/redis.sock?db=2",
            Target(kind="unix", name="unix:///run/redis.sock", path="/run/redis.sock"),
        ),
        (
            "redis+sentinel://a:1,b/shop/2",
            Target(
                kind="sentinel",
                name="redis+sentinel://a:1,b:26379/shop/2",
                nodes=(("a", 1), ("b", 26379)),
                service="shop",
            ),
        ),
        (
            "rediss+cluster://a:1,b",
            Target(
                kind="cluster", name="rediss+cluster://a:1,b:6379", nodes=(("a", 1), ("b", 6379)), tls=True
            ),
        ),
    ],
)
def test_forms(url: str, target: Target) -> None:
    """Every form names its servers, with the usual ports as defaults."""
    parsed = parse(url)
    facts = ("kind", "name", "nodes", "path", "service", "tls")
    assert {name: getattr(parsed, name) for name in facts} == {name: getattr(target, name) for name in facts}


def test_credentials_are_decoded_and_kept_out_of_sight() -> None:
    """User and password may be percent-encoded; neither the name nor the repr shows them."""
    parsed = parse("redis://shop:p%40ss%2Fword@host/1?client_name=web")
    assert parsed.options == {"username": "shop", "password": "p@ss/word", "client_name": "web", "db": 1}
    assert "p@ss" not in repr(parsed)
    assert "shop" not in parsed.name


def test_special_characters_are_percent_encoded() -> None:
    """Encoded, each of them may be in a password; a bare ``@`` and ``:`` may, too."""
    password = "/?#[]@:%s3cret"
    assert parse(f"redis://:{quote(password, safe='')}@host").options["password"] == password
    assert parse("redis://:s3@c:ret@host").options["password"] == "s3@c:ret"
    assert parse("redis://host?client_name=shop@web-1").options["client_name"] == "shop@web-1"
    assert parse("unix:///run/@redis").path == "/run/@redis"


def test_a_password_alone() -> None:
    """`redis://:secret@host` has a password and no user."""
    assert parse("redis://:secret@host").options == {"password": "secret", "db": 0}


def test_sentinels_have_credentials_of_their_own() -> None:
    """What the Sentinels want differs from what the servers want."""
    parsed = parse("redis+sentinel://u:p@a/shop?sentinel_username=s&sentinel_password=t")
    assert parsed.options == {"username": "u", "password": "p", "db": 0}
    assert parsed.sentinel_options == {"username": "s", "password": "t"}


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("http://:s3cret@host", "begins with one of redis://.*; this one begins with http://$"),
        ("HTTP://:s3cret@host", "this one begins with http://$"),
        ("", "begins with one of redis://.*; this one has no scheme"),
        ("localhost:6379", "this one has no scheme"),
        ("s3cret:6379", "this one has no scheme"),
        ("user:s3cret://x@host", "this one has no scheme"),
        ("://:s3cret@host", "this one has no scheme"),
        (None, "must be a str such as redis://localhost:6379/0, not NoneType; is the variable set"),
        (b"redis://:s3cret@host", "must be a str .*, not bytes"),
        ("redis://:s3cret@host:port/0", "port is not a number"),
        ("redis://:s3cret@host:70000/0", "port is above 65535"),
        ("redis://:s3cret@host/zero", "database number"),
        ("redis://:s3cret@host/0/1", "database number and nothing else"),
        ("redis://:s3cret@host?db=x", "option db is not a number"),
        ("redis://:s3cret@a,b", "names one server"),
        ("redis://:s3cret@[::1", "cannot be parsed"),
        ("redis://:s3cret@host?socket_timeout=30", "give timeout= to from_url"),
        ("redis://:s3cret@host?retry_on_timeout=1", "unknown option 'retry_on_timeout'"),
        ("redis://:s3cret@host?sentinel_password=x", "only a redis\\+sentinel"),
        ("redis+sentinel://:s3cret@host", "needs the service's name"),
        ("redis+cluster://:s3cret@host/1", "only database 0"),
        ("unix://host?password=s3cret", "needs an absolute path"),
        ("redis://app:pa?s3cret@db/0", "unknown option after its \\?; percent-encode"),
        ("redis://app:pa?s3cret=x@db/0", "percent-encode"),
        ("redis://:?s3cret", "percent-encode"),
        ("redis://app:pa/s3cret@db/0", "@ in its path.*percent-encode"),
        ("redis+sentinel://:26379/s3cret@db/0", "@ in its path.*percent-encode"),
        ("redis://:6379#s3cret@db/0", "has a #.*percent-encode"),
        ("redis://:6379#", "has a #"),
        ("redis://app:[s3cret@db/0", "cannot be parsed.*percent-encode"),
    ],
)
def test_errors_say_what_is_wrong_and_keep_the_password(url: Any, hint: str) -> None:
    """A bad URL is an error at start-up that names the fault and quotes no part that could be secret."""
    with pytest.raises(ConfigurationError, match=hint) as caught:
        Redis.from_url(url)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None or "s3cret" not in str(caught.value.__cause__)


@pytest.mark.parametrize(
    "options", [{"timeout": 0}, {"connect_timeout": -1}, {"cooldown": float("nan")}, {"max_connections": 0}]
)
def test_limits_are_checked(options: dict[str, float]) -> None:
    """A time-out of nothing and a pool of nobody are mistakes."""
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Redis.from_url("redis://localhost", **options)  # type: ignore[arg-type]
