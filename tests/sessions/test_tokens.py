"""Tokens and the cookies that carry them."""

import hashlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit._signing import signer
from scalekit.errors import ConfigurationError
from scalekit.sessions.tokens import SALT, Tokens, store_id

OLD, NEW = "old secret, long enough", "new secret, long enough"


def test_a_token_is_256_random_bits() -> None:
    """Tokens have 43 URL-safe characters and do not repeat."""
    tokens = {Tokens(NEW).mint() for _ in range(1000)}
    assert len(tokens) == 1000
    assert all(len(token) == 43 for token in tokens)
    assert set("".join(tokens)) <= set(string.ascii_letters + string.digits + "-_")


def test_a_cookie_verifies() -> None:
    """What was signed is recognised, and gives the token."""
    tokens = Tokens(NEW)
    token = tokens.mint()
    assert tokens.verify(tokens.sign(token)) == token


def test_cookies_are_in_the_format_of_itsdangerous() -> None:
    """Other programs can check our cookies, and we theirs, with the same ring."""
    tokens, theirs = Tokens([OLD, NEW]), signer([OLD, NEW], salt=SALT)
    token = tokens.mint()
    assert tokens.sign(token) == theirs.sign(token).decode()
    assert tokens.verify(theirs.sign(token).decode()) == token
    assert tokens.verify(signer(OLD, salt=SALT).sign(token).decode()) == token


def test_keys_rotate() -> None:
    """A cookie of an old key is good while the key is in the ring; new ones are signed by the last key."""
    token = Tokens(NEW).mint()
    old = Tokens(OLD).sign(token)
    assert Tokens([OLD, NEW]).verify(old) == token
    assert Tokens(NEW).verify(old) is None
    assert Tokens(NEW).verify(Tokens([OLD, NEW]).sign(token)) == token


@given(st.integers(0, 86), st.sampled_from(string.ascii_letters + string.digits + "-_.=ä\x00 "))
def test_one_changed_character_is_enough(position: int, other: str) -> None:
    """A cookie with any character changed is not ours; one token has exactly one cookie."""
    tokens = Tokens(NEW)
    cookie = tokens.sign(tokens.mint())
    forged = cookie[:position] + other + cookie[position + 1 :]
    assert tokens.verify(forged) is None or forged == cookie


@pytest.mark.parametrize(
    "change", [lambda c: c[:-1], lambda c: c + "A", lambda c: c + "=", lambda c: "A" + c]
)
def test_other_lengths_are_refused(change: object) -> None:
    """Cut, padded or extended cookies are not ours."""
    tokens = Tokens(NEW)
    assert callable(change)
    assert tokens.verify(change(tokens.sign(tokens.mint()))) is None


@given(st.text())
def test_made_up_cookies_are_refused(cookie: str) -> None:
    """Whatever a client sends, it is no token unless we signed it."""
    assert Tokens(NEW).verify(cookie) is None


def test_a_huge_cookie_is_refused_by_its_length() -> None:
    """A cookie bomb is neither hashed nor decoded."""
    assert Tokens(NEW).verify("A" * 10_000_000) is None


def test_the_store_knows_a_hash() -> None:
    """The id in the store is the SHA-256 of the token, which cannot be turned back into it."""
    assert store_id("token") == hashlib.sha256(b"token").hexdigest()


def test_short_secrets_are_refused() -> None:
    """A secret that can be guessed is an error at start-up."""
    with pytest.raises(ConfigurationError):
        Tokens("short")
