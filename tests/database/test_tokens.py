"""Tokens and levels. No server needed."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit.database import Bounded, Token, TokenSigner
from scalekit.database.tokens import latest
from scalekit.errors import ConfigurationError

SECRET = "a secret that is long enough"
tokens = st.builds(
    Token,
    system=st.integers(1, 3),
    timeline=st.integers(1, 3),
    position=st.integers(0, 2**64 - 1),
)


@given(tokens)
def test_a_token_survives_the_browser(token: Token) -> None:
    """What is signed comes back as it was, and fits into a cookie."""
    signer = TokenSigner(SECRET)
    text = signer.dumps(token)
    assert signer.loads(text) == token
    assert len(text) < 128


@given(tokens, tokens, tokens)
def test_tokens_only_move_forward(first: Token, second: Token, third: Token) -> None:
    """Within one system the order of merging does not matter and nothing is lost."""
    if first.system == second.system == third.system:
        merged = latest(latest(first, second), third)
        assert merged == latest(first, latest(third, second))
        assert merged is not None
        for token in (first, second, third):
            assert (merged.timeline, merged.position) >= (token.timeline, token.position)


@given(st.text(max_size=200))
def test_made_up_tokens_are_ignored(text: str) -> None:
    """Whatever a browser sends that we did not sign is no token."""
    assert TokenSigner(SECRET).loads(text) is None


def test_changed_tokens_are_ignored() -> None:
    """A signature fits one token only."""
    signer = TokenSigner(SECRET)
    text = signer.dumps(Token(1, 1, 10))
    for position in range(len(text)):
        changed = text[:position] + ("1" if text[position] != "1" else "2") + text[position + 1 :]
        # The last character of base64 has bits that mean nothing.
        assert signer.loads(changed) in (None, Token(1, 1, 10) if position == len(text) - 1 else None)


def test_foreign_expired_and_huge_tokens_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another key's token, one of yesterday and one of a megabyte pin nobody to the primary."""
    signer = TokenSigner(SECRET, max_age=60)
    text = signer.dumps(Token(1, 1, 10))
    assert TokenSigner("another secret, long enough").loads(text) is None
    assert signer.loads(text * 100_000) is None
    now = __import__("time").time()
    monkeypatch.setattr("scalekit.database.tokens.time.time", lambda: now + 61)
    assert signer.loads(text) is None


def test_keys_rotate() -> None:
    """A token of the old key counts while the old key is in the ring."""
    old, new = "the old secret, long enough", "the new secret, long enough"
    text = TokenSigner(old).dumps(Token(1, 1, 10))
    assert TokenSigner([old, new]).loads(text) == Token(1, 1, 10)
    assert TokenSigner([new]).loads(text) is None


def test_bounds_are_checked_when_they_are_written() -> None:
    """Bounded takes seconds or a timedelta, and nothing that cannot be met."""
    assert Bounded(timedelta(minutes=1)).seconds == Bounded(seconds=60).seconds == 60
    for wrong in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ConfigurationError):
            Bounded(wrong)
