"""What a Memcached URL may say, and what a client that is given is asked."""

import ssl
from typing import Any

import pytest
from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient
from pymemcache.client.retrying import RetryingClient

from scalekit._memcached import Memcached
from scalekit._memcached.url import Target, parse
from scalekit.errors import ConfigurationError, WrongColour


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("memcached://cache", Target((("cache", 11211),))),
        ("memcached://cache:1/", Target((("cache", 1),))),
        ("memcached://a,b:2,[::1],[::1]:3", Target((("a", 11211), ("b", 2), ("::1", 11211), ("::1", 3)))),
        ("memcacheds://a,b", Target((("a", 11211), ("b", 11211)), tls=True)),
        ("unix:///run/memcached.sock", Target(("/run/memcached.sock",))),
    ],
)
def test_urls(url: str, target: Target) -> None:
    """Servers, over TLS or not, or a socket."""
    assert parse(url) == target


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://:hunter2@host", "begins with memcached://"),
        ("host:11211", "begins with memcached://"),
        ("memcached:host", "begins with memcached://"),
        ("memcached://ann:hunter2@host", "no user, no password"),
        ("memcached://host?timeout=1", "time-outs to from_url"),
        ("memcached://host/0", "no path"),
        ("memcached://", "without a host"),
        ("memcached://a,,b", "without a host"),
        ("memcached://host:0", "no number"),
        ("memcached://host:hunter2", "no number"),
        ("memcached://a,a:11211", "twice"),
        ("memcached://[::1", "cannot be parsed"),
        ("unix://run/memcached.sock", "absolute path"),
    ],
)
def test_wrong_urls(url: str, words: str) -> None:
    """Refused at start-up, in words, without what may be a password."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        Memcached.from_url(url)
    assert "hunter2" not in str(caught.value)


def test_a_url_that_was_not_set() -> None:
    """The typical mistake."""
    with pytest.raises(ConfigurationError, match="NoneType; is the variable set"):
        Memcached.from_url(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("option", ["timeout", "connect_timeout", "cooldown", "max_connections"])
@pytest.mark.parametrize("value", [0, -1])
def test_wrong_numbers(option: str, value: int) -> None:
    """No limit is none."""
    with pytest.raises(ConfigurationError, match=f"{option}={value}"):
        Memcached.from_url("memcached://host", **{option: value})


class Derived(Client):  # type: ignore[misc]
    """A class of the user's own."""


@pytest.mark.parametrize("kind", [Client, PooledClient, Derived])
def test_a_client_lends_its_settings(kind: Any) -> None:
    """27. Time-outs, prefix and TLS are the client's; those that it has not are ours, not endless."""
    context = ssl.create_default_context()
    link = Memcached(kind(("host", 1), timeout=3, key_prefix=b"p:", tls_context=context))
    limits = link._source.limits
    assert (limits.timeout, limits.connect_timeout, limits.max_connections) == (3, 0.5, 32)
    assert (link.name, link.key_prefix, link._source.tls) == ("memcached://host:1", b"p:", context)


def test_several_servers_are_a_hash_client() -> None:
    """With its servers and the size of its pools."""
    link = Memcached(HashClient(["a:1", ("b", 2), "/run/m.sock"], use_pooling=True, max_pool_size=5))
    assert [server.place for server in link._source.servers] == [("a", 1), ("b", 2), "/run/m.sock"]
    assert link._source.limits.max_connections == 5


def test_a_server_that_the_client_gives_up_keeps_its_keys() -> None:
    """The client takes it out of its own ring, and its keys go elsewhere; ours stay."""
    client = HashClient(["a:1", "b:2", "c:3"])
    link = Memcached(client)
    before = [link._source.pick(f"k{number}").node for number in range(50)]
    assert set(before) == {"a:1", "b:2", "c:3"}
    client.hasher.remove_node("a:1")
    assert [link._source.pick(f"k{number}").node for number in range(50)] == before


def test_the_wrong_colour_is_refused() -> None:
    """pymemcache is synchronous."""
    with pytest.raises(WrongColour, match="from_url"):
        Memcached(Client("host")).using("async")


def test_other_clients_are_refused() -> None:
    """And so are those of emcache, with the reason."""
    emcache = type("_Client", (), {"__module__": "emcache.client"})
    with pytest.raises(ConfigurationError, match="other servers than pymemcache; use from_url"):
        Memcached(emcache())
    for other in (object(), RetryingClient(Client("host")), HashClient([])):
        with pytest.raises(ConfigurationError):
            Memcached(other)
